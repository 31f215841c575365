//! Service. Addresses and node ports are allocated by the API server's allocator, which knows the other Services; here stands
//! what follows from the object and its former state.

use std::collections::HashSet;

use lotse_schema::{Cause, names};
use serde_json::{Value, json};

use super::{metadata, probe, selector};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, is_empty},
};

const SPEC: Path<'_> = Path::new("spec");
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(crate) fn default(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    spec.set_default("sessionAffinity", "None");
    spec.set_default("type", "ClusterIP");
    if spec.text("sessionAffinity") == Some("ClientIP")
        && let Some(client) = spec.object_mut("sessionAffinityConfig").and_then(|config| config.object_mut("clientIP"))
    {
        client.set_default("timeoutSeconds", 10_800);
    }
    for port in spec.items_mut("ports") {
        port.set_default("protocol", "TCP");
        let number = port.at("port").cloned();
        if let Some(number) = number {
            port.set_default("targetPort", number.clone());
            if port.int("targetPort") == Some(0) {
                port.set("targetPort", number);
            }
        }
    }
    let kind = spec.text("type").unwrap_or_default().to_owned();
    let outside = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
    if outside || (kind == "ClusterIP" && !spec.items("externalIPs").is_empty()) {
        spec.set_default("externalTrafficPolicy", "Cluster");
    }
    if outside || kind == "ClusterIP" {
        spec.set_default("internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        spec.set_default("allocateLoadBalancerNodePorts", true);
    }
}

/// An update that leaves out what was allocated keeps it; what the new type has no use for goes. Node is IPv4.
pub(crate) fn prepare(strategy: Strategy, new: &mut Value, old: Option<&Value>) -> Result<(), Vec<Cause>> {
    if strategy == Strategy::Subresource {
        return Ok(());
    }
    if old.is_none() {
        new.set("status", json!({"loadBalancer": {}}));
    }
    let Some(spec) = new.at_mut("spec") else { return Ok(()) };
    let external_name = spec.text("type") == Some("ExternalName");
    if let Some(old) = old.and_then(|old| old.at("spec")) {
        let was_external_name = old.text("type") == Some("ExternalName");
        if external_name && !was_external_name {
            release_addresses(spec, old);
        } else if !external_name && !was_external_name {
            keep_allocated(spec, old);
        }
    }
    if external_name {
        return Ok(());
    }
    let address = spec.filled("clusterIP").map(str::to_owned);
    match address {
        Some(address) if is_empty(spec.at("clusterIPs")) => spec.set("clusterIPs", vec![address]),
        Some(_) => {}
        None => {
            let first = spec.items("clusterIPs").first().cloned();
            first.into_iter().for_each(|first| spec.set("clusterIP", first));
        }
    }
    if is_empty(spec.at("ipFamilies")) {
        spec.set("ipFamilies", vec!["IPv4"]);
    }
    spec.set_default("ipFamilyPolicy", "SingleStack");
    Ok(())
}

/// Becoming an ExternalName gives the addresses back, unless the writer put in others, which validation then refuses.
fn release_addresses(spec: &mut Value, old: &Value) {
    for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
        if spec.at(key) == old.at(key) {
            spec.remove(key);
        }
    }
    spec.items_mut("ports").for_each(|port| drop(port.remove("nodePort")));
}

