//! A container's environment: service links, `envFrom`, `env`.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, Service};

use super::{
    expansion::expand,
    fields::{self, Addresses, Capacity},
};
use crate::{
    error::{Error, Result},
    sources::Sources,
};

/// Variables in definition order; a later definition replaces an earlier one in place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    variables: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

// === impl Environment ===

impl Environment {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.index.get(name).and_then(|at| self.variables.get(*at)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn into_vec(self) -> Vec<(String, String)> {
        self.variables
    }

    fn set(&mut self, name: String, value: String) {
        match self.index.get(&name).and_then(|at| self.variables.get_mut(*at)) {
            Some(slot) => slot.1 = value,
            None => {
                self.index.insert(name.clone(), self.variables.len());
                self.variables.push((name, value));
            }
        }
    }
}

/// The complete environment of `container`. What is missing and not optional is an error in Kubernetes' words, which
/// becomes the message of `CreateContainerConfigError`.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    sources: &dyn Sources,
    addresses: &Addresses,
    capacity: Capacity,
) -> Result<Environment> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut result = Environment::default();
    for (name, value) in service_variables(namespace, links, sources) {
        result.set(name, value);
    }
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match sources.config_map(namespace, &reference.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        set_named(&mut result, prefix, key, value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(Error::config(format!("configmap \"{}\" not found", reference.name))),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match sources.secret(namespace, &reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        let value = utf8(&value.0, "Secret", namespace, &reference.name, key)?;
                        set_named(&mut result, prefix, key, value);
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(Error::config(format!("secret \"{}\" not found", reference.name))),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(from)) => value_from(pod, container, from, sources, addresses, capacity)?,
            (value, None) => Some(expand(value.as_deref().unwrap_or_default(), |name| result.get(name))),
        };
        if let Some(value) = value {
            result.set(variable.name.clone(), value);
        }
    }
    Ok(result)
}

/// A name that the C library could not represent is skipped, as the kubelet does.
fn set_named(result: &mut Environment, prefix: &str, key: &str, value: String) {
    let name = format!("{prefix}{key}");
    if !name.is_empty() && !name.contains(['=', '\0']) {
        result.set(name, value);
    }
}

fn value_from(
    pod: &Pod,
    container: &Container,
    from: &EnvVarSource,
    sources: &dyn Sources,
    addresses: &Addresses,
    capacity: Capacity,
) -> Result<Option<String>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(field) = &from.field_ref {
        let path = &field.field_path;
        let value = fields::field(pod, addresses, path)
            .ok_or_else(|| Error::config(format!("fieldRef.fieldPath: {path} is not supported")))?;
        return Ok(Some(value));
    }
    if let Some(selector) = &from.resource_field_ref {
        return fields::resource(pod, container, selector, capacity).map(Some);
    }
    if let Some(reference) = &from.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let Some(map) = sources.config_map(namespace, &reference.name) else {
            return if optional {
                Ok(None)
            } else {
                Err(Error::config(format!("configmap \"{}\" not found", reference.name)))
            };
        };
        return match map.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(missing_key("ConfigMap", namespace, &reference.name, &reference.key)),
        };
    }
    if let Some(reference) = &from.secret_key_ref {
        let optional = reference.optional == Some(true);
        let Some(secret) = sources.secret(namespace, &reference.name) else {
            return if optional {
                Ok(None)
            } else {
                Err(Error::config(format!("secret \"{}\" not found", reference.name)))
            };
        };
        return match secret.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => utf8(&value.0, "Secret", namespace, &reference.name, &reference.key).map(Some),
            None if optional => Ok(None),
            None => Err(missing_key("Secret", namespace, &reference.name, &reference.key)),
        };
    }
    Err(Error::config("env.valueFrom: fileKeyRef and unknown sources are not supported by this node"))
}

fn missing_key(kind: &str, namespace: &str, name: &str, key: &str) -> Error {
    Error::config(format!("couldn't find key {key} in {kind} {namespace}/{name}"))
}

/// The environment holds text; a NUL would cut the value silently and anything that is not UTF-8 could not be shown.
fn utf8(bytes: &[u8], kind: &str, namespace: &str, name: &str, key: &str) -> Result<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(Error::config(format!(
            "key {key} in {kind} {namespace}/{name} is not text and cannot be an environment variable, mount it as a volume"
        ))),
    }
}

/// Variables of the pod's services, and always those of `default/kubernetes`.
fn service_variables(namespace: &str, links: bool, sources: &dyn Sources) -> Vec<(String, String)> {
    let mut services: Vec<Arc<Service>> = Vec::new();
    if links {
        services = sources.services(namespace);
    }
    if !(links && namespace == "default") {
        let kubernetes = |service: &Arc<Service>| service.metadata.name.as_deref() == Some("kubernetes");
        services.retain(|service| !kubernetes(service));
        services.extend(sources.services("default").into_iter().filter(kubernetes));
    }
    services.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    services.iter().flat_map(|service| of_service(service)).collect()
}

fn of_service(service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return Vec::new() };
    let upper = |text: &str| text.to_ascii_uppercase().replace('-', "_");
    let prefix = upper(service.metadata.name.as_deref().unwrap_or_default());
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return Vec::new() };
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".into());
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let mut result = vec![
        (format!("{prefix}_SERVICE_HOST"), ip.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            result.push((format!("{prefix}_SERVICE_PORT_{}", upper(name)), port.port.to_string()));
        }
    }
    let url = |protocol: &str, port: i32| format!("{}://{host}:{port}", protocol.to_ascii_lowercase());
    result.push((format!("{prefix}_PORT"), url(&protocol(&first.protocol), first.port)));
    for port in ports {
        let protocol = protocol(&port.protocol);
        let stem = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_ascii_uppercase());
        result.push((stem.clone(), url(&protocol, port.port)));
        result.push((format!("{stem}_PROTO"), protocol.to_ascii_lowercase()));
        result.push((format!("{stem}_PORT"), port.port.to_string()));
        result.push((format!("{stem}_ADDR"), ip.to_owned()));
    }
    result
}

#[cfg(test)]
#[path = "env_tests.rs"]
mod tests;
