//! `fieldRef` and `resourceFieldRef`: values of the pod itself, for environment variables and downward API files.

use std::{collections::BTreeMap, fmt::Write};

use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceFieldSelector},
    apimachinery::pkg::api::resource::Quantity,
};

use super::{all_containers, resources};
use crate::error::{Error, Result};

/// Addresses that are known before `status` is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) pod_ip: Option<String>,
    pub(crate) host_ip: String,
}

/// What a limit falls back to when the container has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) cpu_millis: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) storage_bytes: i64,
}

/// The value of `path`, or `None` for a path that does not exist.
pub(crate) fn field(pod: &Pod, addresses: &Addresses, path: &str) -> Option<String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref()?;
    let subscript = |map: &Option<BTreeMap<String, String>>, rest: &str| {
        let key = rest.strip_prefix("['")?.strip_suffix("']")?;
        Some(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
    };
    if let Some(rest) = path.strip_prefix("metadata.labels[") {
        return subscript(&meta.labels, &format!("[{rest}"));
    }
    if let Some(rest) = path.strip_prefix("metadata.annotations[") {
        return subscript(&meta.annotations, &format!("[{rest}"));
    }
    let text = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(format_map(&meta.labels)),
        "metadata.annotations" => Some(format_map(&meta.annotations)),
        "spec.nodeName" => spec.node_name.clone(),
        "spec.serviceAccountName" => spec.service_account_name.clone(),
        "status.hostIP" | "status.hostIPs" => Some(addresses.host_ip.clone()),
        "status.podIP" | "status.podIPs" => addresses.pod_ip.clone(),
        _ => return None,
    };
    Some(text.unwrap_or_default())
}

/// One `key="value"` line per entry with the value quoted, the format of downward API files.
fn format_map(map: &Option<BTreeMap<String, String>>) -> String {
    let mut text = String::new();
    for (key, value) in map.iter().flatten() {
        let _ = writeln!(text, "{key}={}", serde_json::Value::from(value.as_str()));
    }
    text.truncate(text.trim_end_matches('\n').len());
    text
}

/// The value of a container's request or limit divided by the divisor, rounded up.
pub(crate) fn resource(
    pod: &Pod,
    container: &Container,
    selector: &ResourceFieldSelector,
    capacity: Capacity,
) -> Result<String> {
    let spec = pod.spec.as_ref();
    let container = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
        None => container,
        Some(name) => spec
            .and_then(|spec| all_containers(spec).find(|container| container.name == name))
            .ok_or_else(|| Error::config(format!("resourceFieldRef.containerName: container {name} not found")))?,
    };
    let unknown = || {
        let resource = &selector.resource;
        Error::config(format!("resourceFieldRef.resource: {resource} is not supported, use e.g. limits.cpu"))
    };
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let requirements = container.resources.as_ref();
    let quantity = match kind {
        "limits" => resources::limit(requirements, name),
        "requests" => resources::request(requirements, name),
        _ => return Err(unknown()),
    };
    let own = quantity.and_then(resources::millis).filter(|value| *value > 0).map(i128::from);
    let thousandths = |value: i64| i128::from(value) * 1000;
    let value = match (own, kind, name) {
        (Some(value), ..) => value,
        (None, "limits", "cpu") => i128::from(capacity.cpu_millis),
        (None, "limits", "memory") => thousandths(capacity.memory_bytes),
        (None, "limits", "ephemeral-storage") => thousandths(capacity.storage_bytes),
        _ => 0,
    };
    let one = Quantity("1".into());
    let divisor = selector.divisor.as_ref().unwrap_or(&one);
    let divisor = i128::from(resources::millis(divisor).filter(|value| *value > 0).unwrap_or(1000));
    Ok((value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0)).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "app.kubernetes.io/name": "x\"y"}},
            "spec": {"nodeName": "node", "serviceAccountName": "default", "containers": [
                {"name": "a", "resources": {"limits": {"cpu": "1500m", "memory": "100Mi"}}}, {"name": "b"}]}
        }))
        .unwrap()
    }

    #[test]
    fn fields_of_the_pod_are_readable() {
        let addresses = Addresses { pod_ip: Some("10.0.0.2".into()), host_ip: "10.0.0.1".into() };
        for (path, expected) in [
            ("metadata.name", Some("p")),
            ("metadata.labels['b']", Some("2")),
            ("metadata.labels['missing']", Some("")),
            ("metadata.labels", Some("app.kubernetes.io/name=\"x\\\"y\"\nb=\"2\"")),
            ("status.podIP", Some("10.0.0.2")),
            ("status.hostIP", Some("10.0.0.1")),
            ("spec.nodeName", Some("node")),
            ("spec.hostNetwork", None),
        ] {
            assert_eq!(field(&pod(), &addresses, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let (pod, capacity) = (pod(), Capacity { cpu_millis: 4000, memory_bytes: 1 << 30, storage_bytes: 0 });
        let containers = &pod.spec.as_ref().unwrap().containers;
        let value = |container: usize, resource_name: &str, divisor: Option<&str>| {
            let selector = ResourceFieldSelector {
                container_name: None,
                divisor: divisor.map(|text| Quantity(text.into())),
                resource: resource_name.into(),
            };
            resource(&pod, &containers[container], &selector, capacity).map_err(|error| error.to_string())
        };
        assert_eq!(value(0, "limits.cpu", None).unwrap(), "2");
        assert_eq!(value(0, "limits.cpu", Some("1m")).unwrap(), "1500");
        assert_eq!(value(0, "limits.memory", Some("1Mi")).unwrap(), "100");
        assert_eq!(value(1, "limits.cpu", None).unwrap(), "4");
        assert_eq!(value(1, "requests.cpu", None).unwrap(), "0");
        assert!(value(1, "cpu", None).is_err());
    }
}
