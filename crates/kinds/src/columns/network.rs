//! Service, Endpoints and group networking.k8s.io.

use serde_json::Value;

use super::{NONE, age, field, field_or, name, text, workloads};
use crate::{Column, json::View};

/// A list that gets long ends with the number of what is left out.
fn shortened(items: &[String], limit: usize) -> String {
    match items.get(..limit) {
        _ if items.is_empty() => NONE.to_owned(),
        Some(first) if items.len() > limit => format!("{} + {} more...", first.join(","), items.len() - limit),
        _ => items.join(","),
    }
}

fn spec(object: &Value) -> &Value {
    object.at("spec").unwrap_or(&Value::Null)
}

/// Addresses under which a load balancer is reached.
fn balancer(object: &Value) -> Vec<String> {
    let points = object.path(&["status", "loadBalancer"]).map_or(&[][..], |balancer| balancer.items("ingress"));
    points
        .iter()
        .filter_map(|point| point.filled("ip").or_else(|| point.filled("hostname")))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn service() -> Vec<Column> {
    vec![
        name(),
        field("Type", "How the Service is reached.", "/spec/type"),
        text("Cluster-IP", "Address within the cluster.", |object| {
            let first = spec(object).items("clusterIPs").first().and_then(Value::as_str);
            first.or_else(|| spec(object).filled("clusterIP")).unwrap_or(NONE).to_owned()
        }),
        text("External-IP", "Address from outside.", external_address),
        text("Port(s)", "Ports, with the node's port.", service_ports),
        age(),
        text("Selector", "Which pods serve.", |object| workloads::labels(spec(object).at("selector"))).wide(),
    ]
}

fn external_address(object: &Value) -> String {
    let given: Vec<_> = spec(object).items("externalIPs").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    match spec(object).text("type") {
        Some("ExternalName") => spec(object).text("externalName").unwrap_or_default().to_owned(),
        Some("LoadBalancer") => {
            let all = [balancer(object), given].concat();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ if given.is_empty() => NONE.to_owned(),
        _ => given.join(","),
    }
}

fn service_ports(object: &Value) -> String {
    let ports = spec(object).items("ports").iter().map(|port| {
        let number = port.int("port").unwrap_or(0);
        let protocol = port.text("protocol").unwrap_or("TCP");
        match port.int("nodePort").filter(|port| *port > 0) {
            Some(node_port) => format!("{number}:{node_port}/{protocol}"),
            None => format!("{number}/{protocol}"),
        }
    });
    let ports: Vec<_> = ports.collect();
    if ports.is_empty() { NONE.to_owned() } else { ports.join(",") }
}

pub(crate) fn endpoints() -> Vec<Column> {
    vec![name(), text("Endpoints", "Addresses that serve.", endpoint_addresses), age()]
}

fn endpoint_addresses(object: &Value) -> String {
    let mut found = Vec::new();
    for subset in object.items("subsets") {
        for address in subset.items("addresses").iter().filter_map(|address| address.text("ip")) {
            let bracketed = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            let ports = subset.items("ports");
            if ports.is_empty() {
                found.push(address.to_owned());
            }
            found.extend(ports.iter().map(|port| format!("{bracketed}:{}", port.int("port").unwrap_or(0))));
        }
    }
    shortened(&found, 3)
}

pub(crate) fn endpoint_slice() -> Vec<Column> {
    vec![
        name(),
        field("AddressType", "Kind of the addresses.", "/addressType"),
        text("Ports", "Ports that serve.", |object: &Value| {
            let ports = object.items("ports").iter().map(|port| match (port.int("port"), port.filled("name")) {
                (Some(number), _) => number.to_string(),
                (None, Some(name)) => name.to_owned(),
                (None, None) => "*".to_owned(),
            });
            match ports.collect::<Vec<_>>() {
                ports if ports.is_empty() => "<unset>".to_owned(),
                ports => shortened(&ports, 3),
            }
        }),
        text("Endpoints", "Addresses that serve.", |object: &Value| {
            let addresses = object.items("endpoints").iter().flat_map(|endpoint| endpoint.items("addresses"));
            let addresses: Vec<_> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
            if addresses.is_empty() { "<unset>".to_owned() } else { shortened(&addresses, 3) }
        }),
        age(),
    ]
}

pub(crate) fn ingress() -> Vec<Column> {
    vec![
        name(),
        field_or("Class", "Who serves the Ingress.", "/spec/ingressClassName", NONE),
        text("Hosts", "Names of the hosts.", |object| {
            let rules = spec(object).items("rules");
            let hosts: Vec<_> = rules.iter().map(|rule| rule.filled("host").unwrap_or("*").to_owned()).collect();
            if hosts.is_empty() { "*".to_owned() } else { shortened(&hosts, 3) }
        }),
        text("Address", "Addresses under which it is reached.", |object| balancer(object).join(",")),
        text(
            "Ports",
            "Ports that are served.",
            |object| {
                if spec(object).items("tls").is_empty() { "80" } else { "80, 443" }
            },
        ),
        age(),
    ]
}

pub(crate) fn ingress_class() -> Vec<Column> {
    vec![
        name(),
        field("Controller", "Who serves the class.", "/spec/controller"),
        text("Parameters", "Object that configures the class.", |object| match spec(object).at("parameters") {
            None => NONE.to_owned(),
            Some(parameters) => {
                let kind = parameters.text("kind").unwrap_or_default();
                let group = parameters.filled("apiGroup").map(|group| format!(".{group}")).unwrap_or_default();
                format!("{kind}{group}/{}", parameters.text("name").unwrap_or_default())
            }
        }),
        age(),
    ]
}

pub(crate) fn network_policy() -> Vec<Column> {
    vec![
        name(),
        text("Pod-Selector", "Which pods the policy is for.", |object| {
            workloads::selector(spec(object).at("podSelector"))
        }),
        age(),
    ]
}

pub(crate) fn ip_address() -> Vec<Column> {
    vec![
        name(),
        text("ParentRef", "Object that uses the address.", |object| {
            let parent = spec(object).at("parentRef").unwrap_or(&Value::Null);
            let parts = ["group", "resource", "namespace", "name"].map(|key| parent.filled(key));
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            parts.join("/")
        }),
        age(),
    ]
}

pub(crate) fn service_cidr() -> Vec<Column> {
    vec![
        name(),
        text("CIDRs", "Ranges of addresses.", |object| {
            let ranges: Vec<_> = spec(object).items("cidrs").iter().filter_map(Value::as_str).collect();
            ranges.join(",")
        }),
        age(),
    ]
}
