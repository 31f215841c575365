//! What belongs to the cluster as a whole: Namespace, Node, Lease, PriorityClass, RuntimeClass, CertificateSigningRequest and
//! APIService.

use serde_json::Value;

use super::{NONE, age, column, field, field_or, name, text};
use crate::{Column, ColumnType, age::human_duration, json::View};

pub(crate) fn namespace() -> Vec<Column> {
    vec![name(), field("Status", "State of the namespace.", "/status/phase"), age()]
}

fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    object.at("status")?.items("conditions").iter().find(|condition| condition.text("type") == Some(kind))
}

pub(crate) fn node() -> Vec<Column> {
    vec![
        name(),
        text("Status", "State of the node.", |node: &Value| {
            let ready = match condition(node, "Ready").and_then(|condition| condition.text("status")) {
                Some("True") => "Ready",
                Some(_) => "NotReady",
                None => "Unknown",
            };
            let cordoned = node.path(&["spec", "unschedulable"]) == Some(&Value::Bool(true));
            if cordoned { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
        }),
        text("Roles", "Roles of the node.", roles),
        age(),
        field("Version", "Version of the node's agent.", "/status/nodeInfo/kubeletVersion"),
        text("Internal-IP", "Address within the cluster.", |node| address(node, "InternalIP")).wide(),
        text("External-IP", "Address from outside.", |node| address(node, "ExternalIP")).wide(),
        field_or("OS-Image", "Operating system.", "/status/nodeInfo/osImage", "<unknown>").wide(),
        field_or("Kernel-Version", "Version of the kernel.", "/status/nodeInfo/kernelVersion", "<unknown>").wide(),
        field_or(
            "Container-Runtime",
            "What runs the containers.",
            "/status/nodeInfo/containerRuntimeVersion",
            "<unknown>",
        )
        .wide(),
    ]
}

fn roles(node: &Value) -> String {
    let labels = node.path(&["metadata", "labels"]).and_then(Value::as_object).into_iter().flatten();
    let roles = labels.filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role).filter(|role| !role.is_empty()),
        None if key == "kubernetes.io/role" => value.as_str(),
        None => None,
    });
    let mut roles: Vec<_> = roles.collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { NONE.to_owned() } else { roles.join(",") }
}

fn address(node: &Value, kind: &str) -> String {
    let addresses = node.at("status").map_or(&[][..], |status| status.items("addresses"));
    let found = addresses.iter().find(|address| address.text("type") == Some(kind));
    found.and_then(|address| address.text("address")).unwrap_or(NONE).to_owned()
}

pub(crate) fn lease() -> Vec<Column> {
    vec![name(), field("Holder", "Who holds the lease.", "/spec/holderIdentity"), age()]
}

pub(crate) fn priority_class() -> Vec<Column> {
    vec![
        name(),
        super::integer("Value", "The priority.", "/value"),
        column("Global-Default", ColumnType::Boolean, "Whether pods without a class have this one.", |object, _| {
            object.flag("globalDefault").into()
        }),
        age(),
        field_or(
            "PreemptionPolicy",
            "Whether pods of lower priority make room.",
            "/preemptionPolicy",
            "PreemptLowerPriority",
        ),
    ]
}

pub(crate) fn runtime_class() -> Vec<Column> {
    vec![name(), field("Handler", "Configuration of the runtime.", "/handler"), age()]
}

pub(crate) fn signing_request() -> Vec<Column> {
    vec![
        name(),
        age(),
        field("SignerName", "Who shall sign.", "/spec/signerName"),
        field("Requestor", "Who asks.", "/spec/username"),
        text("RequestedDuration", "How long the certificate shall be valid.", |request: &Value| {
            let seconds = request.path(&["spec", "expirationSeconds"]).and_then(Value::as_i64);
            seconds.map_or_else(|| NONE.to_owned(), human_duration)
        }),
        text("Condition", "State of the request.", |request: &Value| {
            let (approved, denied) = (condition(request, "Approved").is_some(), condition(request, "Denied").is_some());
            let mut state = vec![if denied {
                "Denied"
            } else if approved {
                "Approved"
            } else {
                "Pending"
            }];
            if condition(request, "Failed").is_some() {
                state.push("Failed");
            }
            if request.at("status").is_some_and(|status| status.filled("certificate").is_some()) {
                state.push("Issued");
            }
            state.join(",")
        }),
    ]
}

pub(crate) fn api_service() -> Vec<Column> {
    vec![
        name(),
        text("Service", "Who serves the group.", |object: &Value| match object.path(&["spec", "service"]) {
            None => "Local".to_owned(),
            Some(service) => {
                format!(
                    "{}/{}",
                    service.text("namespace").unwrap_or_default(),
                    service.text("name").unwrap_or_default()
                )
            }
        }),
        text("Available", "Whether the group can be reached.", |object: &Value| {
            let Some(available) = condition(object, "Available") else { return "Unknown".to_owned() };
            match (available.text("status"), available.filled("reason")) {
                (Some("True"), _) => "True".to_owned(),
                (status, Some(reason)) => format!("{} ({reason})", status.unwrap_or("Unknown")),
                (status, None) => status.unwrap_or("Unknown").to_owned(),
            }
        }),
        age(),
    ]
}
