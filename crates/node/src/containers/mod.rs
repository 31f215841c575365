//! From the pod spec to what the runtime starts: roles, environment, mounts, security, resources.

pub(crate) mod env;
pub(crate) mod expansion;
pub(crate) mod fields;
pub(crate) mod files;
pub(crate) mod hash;
pub(crate) mod resources;
pub(crate) mod security;

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use lotse_runtime::{ContainerSpec, Mount, MountSource, Propagation, QosClass};

use crate::{
    error::{Error, Result},
    volumes::Mounted,
};

/// Where a container writes its last words unless the pod says otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The part that a container plays in its pod's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to completion before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always` (KEP-753): started in order, then kept running.
    Sidecar,
    /// `spec.containers`.
    App,
    /// `spec.ephemeralContainers`: started once, never again.
    Ephemeral,
}

/// Whether an init container is a sidecar.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Init containers and app containers.
pub(crate) fn all_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// Every container with its role, in starting order. Ephemeral containers have the fields of ordinary ones.
pub(crate) fn with_roles(spec: &PodSpec) -> Vec<(Role, std::borrow::Cow<'_, Container>)> {
    use std::borrow::Cow;
    let init =
        spec.init_containers.iter().flatten().map(|container| {
            (if is_sidecar(container) { Role::Sidecar } else { Role::Init }, Cow::Borrowed(container))
        });
    let app = spec.containers.iter().map(|container| (Role::App, Cow::Borrowed(container)));
    let ephemeral = spec.ephemeral_containers.iter().flatten().filter_map(|container| {
        let value = serde_json::to_value(container).ok()?;
        Some((Role::Ephemeral, Cow::Owned(serde_json::from_value(value).ok()?)))
    });
    init.chain(app).chain(ephemeral).collect()
}

/// The container called `name`, of any role.
pub(crate) fn find<'a>(spec: &'a PodSpec, name: &str) -> Option<(Role, std::borrow::Cow<'a, Container>)> {
    with_roles(spec).into_iter().find(|(_, container)| container.name == name)
}

/// `imagePullPolicy`, with the API's default where it was not set.
pub(crate) fn pull_policy(container: &Container) -> &str {
    match container.image_pull_policy.as_deref() {
        Some(policy) if !policy.is_empty() => policy,
        _ => {
            let image = container.image.as_deref().unwrap_or_default();
            let name = image.rsplit('/').next().unwrap_or_default();
            let tag = name.split_once(':').map(|(_, tag)| tag);
            if !image.contains('@') && matches!(tag, None | Some("latest")) { "Always" } else { "IfNotPresent" }
        }
    }
}

/// Files of the pod that the node manages, on the host.
#[derive(Clone, Debug)]
pub(crate) struct PodFiles {
    pub(crate) hosts: PathBuf,
    pub(crate) hostname: PathBuf,
    pub(crate) resolv_conf: PathBuf,
}

/// All that one container instance is made of.
pub(crate) struct Inputs<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) attempt: u32,
    pub(crate) image: String,
    pub(crate) environment: env::Environment,
    pub(crate) volumes: &'a BTreeMap<String, Mounted>,
    pub(crate) files: &'a PodFiles,
    pub(crate) log_path: PathBuf,
    pub(crate) termination_log: PathBuf,
    pub(crate) class: QosClass,
    pub(crate) memory_capacity: u64,
}

/// The runtime's spec of one instance.
pub(crate) fn build(inputs: Inputs<'_>) -> Result<ContainerSpec> {
    let container = inputs.container;
    let spec = inputs.pod.spec.as_ref().ok_or_else(|| Error::config("the pod has no spec"))?;
    let security = security::merge(spec, container)?;
    let environment = &inputs.environment;
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| expansion::expand(word, |name| environment.get(name))).collect()
    };
    let (command, args) = (expanded(&container.command), expanded(&container.args));
    let mounts = mounts(&inputs)?;
    Ok(ContainerSpec {
        name: container.name.clone(),
        attempt: inputs.attempt,
        image: inputs.image,
        command,
        args,
        working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
        mounts,
        security,
        resources: resources::of_container(container, inputs.class, inputs.memory_capacity),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        stop_signal: container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone()),
        process_namespace_of: target_of(spec, &container.name),
        log_path: inputs.log_path,
        labels: BTreeMap::from([(hash::LABEL.to_owned(), hash::of(container))]),
        env: inputs.environment.into_vec(),
    })
}

/// The container whose processes the ephemeral container `name` wants to see.
fn target_of(spec: &PodSpec, name: &str) -> Option<String> {
    let container = spec.ephemeral_containers.iter().flatten().find(|container| container.name == name)?;
    container.target_container_name.clone().filter(|target| !target.is_empty())
}

