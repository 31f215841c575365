//! LimitRange and ResourceQuota.

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::{container, metadata, pod_defaults};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View},
    quantity,
};

const SPEC: Path<'_> = Path::new("spec");

/// Containers that say nothing get the maximum, and request what they get at least.
pub(crate) fn default_limit_range(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    for limit in spec.items_mut("limits") {
        for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            if let Some(list) = limit.at_mut(list) {
                pod_defaults::quantities(list);
            }
        }
        if limit.text("type") != Some("Container") {
            continue;
        }
        for (target, sources) in [("default", ["max"].as_slice()), ("defaultRequest", &["default", "min"])] {
            for source in sources {
                let Some(values) = limit.at(source).and_then(Value::as_object).cloned() else { continue };
                if let Some(target) = limit.object_mut(target) {
                    values.into_iter().for_each(|(name, value)| target.set_default(&name, value));
                }
            }
        }
    }
}

pub(crate) fn validate_limit_range(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let limits = SPEC.field("limits");
    for (index, limit) in new.at("spec").map_or(&[][..], |spec| spec.items("limits")).iter().enumerate() {
        let path = limits.index(index);
        if limit.filled("type").is_none() {
            findings.required(&path.field("type"), "");
        }
        for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            let path = path.field(list);
            for (name, value) in limit.entries(list) {
                container::validate_quantity(&path.key(name), value, &mut findings);
            }
        }
        for (small, large) in
            [("min", "max"), ("defaultRequest", "default"), ("default", "max"), ("min", "defaultRequest")]
        {
            let path = path.field(small);
            for (name, value) in limit.entries(small) {
                let bound = limit.path(&[large, name]).and_then(quantity::parse);
                if let (Some(amount), Some(bound)) = (quantity::parse(value), bound)
                    && amount > bound
                {
                    let detail = format!("{small} value is greater than {large} value");
                    findings.invalid(&path.key(name), value, detail);
                }
            }
        }
    }
    findings.0
}

pub(crate) fn validate_resource_quota(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let hard = SPEC.field("hard");
    for (name, value) in new.at("spec").into_iter().flat_map(|spec| spec.entries("hard")) {
        let path = hard.key(name);
        findings.rule(&path, name, names::qualified_name);
        container::validate_quantity(&path, value, &mut findings);
        let counts = name.starts_with("count/") || (!name.contains('.') && !name.contains('/') && !is_divisible(name));
        if counts && quantity::parse(value).is_some_and(|amount| !amount.is_whole()) {
            findings.invalid(&path, value, "must be an integer");
        }
    }
    if let Some(old) = old {
        findings.immutable(&SPEC.field("scopes"), new.path(&["spec", "scopes"]), old.path(&["spec", "scopes"]));
    }
    findings.0
}

/// Amounts rather than numbers of objects.
fn is_divisible(name: &str) -> bool {
    ["cpu", "memory", "ephemeral-storage", "storage"].contains(&name)
}

pub(crate) fn default_resource_quota(object: &mut Value) {
    if let Some(hard) = object.path_mut(&["spec", "hard"]) {
        pod_defaults::quantities(hard);
    }
}