fn keep_allocated(spec: &mut Value, old: &Value) {
    for key in ["clusterIP", "clusterIPs"] {
        if is_empty(spec.at(key))
            && let Some(value) = old.at(key)
        {
            spec.set(key, value.clone());
        }
    }
    let takes_node_ports = |spec: &Value| match spec.text("type") {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.at("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    };
    let (needs, needed) = (takes_node_ports(spec), takes_node_ports(old));
    for port in spec.items_mut("ports") {
        let identity = |port: &Value| (port.int("port"), port.text("protocol").map(str::to_owned));
        let before = old.items("ports").iter().find(|before| identity(before) == identity(port));
        let allocated = before.and_then(|before| before.at("nodePort"));
        if needs && needed && port.int("nodePort").is_none_or(|number| number == 0) {
            allocated.into_iter().for_each(|number| port.set("nodePort", number.clone()));
        } else if !needs && needed && port.at("nodePort") == allocated {
            port.remove("nodePort");
        }
    }
    if !needs && spec.items("externalIPs").is_empty() && spec.text("type") == Some("ClusterIP") {
        for key in
            ["externalTrafficPolicy", "allocateLoadBalancerNodePorts", "healthCheckNodePort", "loadBalancerClass"]
        {
            if spec.at(key) == old.at(key) {
                spec.remove(key);
            }
        }
    }
}

pub(crate) fn validate(strategy: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    metadata::name(new, names::dns1035_label, &mut findings);
    let Some(spec) = new.at("spec") else {
        findings.required(&SPEC, "");
        return findings.0;
    };
    let kind = spec.text("type").unwrap_or_default();
    findings.one_of(&SPEC.field("type"), spec.filled("type"), &TYPES);
    findings.one_of(&SPEC.field("sessionAffinity"), spec.filled("sessionAffinity"), &["ClientIP", "None"]);
    for key in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        findings.one_of(&SPEC.field(key), spec.filled(key), &["Cluster", "Local"]);
    }
    let affinity = SPEC.field("sessionAffinityConfig");
    let client = affinity.field("clientIP");
    let timeout = spec.path(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).and_then(Value::as_i64);
    findings.range(&client.field("timeoutSeconds"), timeout, 1, 86_400);
    selector::labels(&SPEC.field("selector"), spec.at("selector"), &mut findings);
    validate_ports(spec, kind, &mut findings);
    validate_addresses(spec, kind, &mut findings);
    if let Some(old) = old.and_then(|old| old.at("spec")) {
        validate_update(spec, old, &mut findings);
    }
    findings.0
}

fn validate_ports(spec: &Value, kind: &str, findings: &mut Findings) {
    let path = SPEC.field("ports");
    let ports = spec.items("ports");
    let headless = spec.text("clusterIP") == Some("None");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        findings.required(&path, "");
    }
    let (mut seen_names, mut seen_ports, mut seen_node_ports) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let protocol = port.text("protocol").unwrap_or("TCP");
        match port.filled("name") {
            None if ports.len() > 1 => findings.required(&path.field("name"), ""),
            None => {}
            Some(name) => {
                findings.rule(&path.field("name"), name, names::dns1123_label);
                if !seen_names.insert(name) {
                    findings.duplicate(&path.field("name"), &name.into());
                }
            }
        }
        match port.int("port") {
            None => findings.required(&path.field("port"), ""),
            number => findings.range(&path.field("port"), number, 1, 65_535),
        }
        findings.one_of(&path.field("protocol"), port.filled("protocol"), &["SCTP", "TCP", "UDP"]);
        if !headless && kind != "ExternalName" {
            probe::validate_port(&path.field("targetPort"), port.at("targetPort"), findings);
        }
        let node_port = port.int("nodePort").filter(|number| *number != 0);
        findings.range(&path.field("nodePort"), node_port, 1, 65_535);
        if let Some(number) = node_port {
            if matches!(kind, "ClusterIP" | "ExternalName") {
                let detail = "may not be used when `type` is 'ClusterIP' or 'ExternalName'";
                findings.forbidden(&path.field("nodePort"), detail);
            }
            if !seen_node_ports.insert((number, protocol)) {
                findings.duplicate(&path.field("nodePort"), &number.into());
            }
        }
        if !seen_ports.insert((port.int("port"), protocol)) {
            findings.duplicate(&path, &json!({"port": port.at("port"), "protocol": protocol}));
        }
    }
}

fn validate_addresses(spec: &Value, kind: &str, findings: &mut Findings) {
    let path = SPEC.field("clusterIP");
    match (kind, spec.filled("clusterIP")) {
        ("ExternalName", Some(_)) => {
            findings.forbidden(&SPEC.field("clusterIPs"), "may not be set when `type` is 'ExternalName'")
        }
        ("NodePort" | "LoadBalancer", Some("None")) => {
            findings.invalid_text(&path, "None", format_args!("may not be set to 'None' for {kind} services"));
        }
        (_, Some(address)) if address != "None" && address.parse::<std::net::IpAddr>().is_err() => {
            findings.invalid_text(&path, address, "must be empty, 'None', or a valid IP address");
        }
        _ => {}
    }
    if let (Some(address), Some(first)) = (spec.filled("clusterIP"), spec.items("clusterIPs").first())
        && first != address
    {
        findings.invalid(&SPEC.field("clusterIPs"), &spec["clusterIPs"], "first value must match `clusterIP`");
    }
    let external_name = SPEC.field("externalName");
    match (kind, spec.filled("externalName")) {
        ("ExternalName", None) => findings.required(&external_name, ""),
        ("ExternalName", Some(name)) => {
            findings.rule(&external_name, name.trim_end_matches('.'), names::dns1123_subdomain)
        }
        _ => {}
    }
    let external = SPEC.field("externalIPs");
    for (index, address) in spec.items("externalIPs").iter().enumerate() {
        if address.as_str().is_none_or(|address| address.parse::<std::net::IpAddr>().is_err()) {
            findings.invalid(&external.index(index), address, "must be a valid IP address");
        }
    }
    if kind != "LoadBalancer" && spec.filled("loadBalancerClass").is_some() {
        findings.forbidden(&SPEC.field("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'");
    }
}

/// An address stays as long as the Service has one.
fn validate_update(new: &Value, old: &Value, findings: &mut Findings) {
    if [new, old].iter().any(|spec| spec.text("type") == Some("ExternalName")) {
        return;
    }
    if let Some(before) = old.filled("clusterIP")
        && new.filled("clusterIP") != Some(before)
    {
        findings.invalid(&SPEC.field("clusterIP"), new.at("clusterIP").unwrap_or(&Value::Null), "field is immutable");
    }
}
