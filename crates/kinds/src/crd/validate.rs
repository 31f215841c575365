//! Rules for CustomResourceDefinitions beyond their schema
//! (`k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation`).

use std::collections::HashSet;

use lotse_schema::{Cause, names};
use serde_json::Value;

use crate::{
    findings::{Findings, Path},
    json::View,
    jsonpath::JsonPath,
};

const SPEC: Path<'_> = Path::new("spec");
/// Groups that belong to the Kubernetes project: definitions in them must say that they were approved.
const PROTECTED: [&str; 2] = ["k8s.io", "kubernetes.io"];
const APPROVAL: &str = "api-approved.kubernetes.io";

/// Findings about a definition on its own. Schemas are checked by `lotse_schema::Schema::from_crd`.
pub(crate) fn validate(crd: &Value) -> Vec<Cause> {
    let mut findings = Findings::default();
    let spec = crd.at("spec").unwrap_or(&Value::Null);
    validate_group(crd, spec, &mut findings);
    validate_names(spec.at("names").unwrap_or(&Value::Null), &mut findings);
    validate_identity(crd, spec, &mut findings);
    let scope = SPEC.field("scope");
    match spec.filled("scope") {
        None => findings.required(&scope, ""),
        scope_name => findings.one_of(&scope, scope_name, &["Cluster", "Namespaced"]),
    }
    if spec.flag("preserveUnknownFields") {
        let detail = "must be false: set x-kubernetes-preserve-unknown-fields in the schema instead";
        findings.invalid(&SPEC.field("preserveUnknownFields"), &true.into(), detail);
    }
    validate_versions(spec, &mut findings);
    validate_conversion(spec, &mut findings);
    findings.0
}

/// What may not change: an established definition has objects that were written under its names.
pub(crate) fn validate_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut findings = Findings(validate(new));
    let names = SPEC.field("names");
    for (path, keys) in [
        (SPEC.field("group"), &["spec", "group"][..]),
        (SPEC.field("scope"), &["spec", "scope"]),
        (names.field("kind"), &["spec", "names", "kind"]),
        (names.field("plural"), &["spec", "names", "plural"]),
    ] {
        findings.immutable(&path, new.path(keys), old.path(keys));
    }
    let declared: HashSet<_> = new
        .at("spec")
        .map_or(&[][..], |spec| spec.items("versions"))
        .iter()
        .filter_map(|version| version.text("name"))
        .collect();
    let status = Path::new("status");
    let stored = status.field("storedVersions");
    for (index, version) in new.at("status").map_or(&[][..], |status| status.items("storedVersions")).iter().enumerate()
    {
        if version.as_str().is_some_and(|version| !declared.contains(version)) {
            findings.invalid(
                &stored.index(index),
                version,
                "missing from spec.versions; objects may still be stored in it",
            );
        }
    }
    findings.0
}

fn validate_group(crd: &Value, spec: &Value, findings: &mut Findings) {
    let path = SPEC.field("group");
    let Some(group) = spec.filled("group") else { return findings.required(&path, "") };
    findings.rule(&path, group, names::dns1123_subdomain);
    if !group.contains('.') {
        findings.invalid_text(&path, group, "should be a domain with at least one dot");
    }
    let protected = PROTECTED.iter().any(|suffix| group == *suffix || group.ends_with(&format!(".{suffix}")));
    if protected && crd.path(&["metadata", "annotations", APPROVAL]).is_none() {
        let metadata = Path::new("metadata");
        let annotations = metadata.field("annotations");
        findings.required(
            &annotations.key(APPROVAL),
            "groups under k8s.io and kubernetes.io need the address of their approval",
        );
    }
}

fn validate_names(names_value: &Value, findings: &mut Findings) {
    let path = SPEC.field("names");
    for key in ["plural", "kind"] {
        if names_value.filled(key).is_none() {
            findings.required(&path.field(key), "");
        }
    }
    for key in ["plural", "singular"] {
        if let Some(name) = names_value.filled(key) {
            findings.rule(&path.field(key), name, names::dns1035_label);
        }
    }
    for key in ["kind", "listKind"] {
        if let Some(name) = names_value.filled(key)
            && let Err(detail) = names::dns1035_label(&name.to_lowercase())
        {
            findings.invalid_text(
                &path.field(key),
                name,
                format_args!("may have mixed case, but should otherwise match: {detail}"),
            );
        }
    }
    if let Some(kind) = names_value.filled("kind").filter(|kind| names_value.text("listKind") == Some(kind)) {
        findings.invalid_text(&path.field("listKind"), kind, "kind and listKind may not be the same");
    }
    for key in ["shortNames", "categories"] {
        let list = path.field(key);
        for (index, name) in names_value.items(key).iter().enumerate() {
            if let Some(name) = name.as_str() {
                findings.rule(&list.index(index), name, names::dns1035_label);
            }
        }
    }
}

fn validate_identity(crd: &Value, spec: &Value, findings: &mut Findings) {
    let (Some(plural), Some(group)) = (spec.path(&["names", "plural"]).and_then(Value::as_str), spec.text("group"))
    else {
        return;
    };
    let name = crd.at("metadata").and_then(|metadata| metadata.text("name")).unwrap_or_default();
    if name != format!("{plural}.{group}") {
        let metadata = Path::new("metadata");
        findings.invalid_text(&metadata.field("name"), name, "must be spec.names.plural+\".\"+spec.group");
    }
}

