//! Builds pictures of a pod for the tests of plan and status.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use lotse_runtime::{ContainerState, ContainerStatus, PodSpec, QosClass, Resources};
use serde_json::{Value, json};

use super::observed::{Health, ImageState, Memory, Observed, Prepared};
use crate::containers::{self, hash};

/// Seconds of the fake clock at which every scenario takes place.
pub(crate) const NOW: i64 = 1_000_000;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW + second).unwrap()
}

pub(crate) struct Scenario {
    pub(crate) pod: Pod,
    pub(crate) previous: PodStatus,
    pub(crate) sandbox: Option<lotse_runtime::PodStatus>,
    pub(crate) memory: Memory,
}

impl Scenario {
    pub(crate) fn new(spec: Value) -> Self {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
        Self {
            pod: serde_json::from_value(pod).unwrap(),
            previous: PodStatus::default(),
            sandbox: None,
            memory: Memory::default(),
        }
    }

    pub(crate) fn previous(mut self, status: Value) -> Self {
        self.previous = serde_json::from_value(status).unwrap();
        self
    }

    /// Sandbox, network and volumes are there, and every image.
    pub(crate) fn prepared(mut self) -> Self {
        let spec = PodSpec {
            uid: "u".into(),
            namespace: "n".into(),
            name: "p".into(),
            hostname: "p".into(),
            network_namespace: None,
            host_pid: false,
            host_ipc: false,
            share_process_namespace: false,
            sysctls: BTreeMap::new(),
            qos: QosClass::BestEffort,
            resources: Resources::default(),
        };
        self.sandbox = Some(lotse_runtime::PodStatus { spec, alive: true, shim_pid: None, containers: vec![] });
        let volumes = BTreeMap::new();
        self.memory.prepared =
            Some(Prepared { pod_ip: Some("10.42.0.7".into()), volumes, fingerprint: 1, renew_at: None });
        let names: Vec<String> = containers::with_roles(self.pod.spec.as_ref().unwrap())
            .iter()
            .map(|(_, container)| container.name.clone())
            .collect();
        for name in names {
            self.memory.images.insert(name, ImageState::Ready("sha256:i".into()));
        }
        self
    }

    fn instance(mut self, name: &str, attempt: u32, state: ContainerState) -> Self {
        let spec = self.pod.spec.as_ref().unwrap();
        let label = hash::of(&containers::find(spec, name).unwrap().1);
        self.sandbox.as_mut().unwrap().containers.push(ContainerStatus {
            id: format!("{name}-{attempt}"),
            name: name.into(),
            attempt,
            image: "sha256:i".into(),
            labels: BTreeMap::from([(hash::LABEL.into(), label)]),
            log_path: "/l".into(),
            state,
        });
        self
    }

    /// Runs since 100 s; healthy.
    pub(crate) fn running(self, name: &str, attempt: u32) -> Self {
        let mut result = self.instance(name, attempt, ContainerState::Running { pid: 1, started: at(-100) });
        let health = Health { started: true, ready: true, failed: None, grace: None };
        result.memory.health.insert(format!("{name}-{attempt}"), health);
        result
    }

    /// Ended `ago` seconds ago after one second.
    pub(crate) fn exited(self, name: &str, attempt: u32, code: i32, ago: i64) -> Self {
        let (started, finished) = (at(-ago - 1), at(-ago));
        self.instance(
            name,
            attempt,
            ContainerState::Exited { code, signal: None, out_of_memory: false, started, finished },
        )
    }

    pub(crate) fn health(mut self, id: &str, change: impl Fn(&mut Health)) -> Self {
        change(self.memory.health.get_mut(id).unwrap());
        self
    }

    pub(crate) fn with(mut self, change: impl Fn(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn observe<T>(&self, view: impl Fn(&Observed<'_>) -> T) -> T {
        let spec = self.pod.spec.as_ref().unwrap();
        let containers = containers::with_roles(spec);
        view(&Observed {
            pod: &self.pod,
            spec,
            containers: &containers,
            previous: &self.previous,
            sandbox: self.sandbox.as_ref(),
            memory: &self.memory,
            fingerprint: 1,
            digests: &BTreeMap::new(),
            host_ip: "10.42.0.1",
            now: at(0),
        })
    }
}

pub(crate) fn app(restart_policy: &str) -> Value {
    json!({"restartPolicy": restart_policy, "containers": [{"name": "a", "image": "i:1"}]})
}

pub(crate) fn with_init(restart_policy: &str) -> Value {
    json!({"restartPolicy": restart_policy, "containers": [{"name": "a", "image": "i:1"}], "initContainers": [
        {"name": "i", "image": "i:1"}, {"name": "s", "image": "i:1", "restartPolicy": "Always"}, {"name": "j", "image": "i:1"}]})
}
