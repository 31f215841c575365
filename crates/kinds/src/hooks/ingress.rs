//! Ingress and IngressClass.

use std::net::IpAddr;

use lotse_schema::{Cause, names};
use serde_json::{Value, json};

use super::metadata;
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, is_empty},
};

const SPEC: Path<'_> = Path::new("spec");

/// A new Ingress has no address yet.
pub(crate) fn prepare(strategy: Strategy, new: &mut Value, old: Option<&Value>) -> Result<(), Vec<Cause>> {
    if strategy == Strategy::Create && old.is_none() {
        new.set("status", json!({"loadBalancer": {}}));
    }
    Ok(())
}

pub(crate) fn validate(strategy: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let spec = new.at("spec").unwrap_or(&Value::Null);
    if spec.items("rules").is_empty() && spec.at("defaultBackend").is_none() {
        findings.invalid(&SPEC, spec, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = spec.at("defaultBackend") {
        validate_backend(&SPEC.field("defaultBackend"), backend, &mut findings);
    }
    if let Some(class) = spec.filled("ingressClassName") {
        findings.rule(&SPEC.field("ingressClassName"), class, names::dns1123_subdomain);
    }
    let rules = SPEC.field("rules");
    for (index, rule) in spec.items("rules").iter().enumerate() {
        let path = rules.index(index);
        if let Some(host) = rule.filled("host") {
            validate_host(&path.field("host"), host, &mut findings);
        }
        let Some(http) = rule.at("http") else { continue };
        let path = path.field("http");
        let paths = path.field("paths");
        if http.items("paths").is_empty() {
            findings.required(&paths, "");
        }
        for (index, entry) in http.items("paths").iter().enumerate() {
            validate_path(&paths.index(index), entry, &mut findings);
        }
    }
    let tls = SPEC.field("tls");
    for (index, entry) in spec.items("tls").iter().enumerate() {
        let path = tls.index(index);
        let hosts = path.field("hosts");
        for (index, host) in entry.items("hosts").iter().enumerate() {
            if let Some(host) = host.as_str() {
                validate_host(&hosts.index(index), host, &mut findings);
            }
        }
        if let Some(secret) = entry.filled("secretName") {
            findings.rule(&path.field("secretName"), secret, names::dns1123_subdomain);
        }
    }
    findings.0
}

fn validate_host(path: &Path<'_>, host: &str, findings: &mut Findings) {
    if host.parse::<IpAddr>().is_ok() {
        return findings.invalid_text(path, host, "must be a DNS name, not an IP address");
    }
    findings.rule(path, host.strip_prefix("*.").unwrap_or(host), names::dns1123_subdomain);
}

fn validate_path(path: &Path<'_>, entry: &Value, findings: &mut Findings) {
    let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
    let kind = entry.filled("pathType");
    match kind {
        None => findings.required(&path.field("pathType"), "pathType must be specified"),
        kind => findings.one_of(&path.field("pathType"), kind, &kinds),
    }
    let target = entry.filled("path");
    let path_field = path.field("path");
    match target {
        None if matches!(kind, Some("Exact" | "Prefix")) => {
            findings.invalid_text(&path_field, "", "must be an absolute path");
        }
        Some(target) if !target.starts_with('/') => {
            findings.invalid_text(&path_field, target, "must be an absolute path")
        }
        Some(target) if matches!(kind, Some("Exact" | "Prefix")) => {
            let lower = target.to_ascii_lowercase();
            for sequence in ["//", "/./", "/../", "%2f", "%5c"] {
                if lower.contains(sequence) {
                    findings.invalid_text(&path_field, target, format_args!("must not contain '{sequence}'"));
                }
            }
            for suffix in ["/..", "/."] {
                if target.ends_with(suffix) {
                    findings.invalid_text(&path_field, target, format_args!("cannot end with '{suffix}'"));
                }
            }
        }
        _ => {}
    }
    match entry.at("backend").filter(|backend| !is_empty(Some(backend))) {
        None => findings.required(&path.field("backend"), "must specify `service` or `resource`"),
        Some(backend) => validate_backend(&path.field("backend"), backend, findings),
    }
}

fn validate_backend(path: &Path<'_>, backend: &Value, findings: &mut Findings) {
    match (backend.at("service"), backend.at("resource")) {
        (None, None) => findings.required(path, "must specify `service` or `resource`"),
        (Some(_), Some(_)) => findings.invalid_text(path, "", "cannot set both resource and service backends"),
        (None, Some(_)) => {}
        (Some(service), None) => {
            let path = path.field("service");
            match service.filled("name") {
                None => findings.required(&path.field("name"), ""),
                Some(name) => findings.rule(&path.field("name"), name, names::dns1035_label),
            }
            let name = service.path(&["port", "name"]).and_then(Value::as_str).filter(|name| !name.is_empty());
            let number = service.path(&["port", "number"]).and_then(Value::as_i64).filter(|number| *number != 0);
            let path = path.field("port");
            match (name, number) {
                (None, None) => findings.required(&path, "port name or number is required"),
                (Some(_), Some(_)) => findings.invalid_text(&path, "", "cannot set both port name & port number"),
                (Some(name), None) => findings.rule(&path.field("name"), name, names::port_name),
                (None, number) => findings.range(&path.field("number"), number, 1, 65_535),
            }
        }
    }
}

pub(crate) fn validate_class(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let controller = SPEC.field("controller");
    let value = new.path(&["spec", "controller"]);
    match value.and_then(Value::as_str).filter(|name| !name.is_empty()) {
        None => findings.required(&controller, ""),
        Some(name) if name.len() > 250 || !name.contains('/') => {
            findings.invalid_text(&controller, name, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
        Some(_) => {}
    }
    if let Some(old) = old {
        findings.immutable(&controller, value, old.path(&["spec", "controller"]));
    }
    findings.0
}