/// Volume mounts, outer ones first, then the managed files wherever the pod has not mounted something of its own.
fn mounts(inputs: &Inputs<'_>) -> Result<Vec<Mount>> {
    let container = inputs.container;
    let mut result = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = inputs.volumes.get(&mount.name).ok_or_else(|| {
            let (name, container) = (&mount.name, &container.name);
            Error::config(format!("volumeMounts: volume {name} of container {container} is not defined in the pod"))
        })?;
        let sub_path = match (&mount.sub_path_expr, &mount.sub_path) {
            (Some(text), _) if !text.is_empty() => {
                let expanded = expansion::expand(text, |name| inputs.environment.get(name));
                if expanded.contains("$(") {
                    return Err(Error::config(format!("volumeMounts.subPathExpr: {text} names an unknown variable")));
                }
                Some(expanded)
            }
            (_, Some(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let sub_path = sub_path.map(PathBuf::from);
        if let Some(path) = &sub_path
            && !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            let path = path.display();
            return Err(Error::config(format!("volumeMounts.subPath: {path} must be relative and without ..")));
        }
        let propagation = match mount.mount_propagation.as_deref() {
            Some("Bidirectional") => Propagation::Bidirectional,
            Some("HostToContainer") => Propagation::HostToContainer,
            _ => Propagation::Private,
        };
        result.push(Mount {
            destination: absolute(&mount.mount_path),
            source: MountSource::Bind { path: volume.path.clone(), sub_path, propagation },
            read_only: volume.read_only || mount.read_only == Some(true),
        });
    }
    result.sort_by_key(|mount| mount.destination.components().count());
    let managed = [
        (Path::new("/etc/hosts"), &inputs.files.hosts, false),
        (Path::new("/etc/hostname"), &inputs.files.hostname, false),
        (Path::new("/etc/resolv.conf"), &inputs.files.resolv_conf, false),
        (termination_path(container), &inputs.termination_log, false),
    ];
    for (destination, path, read_only) in managed {
        if !result.iter().any(|mount: &Mount| mount.destination == destination) {
            result.push(Mount {
                destination: destination.to_owned(),
                source: MountSource::Bind { path: path.clone(), sub_path: None, propagation: Propagation::Private },
                read_only,
            });
        }
    }
    Ok(result)
}

/// `terminationMessagePath`.
fn termination_path(container: &Container) -> &Path {
    let own = container.termination_message_path.as_deref().filter(|path| path.starts_with('/'));
    Path::new(own.unwrap_or(TERMINATION_LOG))
}

fn absolute(path: &str) -> PathBuf {
    if path.starts_with('/') { PathBuf::from(path) } else { Path::new("/").join(path) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn build_with(container: serde_json::Value) -> Result<ContainerSpec> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [container]}}))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let addresses = fields::Addresses::default();
        let capacity = fields::Capacity { cpu_millis: 1, memory_bytes: 1, storage_bytes: 1 };
        let sources = crate::testing::FakeSources::default();
        let volume = |path: &str, read_only| Mounted { path: path.into(), read_only, renew: None };
        build(Inputs {
            environment: env::environment(&pod, container, &sources, &addresses, capacity)?,
            pod: &pod,
            container,
            attempt: 2,
            image: "sha256:1".into(),
            volumes: &BTreeMap::from([
                ("data".to_owned(), volume("/v/data", false)),
                ("secret".to_owned(), volume("/v/secret", true)),
            ]),
            files: &PodFiles { hosts: "/p/hosts".into(), hostname: "/p/hn".into(), resolv_conf: "/p/rc".into() },
            log_path: "/l/2.log".into(),
            termination_log: "/p/t".into(),
            class: QosClass::BestEffort,
            memory_capacity: 1,
        })
    }

    #[test]
    fn mounts_are_ordered_outer_first_and_managed_files_yield_to_the_pod() {
        let spec = build_with(json!({"name": "a", "command": ["run", "$(X)"], "env": [{"name": "X", "value": "y"}],
            "volumeMounts": [
                {"name": "secret", "mountPath": "/data/inner"},
                {"name": "data", "mountPath": "/data", "subPathExpr": "$(X)"},
                {"name": "data", "mountPath": "/etc/hosts", "subPath": "hosts", "readOnly": true}]}))
        .unwrap();
        assert_eq!(spec.command, ["run", "y"]);
        let destinations: Vec<_> = spec.mounts.iter().map(|mount| mount.destination.to_str().unwrap()).collect();
        assert_eq!(
            destinations,
            ["/data", "/data/inner", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"]
        );
        assert!(spec.mounts[1].read_only && spec.mounts[2].read_only && !spec.mounts[0].read_only);
        let MountSource::Bind { sub_path, .. } = &spec.mounts[0].source else { panic!("bind expected") };
        assert_eq!(sub_path.as_deref(), Some(Path::new("y")));
    }

    #[test]
    fn a_sub_path_never_leaves_its_volume() {
        for path in ["../x", "/etc", "a/../../b"] {
            let mount = json!({"name": "data", "mountPath": "/d", "subPath": path});
            assert!(build_with(json!({"name": "a", "volumeMounts": [mount]})).is_err(), "{path}");
        }
        let unknown = json!({"name": "nope", "mountPath": "/d"});
        assert!(build_with(json!({"name": "a", "volumeMounts": [unknown]})).is_err());
    }

    #[test]
    fn the_pull_policy_is_defaulted_by_tag() {
        for (image, expected) in [
            ("postgres", "Always"),
            ("postgres:latest", "Always"),
            ("localhost:30002/a/b", "Always"),
            ("localhost:30002/a/b:v1", "IfNotPresent"),
            ("a@sha256:00", "IfNotPresent"),
        ] {
            let container = Container { image: Some(image.into()), ..Container::default() };
            assert_eq!(pull_policy(&container), expected, "{image}");
        }
    }
}
