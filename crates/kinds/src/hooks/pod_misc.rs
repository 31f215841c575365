//! PodTemplate and Binding.

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::{metadata, pod_defaults, pod_spec};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View},
};

pub(crate) fn default_template(object: &mut Value) {
    if let Some(template) = object.at_mut("template") {
        pod_defaults::default_template(template);
    }
}

pub(crate) fn validate_template(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let path = Path::new("template");
    match new.at("template") {
        None => findings.required(&path, ""),
        Some(template) => pod_spec::validate_template(&path, template, &[], &mut findings),
    }
    findings.0
}

/// A pod is bound to a node and to nothing else.
pub(crate) fn validate_binding(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    let path = Path::new("target");
    let target = new.at("target").unwrap_or(&Value::Null);
    findings.one_of(&path.field("kind"), target.filled("kind"), &["Node"]);
    if target.filled("name").is_none() {
        findings.required(&path.field("name"), "");
    }
    findings.0
}
