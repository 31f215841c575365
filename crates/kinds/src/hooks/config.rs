//! ConfigMap, Secret and ServiceAccount.

use base64::{DecodeError, Engine, engine::general_purpose::STANDARD};
use lotse_schema::{Cause, names};
use serde_json::Value;

use super::metadata;
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, same},
};

/// Most bytes of all values together (`MaxSecretSize`).
const SIZE_LIMIT: usize = 1024 * 1024;
const DATA: Path<'_> = Path::new("data");
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

pub(crate) fn validate_config_map(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let binary = Path::new("binaryData");
    let mut size = 0;
    for (key, value) in new.entries("data") {
        findings.rule(&DATA.key(key), key, names::config_map_key);
        if new.path(&["binaryData", key]).is_some() {
            findings.invalid_text(&DATA.key(key), key, "duplicate of key present in binaryData");
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in new.entries("binaryData") {
        findings.rule(&binary.key(key), key, names::config_map_key);
        size += check_base64(&binary.key(key), value, &mut findings);
    }
    if size > SIZE_LIMIT {
        findings.invalid_secret(&DATA, format_args!("must have at most {SIZE_LIMIT} bytes, found {size}"));
    }
    validate_frozen(new, old, &["data", "binaryData"], &mut findings);
    findings.0
}

pub(crate) fn default_secret(object: &mut Value) {
    object.set_default("type", "Opaque");
}

/// Moves `stringData` into `data`, where it wins; it is never stored.
///
/// # Errors
/// Names the key whose value is not text, and the key of `data` that is not base64: from here on nobody could tell which was which.
pub(crate) fn prepare_secret(_: Strategy, new: &mut Value, _: Option<&Value>) -> Result<(), Vec<Cause>> {
    let mut findings = Findings::default();
    let path = Path::new("stringData");
    for (key, value) in new.entries("data") {
        check_base64(&DATA.key(key), value, &mut findings);
    }
    match new.at("stringData") {
        None | Some(Value::Object(_)) => {}
        Some(_) => findings.invalid_secret(&path, "must be an object whose values are strings"),
    }
    for (key, value) in new.entries("stringData") {
        if !value.is_string() && !value.is_null() {
            let detail =
                format!("the value of key {key:?} must be a UTF-8 string, not {}; quote it in YAML", type_name(value));
            findings.invalid_secret(&path.key(key), detail);
        }
    }
    if !findings.0.is_empty() {
        return Err(findings.0);
    }
    if let Some(Value::Object(texts)) = new.remove("stringData")
        && let Some(data) = new.object_mut("data")
    {
        for (key, text) in texts {
            data.set(&key, STANDARD.encode(text.as_str().unwrap_or_default()));
        }
    }
    Ok(())
}

pub(crate) fn validate_secret(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let mut size = 0;
    for (key, value) in new.entries("data") {
        findings.rule(&DATA.key(key), key, names::config_map_key);
        size += check_base64(&DATA.key(key), value, &mut findings);
    }
    if size > SIZE_LIMIT {
        findings.invalid_secret(&DATA, format_args!("must have at most {SIZE_LIMIT} bytes, found {size}"));
    }
    validate_type(new, &mut findings);
    if let Some(old) = old {
        findings.immutable(&Path::new("type"), new.at("type"), old.at("type"));
    }
    validate_frozen(new, old, &["data"], &mut findings);
    findings.0
}

/// Types that promise certain keys.
fn validate_type(secret: &Value, findings: &mut Findings) {
    let has = |key: &str| secret.path(&["data", key]).is_some();
    match secret.text("type") {
        Some("kubernetes.io/service-account-token") => {
            let account = "kubernetes.io/service-account.name";
            if secret.path(&["metadata", "annotations", account]).is_none() {
                let metadata = Path::new("metadata");
                let annotations = metadata.field("annotations");
                findings.required(&annotations.key(account), "");
            }
        }
        Some("kubernetes.io/dockerconfigjson") => json_value(secret, ".dockerconfigjson", findings),
        Some("kubernetes.io/dockercfg") => json_value(secret, ".dockercfg", findings),
        Some("kubernetes.io/basic-auth") if !has("username") && !has("password") => {
            findings.required(&DATA.key("username"), "");
            findings.required(&DATA.key("password"), "");
        }
        Some("kubernetes.io/ssh-auth") if !has("ssh-privatekey") => findings.required(&DATA.key("ssh-privatekey"), ""),
        Some("kubernetes.io/tls") => {
            for key in ["tls.crt", "tls.key"] {
                if !has(key) {
                    findings.required(&DATA.key(key), "");
                }
            }
        }
        _ => {}
    }
}

fn json_value(secret: &Value, key: &str, findings: &mut Findings) {
    let Some(value) = secret.path(&["data", key]).and_then(Value::as_str) else {
        return findings.required(&DATA.key(key), "");
    };
    if STANDARD.decode(value).is_ok_and(|bytes| serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_err()) {
        findings.invalid_secret(&DATA.key(key), "<secret contents redacted>: must be JSON");
    }
}

/// Once `immutable` is set, it stays, and so does what it protects.
fn validate_frozen(new: &Value, old: Option<&Value>, fields: &[&str], findings: &mut Findings) {
    let Some(old) = old.filter(|old| old.flag("immutable")) else { return };
    if !new.flag("immutable") {
        findings.forbidden(&Path::new("immutable"), IMMUTABLE);
    }
    for field in fields {
        if !same(new.at(field), old.at(field)) {
            findings.forbidden(&Path::new(field), IMMUTABLE);
        }
    }
}

/// Reports a value that is not base64, without repeating it; returns the number of bytes that it stands for.
fn check_base64(path: &Path<'_>, value: &Value, findings: &mut Findings) -> usize {
    let Some(text) = value.as_str() else {
        if !value.is_null() {
            findings.invalid_secret(path, format_args!("must be a base64 string, not {}", type_name(value)));
        }
        return 0;
    };
    // Go's decoder, which the API is defined by, skips line breaks.
    let decoded = if text.contains(['\n', '\r']) {
        STANDARD.decode(text.replace(['\n', '\r'], ""))
    } else {
        STANDARD.decode(text)
    };
    match decoded {
        Ok(bytes) => bytes.len(),
        Err(error) => {
            let position = match error {
                DecodeError::InvalidByte(position, _) | DecodeError::InvalidLastSymbol { offset: position, .. } => {
                    position
                }
                DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len(),
            };
            let detail = format!(
                "illegal base64 data at input byte {position}; encode the value with base64, or give it under stringData as plain text"
            );
            findings.invalid_secret(path, detail);
            0
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(crate) fn validate_service_account(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    findings.0
}