fn validate_versions(spec: &Value, findings: &mut Findings) {
    let path = SPEC.field("versions");
    let versions = spec.items("versions");
    if versions.is_empty() {
        return findings.required(&path, "must have exactly one version marked as storage version");
    }
    if versions.iter().filter(|version| version.flag("storage")).count() != 1 {
        findings.invalid(&path, &version_names(versions), "must have exactly one version marked as storage version");
    }
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        match version.filled("name") {
            None => findings.required(&path.field("name"), ""),
            Some(name) => {
                findings.rule(&path.field("name"), name, names::dns1035_label);
                if !seen.insert(name) {
                    findings.duplicate(&path.field("name"), &name.into());
                }
            }
        }
        if version.path(&["schema", "openAPIV3Schema"]).is_none() {
            let schema = path.field("schema");
            findings.required(&schema.field("openAPIV3Schema"), "schemas are required");
        }
        validate_printer_columns(&path.field("additionalPrinterColumns"), version, findings);
        validate_selectable_fields(&path.field("selectableFields"), version, findings);
        if let Some(scale) = version.path(&["subresources", "scale"]) {
            let subresources = path.field("subresources");
            validate_scale(&subresources.field("scale"), scale, findings);
        }
    }
}

fn version_names(versions: &[Value]) -> Value {
    versions.iter().filter_map(|version| version.text("name")).collect()
}

fn validate_printer_columns(path: &Path<'_>, version: &Value, findings: &mut Findings) {
    for (index, column) in version.items("additionalPrinterColumns").iter().enumerate() {
        let path = path.index(index);
        if column.filled("name").is_none() {
            findings.required(&path.field("name"), "");
        }
        match column.filled("type") {
            None => findings.required(&path.field("type"), "must be one of boolean, date, integer, number, string"),
            Some(kind) if super::columns::column_type(kind).is_none() => {
                findings.not_supported(&path.field("type"), kind, &["boolean", "date", "integer", "number", "string"]);
            }
            Some(_) => {}
        }
        let formats = ["int32", "int64", "float", "double", "byte", "date", "date-time", "password"];
        findings.one_of(&path.field("format"), column.filled("format"), &formats);
        validate_path(&path.field("jsonPath"), column.filled("jsonPath"), findings);
    }
}

fn validate_path(path: &Path<'_>, value: Option<&str>, findings: &mut Findings) {
    match value {
        None => findings.required(path, ""),
        Some(text) => {
            if let Err(detail) = JsonPath::parse(text) {
                findings.invalid_text(path, text, detail);
            }
        }
    }
}

fn validate_selectable_fields(path: &Path<'_>, version: &Value, findings: &mut Findings) {
    let fields = version.items("selectableFields");
    if fields.len() > 8 {
        findings.invalid(path, &fields.len().into(), "may have at most 8 items");
    }
    let mut seen = HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        let path = path.index(index);
        let path = path.field("jsonPath");
        let Some(text) = field.filled("jsonPath") else {
            findings.required(&path, "");
            continue;
        };
        if JsonPath::parse(text).ok().and_then(|parsed| parsed.pointer()).is_none() {
            findings.invalid_text(&path, text, "must be a simple path of field names such as .spec.color");
        }
        if !seen.insert(text) {
            findings.duplicate(&path, &text.into());
        }
    }
}

fn validate_scale(path: &Path<'_>, scale: &Value, findings: &mut Findings) {
    for (key, roots, required) in [
        ("specReplicasPath", &[".spec."][..], true),
        ("statusReplicasPath", &[".status."], true),
        ("labelSelectorPath", &[".spec.", ".status."], false),
    ] {
        let path = path.field(key);
        match scale.filled(key) {
            None if required => findings.required(&path, ""),
            None => {}
            Some(text) => {
                let plain = JsonPath::parse(text).ok().and_then(|parsed| parsed.pointer()).is_some();
                if !plain || !roots.iter().any(|root| text.starts_with(root)) {
                    findings.invalid_text(
                        &path,
                        text,
                        format_args!("should be a json path under {}", roots.join(" or ")),
                    );
                }
            }
        }
    }
}

fn validate_conversion(spec: &Value, findings: &mut Findings) {
    let Some(conversion) = spec.at("conversion") else { return };
    let path = SPEC.field("conversion");
    findings.one_of(&path.field("strategy"), conversion.filled("strategy"), &["None", "Webhook"]);
    let webhook = path.field("webhook");
    match (conversion.text("strategy") == Some("Webhook"), conversion.at("webhook")) {
        (false, None) => {}
        (false, Some(_)) => findings.forbidden(&webhook, "should not be set when strategy is not set to Webhook"),
        (true, None) => findings.required(&webhook, "required when strategy is set to Webhook"),
        (true, Some(given)) => {
            let client = given.at("clientConfig").unwrap_or(&Value::Null);
            if client.filled("url").is_some() == client.at("service").is_some() {
                findings.required(&webhook.field("clientConfig"), "exactly one of url or service is required");
            }
            let reviews = webhook.field("conversionReviewVersions");
            let versions = given.items("conversionReviewVersions");
            if versions.is_empty() {
                findings.required(&reviews, "");
            } else if !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
                findings.invalid(
                    &reviews,
                    given.at("conversionReviewVersions").unwrap_or(&Value::Null),
                    "must include at least one of v1, v1beta1",
                );
            }
        }
    }
}
