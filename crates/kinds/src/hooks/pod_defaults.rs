//! Defaults of pods and pod templates (`k8s.io/kubernetes/pkg/apis/core/v1/defaults.go`).

use serde_json::{Value, json};

use super::CONTAINER_LISTS;
use crate::json::{Edit, View, empty};

/// 0644, as the API shows modes.
const FILE_MODE: i64 = 0o644;

/// What a pod gets and a template does not.
pub(crate) fn default_pod(pod: &mut Value) {
    let Some(spec) = pod.at_mut("spec") else { return };
    spec.set_default("enableServiceLinks", true);
    default_spec(spec);
    for list in CONTAINER_LISTS {
        spec.items_mut(list).filter_map(|container| container.at_mut("resources")).for_each(request_limits);
    }
}

/// A template of pods within a workload.
pub(crate) fn default_template(template: &mut Value) {
    if let Some(spec) = template.at_mut("spec") {
        default_spec(spec);
    }
}

fn default_spec(spec: &mut Value) {
    spec.set_default("restartPolicy", "Always");
    spec.set_default("dnsPolicy", "ClusterFirst");
    spec.set_default("schedulerName", "default-scheduler");
    spec.set_default("terminationGracePeriodSeconds", 30);
    spec.object_mut("securityContext");
    mirror_service_account(spec);

    let host_network = spec.flag("hostNetwork");
    for list in CONTAINER_LISTS {
        for container in spec.items_mut(list) {
            default_container(container);
            if host_network {
                container.items_mut("ports").for_each(default_host_port);
            }
        }
    }
    spec.items_mut("volumes").for_each(default_volume);
    for constraint in spec.items_mut("topologySpreadConstraints") {
        constraint.set_default_nonzero("maxSkew", 1);
    }
    if let Some(overhead) = spec.at_mut("overhead") {
        quantities(overhead);
    }
    if let Some(resources) = spec.at_mut("resources") {
        default_resources(resources);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are always shown.
fn mirror_service_account(spec: &mut Value) {
    let name = spec.filled("serviceAccountName").or_else(|| spec.filled("serviceAccount")).map(str::to_owned);
    if let Some(name) = name {
        spec.set("serviceAccount", name.clone());
        spec.set("serviceAccountName", name);
    }
}

fn default_container(container: &mut Value) {
    if let Some(image) = container.text("image") {
        let policy = default_pull_policy(image);
        container.set_default("imagePullPolicy", policy);
    } else {
        container.set_default("imagePullPolicy", "Always");
    }
    container.set_default("terminationMessagePath", "/dev/termination-log");
    container.set_default("terminationMessagePolicy", "File");
    if let Some(resources) = container.object_mut("resources") {
        default_resources(resources);
    }
    for port in container.items_mut("ports") {
        port.set_default("protocol", "TCP");
    }
    for variable in container.items_mut("env") {
        if let Some(field) = variable.path_mut(&["valueFrom", "fieldRef"]) {
            field.set_default("apiVersion", "v1");
        }
        if let Some(file) = variable.path_mut(&["valueFrom", "fileKeyRef"]) {
            file.set_default("optional", false);
        }
        if let Some(resource) = variable.path_mut(&["valueFrom", "resourceFieldRef"]) {
            resource.set_default("divisor", "0");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.at_mut(probe) {
            default_probe(probe);
        }
    }
    for moment in ["postStart", "preStop"] {
        if let Some(get) = container.path_mut(&["lifecycle", moment, "httpGet"]) {
            default_http_get(get);
        }
    }
}

/// Without a tag the image is `latest`, and `latest` may be another image tomorrow; a digest never is.
pub(crate) fn default_pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    // A colon before the last slash belongs to the registry's port.
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
        None if digest => "IfNotPresent",
        None => "Always",
    }
}

fn default_host_port(port: &mut Value) {
    if let Some(container_port) = port.int("containerPort") {
        port.set_default_nonzero("hostPort", container_port);
    }
}

fn default_probe(probe: &mut Value) {
    probe.set_default_nonzero("timeoutSeconds", 1);
    probe.set_default_nonzero("periodSeconds", 10);
    probe.set_default_nonzero("successThreshold", 1);
    probe.set_default_nonzero("failureThreshold", 3);
    if let Some(get) = probe.at_mut("httpGet") {
        default_http_get(get);
    }
    if let Some(grpc) = probe.at_mut("grpc")
        && grpc.at("service").is_none()
    {
        grpc.set("service", "");
    }
}

fn default_http_get(get: &mut Value) {
    get.set_default("path", "/");
    get.set_default("scheme", "HTTP");
}

fn default_volume(volume: &mut Value) {
    let has_source =
        volume.as_object().is_some_and(|volume| volume.iter().any(|(key, value)| key != "name" && !value.is_null()));
    if !has_source {
        volume.set("emptyDir", empty());
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.at_mut(source) {
            source.set_default("defaultMode", FILE_MODE);
        }
    }
    if let Some(downward) = volume.at_mut("downwardAPI") {
        downward.items_mut("items").for_each(default_downward_item);
    }
    if let Some(projected) = volume.at_mut("projected") {
        for source in projected.items_mut("sources") {
            if let Some(token) = source.at_mut("serviceAccountToken") {
                token.set_default("expirationSeconds", 3600);
            }
            if let Some(downward) = source.at_mut("downwardAPI") {
                downward.items_mut("items").for_each(default_downward_item);
            }
        }
    }
    if let Some(host_path) = volume.at_mut("hostPath")
        && host_path.at("type").is_none()
    {
        host_path.set("type", "");
    }
    if let Some(empty_dir) = volume.at_mut("emptyDir") {
        quantity(empty_dir, "sizeLimit");
    }
    if let Some(template) = volume.path_mut(&["ephemeral", "volumeClaimTemplate", "spec"]) {
        super::claim::default_spec(template);
    }
    if let Some(image) = volume.at_mut("image") {
        let policy = default_pull_policy(image.text("reference").unwrap_or_default());
        image.set_default("pullPolicy", policy);
    }
    if let Some(iscsi) = volume.at_mut("iscsi") {
        iscsi.set_default("iscsiInterface", "default");
    }
}

fn default_downward_item(item: &mut Value) {
    if let Some(field) = item.at_mut("fieldRef") {
        field.set_default("apiVersion", "v1");
    }
    if let Some(resource) = item.at_mut("resourceFieldRef") {
        resource.set_default("divisor", "0");
    }
}

/// `limits` and `requests` as text.
pub(crate) fn default_resources(resources: &mut Value) {
    for list in ["limits", "requests"] {
        if let Some(list) = resources.at_mut(list) {
            quantities(list);
        }
    }
}

/// Whoever limits a resource and requests nothing requests the limit.
fn request_limits(resources: &mut Value) {
    let Some(limits) = resources.at("limits").and_then(Value::as_object).cloned() else { return };
    if let Some(requests) = resources.object_mut("requests") {
        for (resource, limit) in limits {
            requests.set_default(&resource, limit);
        }
    }
}

/// Quantities written as numbers become text, the only form in which the API returns them.
pub(crate) fn quantities(list: &mut Value) {
    for value in list.as_object_mut().into_iter().flat_map(|list| list.values_mut()) {
        if value.is_number() {
            *value = json!(value.to_string());
        }
    }
}

/// One quantity written as a number becomes text.
pub(crate) fn quantity(object: &mut Value, key: &str) {
    if let Some(text) = object.at(key).filter(|value| value.is_number()).map(Value::to_string) {
        object.set(key, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("localhost:30002/app", "Always"),
            ("localhost:30002/studenten/manifest-app:v1", "IfNotPresent"),
            ("nginx@sha256:aa", "IfNotPresent"),
            ("nginx:latest@sha256:aa", "Always"),
            ("", "Always"),
        ] {
            assert_eq!(default_pull_policy(image), policy, "{image}");
        }
    }
}
