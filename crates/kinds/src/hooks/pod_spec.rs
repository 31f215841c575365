//! Rules for pods and pod templates (`k8s.io/kubernetes/pkg/apis/core/validation`).

use std::collections::HashSet;

use lotse_schema::names;
use serde_json::Value;

use super::{container, pod_volumes, selector};
use crate::{
    findings::{Findings, Path},
    json::View,
};

/// A template: its labels, and the pods made from it. `claims` are volumes that the template's owner adds to each pod, as a
/// StatefulSet does for its claim templates.
pub(super) fn validate_template(path: &Path<'_>, template: &Value, claims: &[&str], findings: &mut Findings) {
    let metadata = path.field("metadata");
    selector::labels(&metadata.field("labels"), template.path(&["metadata", "labels"]), findings);
    let annotations = metadata.field("annotations");
    for key in
        template.path(&["metadata", "annotations"]).and_then(Value::as_object).into_iter().flat_map(|map| map.keys())
    {
        findings.rule(&annotations, &key.to_lowercase(), names::qualified_name);
    }
    let spec = path.field("spec");
    match template.at("spec") {
        None => findings.required(&spec, ""),
        Some(pod) => {
            validate(&spec, pod, claims, findings);
            if !pod.items("ephemeralContainers").is_empty() {
                findings
                    .forbidden(&spec.field("ephemeralContainers"), "ephemeral containers not allowed in pod template");
            }
        }
    }
}

/// The spec of a new pod; `claims` are names of volumes that it gets besides its own.
pub(super) fn validate(path: &Path<'_>, spec: &Value, claims: &[&str], findings: &mut Findings) {
    let mut volumes = pod_volumes::validate(&path.field("volumes"), spec, findings);
    volumes.extend(claims);
    validate_containers(path, spec, &volumes, findings);
    findings.one_of(&path.field("restartPolicy"), spec.filled("restartPolicy"), &["Always", "OnFailure", "Never"]);
    let dns_policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    findings.one_of(&path.field("dnsPolicy"), spec.filled("dnsPolicy"), &dns_policies);
    findings.one_of(
        &path.field("preemptionPolicy"),
        spec.filled("preemptionPolicy"),
        &["Never", "PreemptLowerPriority"],
    );
    findings.non_negative(&path.field("terminationGracePeriodSeconds"), spec.int("terminationGracePeriodSeconds"));
    if let Some(deadline) = spec.at("activeDeadlineSeconds").and_then(Value::as_i64) {
        findings.range(&path.field("activeDeadlineSeconds"), Some(deadline), 1, i64::from(i32::MAX));
    }
    for (key, rule) in [
        ("serviceAccountName", names::dns1123_subdomain as fn(&str) -> Result<(), String>),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
    ] {
        if let Some(name) = spec.filled(key) {
            findings.rule(&path.field(key), name, rule);
        }
    }
    selector::labels(&path.field("nodeSelector"), spec.at("nodeSelector"), findings);
    validate_dns(path, spec, findings);
    validate_security(&path.field("securityContext"), spec, findings);
    validate_tolerations(&path.field("tolerations"), spec, findings);
    let aliases = path.field("hostAliases");
    for (index, alias) in spec.items("hostAliases").iter().enumerate() {
        let path = aliases.index(index);
        let ip = alias.text("ip").unwrap_or_default();
        if ip.parse::<std::net::IpAddr>().is_err() {
            findings.invalid_text(&path.field("ip"), ip, "must be a valid IP address");
        }
        let hostnames = path.field("hostnames");
        for (index, name) in alias.items("hostnames").iter().enumerate() {
            if let Some(name) = name.as_str() {
                findings.rule(&hostnames.index(index), name, names::dns1123_subdomain);
            }
        }
    }
}

