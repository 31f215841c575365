//! Group admissionregistration.k8s.io.

use std::collections::HashSet;

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::selector;
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View},
};

const SPEC: Path<'_> = Path::new("spec");

fn default_webhooks(object: &mut Value) {
    for webhook in object.items_mut("webhooks") {
        webhook.set_default("failurePolicy", "Fail");
        webhook.set_default("matchPolicy", "Equivalent");
        webhook.set_default("timeoutSeconds", 10);
        webhook.object_mut("namespaceSelector");
        webhook.object_mut("objectSelector");
        webhook.items_mut("rules").for_each(|rule| rule.set_default("scope", "*"));
        if let Some(service) = webhook.path_mut(&["clientConfig", "service"]) {
            service.set_default_nonzero("port", 443);
        }
    }
}

pub(crate) fn default_validating_webhooks(object: &mut Value) {
    default_webhooks(object);
}

pub(crate) fn default_mutating_webhooks(object: &mut Value) {
    default_webhooks(object);
    object.items_mut("webhooks").for_each(|webhook| webhook.set_default("reinvocationPolicy", "Never"));
}

pub(crate) fn validate_webhooks(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    let webhooks = Path::new("webhooks");
    let mut seen = HashSet::new();
    for (index, webhook) in new.items("webhooks").iter().enumerate() {
        let path = webhooks.index(index);
        let name = webhook.text("name").unwrap_or_default();
        let name_path = path.field("name");
        findings.rule(&name_path, name, names::dns1123_subdomain);
        if name.split('.').count() < 3 {
            findings.invalid_text(
                &name_path,
                name,
                "should be a domain with at least three segments separated by dots",
            );
        }
        if !seen.insert(name) {
            findings.duplicate(&name_path, &name.into());
        }
        findings.one_of(&path.field("failurePolicy"), webhook.filled("failurePolicy"), &["Fail", "Ignore"]);
        findings.one_of(&path.field("matchPolicy"), webhook.filled("matchPolicy"), &["Equivalent", "Exact"]);
        findings.range(&path.field("timeoutSeconds"), webhook.int("timeoutSeconds"), 1, 30);
        match webhook.filled("sideEffects") {
            None => findings.required(&path.field("sideEffects"), "must specify one of None, NoneOnDryRun"),
            effects => findings.one_of(&path.field("sideEffects"), effects, &["None", "NoneOnDryRun"]),
        }
        if webhook.items("admissionReviewVersions").is_empty() {
            findings.required(&path.field("admissionReviewVersions"), "must specify one of v1, v1beta1");
        }
        validate_client(&path.field("clientConfig"), webhook.at("clientConfig"), &mut findings);
        for key in ["namespaceSelector", "objectSelector"] {
            if let Some(found) = webhook.at(key) {
                selector::validate(&path.field(key), found, &mut findings);
            }
        }
        let rules = path.field("rules");
        for (index, rule) in webhook.items("rules").iter().enumerate() {
            validate_rule(&rules.index(index), rule, &mut findings);
        }
    }
    findings.0
}

fn validate_client(path: &Path<'_>, client: Option<&Value>, findings: &mut Findings) {
    let client = client.unwrap_or(&Value::Null);
    match (client.filled("url"), client.at("service")) {
        (None, None) | (Some(_), Some(_)) => findings.required(path, "exactly one of url or service is required"),
        (Some(url), None) if !url.starts_with("https://") => {
            findings.invalid_text(&path.field("url"), url, "'https' is the only allowed URL scheme");
        }
        (Some(_), None) => {}
        (None, Some(service)) => {
            let path = path.field("service");
            for key in ["name", "namespace"] {
                if service.filled(key).is_none() {
                    findings.required(&path.field(key), "");
                }
            }
            findings.range(&path.field("port"), service.int("port"), 1, 65_535);
        }
    }
}

fn validate_rule(path: &Path<'_>, rule: &Value, findings: &mut Findings) {
    for key in ["operations", "apiGroups", "apiVersions", "resources"] {
        if rule.items(key).is_empty() {
            findings.required(&path.field(key), "");
        }
    }
    let operations = path.field("operations");
    for (index, operation) in rule.items("operations").iter().enumerate() {
        let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
        findings.one_of(&operations.index(index), operation.as_str(), &known);
    }
    findings.one_of(&path.field("scope"), rule.filled("scope"), &["*", "Cluster", "Namespaced"]);
}

fn default_match(resources: &mut Value) {
    resources.set_default("matchPolicy", "Equivalent");
    resources.object_mut("namespaceSelector");
    resources.object_mut("objectSelector");
    for list in ["resourceRules", "excludeResourceRules"] {
        resources.items_mut(list).for_each(|rule| rule.set_default("scope", "*"));
    }
}

pub(crate) fn default_policy(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    spec.set_default("failurePolicy", "Fail");
    spec.at_mut("matchConstraints").into_iter().for_each(default_match);
}

pub(crate) fn default_policy_binding(object: &mut Value) {
    object.path_mut(&["spec", "matchResources"]).into_iter().for_each(default_match);
}

pub(crate) fn validate_policy(strategy: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    let spec = new.at("spec").unwrap_or(&Value::Null);
    if spec.at("matchConstraints").is_none() {
        findings.required(&SPEC.field("matchConstraints"), "");
    }
    if spec.items("validations").is_empty() && spec.items("auditAnnotations").is_empty() {
        findings.required(&SPEC.field("validations"), "validations or auditAnnotations must contain at least one item");
    }
    let validations = SPEC.field("validations");
    for (index, validation) in spec.items("validations").iter().enumerate() {
        if validation.filled("expression").is_none_or(|expression| expression.trim().is_empty()) {
            let path = validations.index(index);
            findings.required(&path.field("expression"), "expression is not specified");
        }
    }
    findings.0
}

pub(crate) fn validate_policy_binding(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    let spec = new.at("spec").unwrap_or(&Value::Null);
    if spec.filled("policyName").is_none() {
        findings.required(&SPEC.field("policyName"), "");
    }
    let actions = SPEC.field("validationActions");
    if spec.items("validationActions").is_empty() {
        findings.required(&actions, "at least one validation action is required");
    }
    for (index, action) in spec.items("validationActions").iter().enumerate() {
        findings.one_of(&actions.index(index), action.as_str(), &["Audit", "Deny", "Warn"]);
    }
    findings.0
}
