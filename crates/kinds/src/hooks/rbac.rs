//! Group rbac.authorization.k8s.io. That nobody grants more than they have is checked by the authoriser, which knows the roles.

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::{metadata, selector};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View},
};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) fn default_binding(object: &mut Value) {
    if let Some(role) = object.at_mut("roleRef") {
        role.set_default("apiGroup", GROUP);
    }
    for subject in object.items_mut("subjects") {
        if matches!(subject.text("kind"), Some("User" | "Group")) {
            subject.set_default("apiGroup", GROUP);
        }
    }
}

pub(crate) fn validate_role(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, metadata::path_segment, &mut findings);
    validate_rules(new, true, &mut findings);
    findings.0
}

pub(crate) fn validate_cluster_role(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, metadata::path_segment, &mut findings);
    validate_rules(new, false, &mut findings);
    if let Some(aggregation) = new.at("aggregationRule") {
        let path = Path::new("aggregationRule");
        let path = path.field("clusterRoleSelectors");
        if aggregation.items("clusterRoleSelectors").is_empty() {
            findings.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for (index, found) in aggregation.items("clusterRoleSelectors").iter().enumerate() {
            selector::validate(&path.index(index), found, &mut findings);
        }
    }
    findings.0
}

fn validate_rules(role: &Value, namespaced: bool, findings: &mut Findings) {
    let rules = Path::new("rules");
    for (index, rule) in role.items("rules").iter().enumerate() {
        let path = rules.index(index);
        if rule.items("verbs").is_empty() {
            findings.required(&path.field("verbs"), "verbs must contain at least one value");
        }
        if !rule.items("nonResourceURLs").is_empty() {
            let path = path.field("nonResourceURLs");
            if namespaced {
                findings.invalid(&path, &rule["nonResourceURLs"], "namespaced rules cannot apply to non-resource URLs");
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|key| !rule.items(key).is_empty()) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                findings.invalid(&path, &rule["nonResourceURLs"], detail);
            }
            continue;
        }
        if rule.items("apiGroups").is_empty() {
            findings.required(&path.field("apiGroups"), "resource rules must supply at least one api group");
        }
        if rule.items("resources").is_empty() {
            findings.required(&path.field("resources"), "resource rules must supply at least one resource");
        }
    }
}

pub(crate) fn validate_role_binding(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    validate_binding(new, old, true, &["Role", "ClusterRole"])
}

pub(crate) fn validate_cluster_role_binding(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    validate_binding(new, old, false, &["ClusterRole"])
}

fn validate_binding(new: &Value, old: Option<&Value>, is_namespaced: bool, kinds: &[&str]) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, metadata::path_segment, &mut findings);
    let path = Path::new("roleRef");
    let role = new.at("roleRef").unwrap_or(&Value::Null);
    findings.one_of(&path.field("apiGroup"), role.filled("apiGroup"), &[GROUP]);
    match role.filled("kind") {
        None => findings.not_supported(&path.field("kind"), "", kinds),
        kind => findings.one_of(&path.field("kind"), kind, kinds),
    }
    match role.filled("name") {
        None => findings.required(&path.field("name"), ""),
        Some(name) => findings.rule(&path.field("name"), name, metadata::path_segment),
    }
    if let Some(old) = old
        && role != old.at("roleRef").unwrap_or(&Value::Null)
    {
        findings.invalid(&path, role, "cannot change roleRef");
    }
    let subjects = Path::new("subjects");
    for (index, subject) in new.items("subjects").iter().enumerate() {
        let path = subjects.index(index);
        let name = subject.filled("name");
        if name.is_none() {
            findings.required(&path.field("name"), "");
        }
        match subject.text("kind") {
            Some("ServiceAccount") => {
                if let Some(name) = name {
                    findings.rule(&path.field("name"), name, names::dns1123_subdomain);
                }
                findings.one_of(&path.field("apiGroup"), subject.filled("apiGroup"), &[""]);
                // In a RoleBinding the absent namespace is its own.
                if !is_namespaced && subject.filled("namespace").is_none() {
                    findings.required(&path.field("namespace"), "");
                }
            }
            Some("User" | "Group") => findings.one_of(&path.field("apiGroup"), subject.filled("apiGroup"), &[GROUP]),
            other => findings.not_supported(
                &path.field("kind"),
                other.unwrap_or_default(),
                &["ServiceAccount", "User", "Group"],
            ),
        }
    }
    findings.0
}