fn validate_containers(path: &Path<'_>, spec: &Value, volumes: &HashSet<&str>, findings: &mut Findings) {
    let containers = path.field("containers");
    if spec.items("containers").is_empty() {
        findings.required(&containers, "");
    }
    let mut seen = HashSet::new();
    let mut host_ports = HashSet::new();
    for (list, init) in [("initContainers", true), ("containers", false)] {
        let path = path.field(list);
        for (index, container) in spec.items(list).iter().enumerate() {
            let path = path.index(index);
            container::validate(&path, container, volumes, init, findings);
            if let Some(name) = container.filled("name")
                && !seen.insert(name)
            {
                findings.duplicate(&path.field("name"), &name.into());
            }
            if !init {
                container::check_host_ports(&path.field("ports"), container, &mut host_ports, findings);
            }
        }
    }
}

fn validate_dns(path: &Path<'_>, spec: &Value, findings: &mut Findings) {
    let path = path.field("dnsConfig");
    let servers = spec.path(&["dnsConfig", "nameservers"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let nameservers = path.field("nameservers");
    if spec.text("dnsPolicy") == Some("None") && servers.is_empty() {
        findings.required(&nameservers, "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
    if servers.len() > 3 {
        findings.invalid(&nameservers, &servers.len().into(), "must not have more than 3 nameservers");
    }
    for (index, server) in servers.iter().enumerate() {
        if server.as_str().is_none_or(|server| server.parse::<std::net::IpAddr>().is_err()) {
            findings.invalid(&nameservers.index(index), server, "must be a valid IP address");
        }
    }
}

fn validate_security(path: &Path<'_>, spec: &Value, findings: &mut Findings) {
    let Some(security) = spec.at("securityContext") else { return };
    container::validate_ids(path, security, findings);
    findings.range(&path.field("fsGroup"), security.int("fsGroup"), 0, i64::from(i32::MAX));
    findings.one_of(
        &path.field("fsGroupChangePolicy"),
        security.filled("fsGroupChangePolicy"),
        &["OnRootMismatch", "Always"],
    );
    let groups = path.field("supplementalGroups");
    for (index, group) in security.items("supplementalGroups").iter().enumerate() {
        findings.range(&groups.index(index), group.as_i64(), 0, i64::from(i32::MAX));
    }
    let sysctls = path.field("sysctls");
    let mut seen = HashSet::new();
    for (index, sysctl) in security.items("sysctls").iter().enumerate() {
        let path = sysctls.index(index);
        let path = path.field("name");
        let name = sysctl.text("name").unwrap_or_default();
        let valid = !name.is_empty()
            && name.len() <= 253
            && name.split(['.', '/']).all(|part| {
                !part.is_empty()
                    && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
            });
        if !valid {
            findings.invalid_text(
                &path,
                name,
                "must have at most 253 characters and consist of lower case words separated by dots",
            );
        } else if !seen.insert(name) {
            findings.duplicate(&path, &name.into());
        }
    }
}

fn validate_tolerations(path: &Path<'_>, spec: &Value, findings: &mut Findings) {
    for (index, toleration) in spec.items("tolerations").iter().enumerate() {
        let path = path.index(index);
        let operator = toleration.filled("operator");
        match toleration.filled("key") {
            Some(key) => findings.rule(&path.field("key"), key, names::qualified_name),
            None if operator != Some("Exists") => {
                let detail =
                    "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
                findings.invalid_text(&path.field("operator"), operator.unwrap_or_default(), detail);
            }
            None => {}
        }
        findings.one_of(&path.field("operator"), operator, &["Equal", "Exists", "Lt", "Gt"]);
        if operator == Some("Exists") && toleration.filled("value").is_some() {
            let value = toleration.filled("value").unwrap_or_default();
            findings.invalid_text(&path.field("value"), value, "value must be empty when `operator` is 'Exists'");
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        findings.one_of(&path.field("effect"), toleration.filled("effect"), &effects);
        if toleration.at("tolerationSeconds").is_some() && toleration.filled("effect") != Some("NoExecute") {
            let effect = toleration.filled("effect").unwrap_or_default();
            findings.invalid_text(
                &path.field("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
    }
}
