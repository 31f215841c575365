//! What the planner and the status know: the object, the runtime's view, and what this process remembers.
//!
//! The memory holds only what may be lost: back-off, probe results, the reason why a start failed. All of it is found
//! out again after a restart of the daemon.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus as ApiContainerStatus, Pod, PodSpec, PodStatus};
use lotse_runtime::{ContainerId, ContainerState, ContainerStatus};

use super::backoff::{Backoff, between};
use crate::{containers::Role, volumes::Mounted};

/// Prefix of container ids in the API.
pub(crate) const ID_PREFIX: &str = "lotse://";

/// Where the image of a container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageState {
    /// A pull is under way.
    Pulling,
    /// In the store, under this id.
    Ready(String),
    /// Not to be had.
    Failed {
        /// `ErrImagePull`, `ErrImageNeverPull` or `InvalidImageName`.
        reason: &'static str,
        message: String,
        at: Timestamp,
        until: Timestamp,
    },
}

/// Why a container or the sandbox could not be started, and when that is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// e.g. `CreateContainerConfigError`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) until: Timestamp,
    /// State of the objects that the pod refers to; when they change it is tried at once.
    pub(crate) fingerprint: u64,
}

/// What the probes and hooks of one container instance say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// The postStart hook is done and the startup probe has succeeded (or there is none).
    pub(crate) started: bool,
    /// The readiness probe succeeds (or there is none).
    pub(crate) ready: bool,
    /// The liveness or startup probe or the postStart hook has failed for good; the sentence is for the event.
    pub(crate) failed: Option<String>,
    /// From the failed probe's `terminationGracePeriodSeconds`.
    pub(crate) grace: Option<Duration>,
}

/// Network and volumes are in place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prepared {
    pub(crate) pod_ip: Option<String>,
    pub(crate) volumes: BTreeMap<String, Mounted>,
    /// State of the referenced objects when the volumes were written.
    pub(crate) fingerprint: u64,
    /// When tokens need to be renewed.
    pub(crate) renew_at: Option<Timestamp>,
}

/// The decision to end a pod that is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// `status.reason`, e.g. `DeadlineExceeded`.
    pub(crate) reason: String,
    /// `status.message`.
    pub(crate) message: String,
}

/// What this process remembers of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) images: BTreeMap<String, ImageState>,
    pub(crate) pull_backoff: BTreeMap<String, Backoff>,
    pub(crate) failures: BTreeMap<String, Failure>,
    pub(crate) failure_backoff: BTreeMap<String, Backoff>,
    pub(crate) restart_backoff: BTreeMap<String, Backoff>,
    pub(crate) health: HashMap<ContainerId, Health>,
    pub(crate) stopping: HashSet<ContainerId>,
    /// Termination messages.
    pub(crate) last_words: HashMap<ContainerId, String>,
    pub(crate) prepared: Option<Prepared>,
    pub(crate) prepare_failure: Option<Failure>,
    pub(crate) prepare_backoff: Backoff,
    pub(crate) verdict: Option<Verdict>,
    /// Stopping the containers failed or took too long; the sandbox is removed with whatever runs in it.
    pub(crate) force: bool,
    /// Everything is given back and the removal of the object was asked for; finalizers may still hold it.
    pub(crate) finished: bool,
}

/// One consistent picture of a pod.
pub(crate) struct Observed<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) spec: &'a PodSpec,
    /// Every container with its role, in starting order.
    pub(crate) containers: &'a [(Role, std::borrow::Cow<'a, Container>)],
    /// The newest status that is known to be written.
    pub(crate) previous: &'a PodStatus,
    pub(crate) sandbox: Option<&'a lotse_runtime::PodStatus>,
    pub(crate) memory: &'a Memory,
    /// State of the referenced ConfigMaps, Secrets and claims.
    pub(crate) fingerprint: u64,
    /// Digest references by image id.
    pub(crate) digests: &'a BTreeMap<String, String>,
    pub(crate) host_ip: &'a str,
    pub(crate) now: Timestamp,
}

/// The newest that is known of a container.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Instance<'a> {
    /// It never ran.
    None,
    Running(&'a ContainerStatus),
    Exited(&'a ContainerStatus),
    /// It ran according to the API, but the runtime no longer knows it: the machine was rebooted.
    Past(&'a ApiContainerStatus),
}

// === impl Instance ===

impl Instance<'_> {
    /// The exit code of something that is over; a container that got lost counts as killed.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        match self {
            Instance::None | Instance::Running(_) => None,
            Instance::Exited(status) => match status.state {
                ContainerState::Exited { code, .. } => Some(code),
                ContainerState::Running { .. } => None,
            },
            Instance::Past(status) => {
                let terminated = status.state.as_ref().and_then(|state| state.terminated.as_ref());
                Some(terminated.map_or(137, |terminated| terminated.exit_code))
            }
        }
    }

    /// When it ended and how long it had run.
    pub(crate) fn finished(&self) -> Option<(Timestamp, Duration)> {
        match self {
            Instance::Exited(ContainerStatus { state: ContainerState::Exited { started, finished, .. }, .. }) => {
                Some((*finished, between(*started, *finished)))
            }
            _ => None,
        }
    }
}

// === impl Observed ===

impl<'a> Observed<'a> {
    /// Instances of `name` that the runtime knows, oldest first.
    pub(crate) fn instances(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a ContainerStatus> {
        let all = self.sandbox.map(|sandbox| sandbox.containers.as_slice()).unwrap_or_default();
        let mut own: Vec<_> = all.iter().filter(|container| container.name == name).collect();
        own.sort_by_key(|container| container.attempt);
        own.into_iter()
    }

    pub(crate) fn instance(&self, name: &str) -> Instance<'a> {
        match self.instances(name).next_back() {
            Some(status) if matches!(status.state, ContainerState::Running { .. }) => {
                if self.sandbox.is_some_and(|sandbox| sandbox.alive) {
                    Instance::Running(status)
                } else {
                    // The shim died before it could write how the container ended.
                    self.past(name).map_or(Instance::None, Instance::Past)
                }
            }
            Some(status) => Instance::Exited(status),
            None => self.past(name).map_or(Instance::None, Instance::Past),
        }
    }

    /// The API's status of a container that has run.
    fn past(&self, name: &str) -> Option<&'a ApiContainerStatus> {
        self.previous_status(name).filter(|status| {
            status.container_id.is_some() || status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
        })
    }

    pub(crate) fn previous_status(&self, name: &str) -> Option<&'a ApiContainerStatus> {
        let previous = self.previous;
        let lists =
            [&previous.container_statuses, &previous.init_container_statuses, &previous.ephemeral_container_statuses];
        lists.into_iter().flat_map(|list| list.iter().flatten()).find(|status| status.name == name)
    }

    /// Restart count of the next instance.
    pub(crate) fn next_attempt(&self, name: &str) -> u32 {
        if let Some(last) = self.instances(name).next_back() {
            return last.attempt.saturating_add(1);
        }
        self.past(name).map_or(0, |status| u32::try_from(status.restart_count).unwrap_or(0).saturating_add(1))
    }

    pub(crate) fn restart_policy(&self) -> &str {
        self.spec.restart_policy.as_deref().unwrap_or("Always")
    }

    /// Whether the container is to be started (again) once nothing delays it.
    pub(crate) fn wants_to_run(&self, role: Role, container: &Container) -> bool {
        let instance = self.instance(&container.name);
        if matches!(instance, Instance::Running(_)) {
            return false;
        }
        let policy = self.restart_policy();
        match (role, instance.exit_code()) {
            (Role::Ephemeral, code) => code.is_none(),
            (Role::Sidecar, _) | (_, None) => true,
            // Init containers run again in a new sandbox, whatever came of them in the old one.
            (Role::Init, Some(_)) if matches!(instance, Instance::Past(_)) => true,
            (Role::Init, Some(code)) => code != 0 && policy != "Never",
            (Role::App, Some(code)) => match policy {
                "Always" => true,
                "OnFailure" => code != 0,
                _ => false,
            },
        }
    }

    pub(crate) fn of_role(&self, role: Role) -> impl Iterator<Item = &'a Container> {
        let containers = self.containers;
        containers.iter().filter(move |(own, _)| *own == role).map(|(_, container)| container.as_ref())
    }

    /// Every app container has ended and none will run again.
    pub(crate) fn apps_are_done(&self) -> bool {
        self.of_role(Role::App)
            .all(|app| !self.wants_to_run(Role::App, app) && !matches!(self.instance(&app.name), Instance::Running(_)))
    }

    /// An init container has failed in a pod that does not repeat it.
    pub(crate) fn init_has_failed(&self) -> bool {
        self.restart_policy() == "Never"
            && self.of_role(Role::Init).any(|init| {
                let instance = self.instance(&init.name);
                matches!(instance, Instance::Exited(_)) && instance.exit_code() != Some(0)
            })
    }

    /// Whether any app container has been started in the present sandbox; its init containers are done then, even if
    /// their instances were removed.
    pub(crate) fn apps_have_started(&self) -> bool {
        self.of_role(Role::App).any(|app| self.instances(&app.name).next().is_some())
    }

    pub(crate) fn any_running(&self) -> bool {
        self.sandbox.is_some_and(|sandbox| {
            sandbox.alive && sandbox.containers.iter().any(|one| matches!(one.state, ContainerState::Running { .. }))
        })
    }

    pub(crate) fn terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    pub(crate) fn health(&self, id: &str) -> Option<&'a Health> {
        self.memory.health.get(id)
    }

    /// The failure that still delays the container, if any.
    pub(crate) fn failure(&self, name: &str) -> Option<&'a Failure> {
        self.memory.failures.get(name).filter(|failure| self.holds(failure))
    }

    pub(crate) fn holds(&self, failure: &Failure) -> bool {
        failure.until > self.now && failure.fingerprint == self.fingerprint
    }

    /// When a container that has ended may be started again, and the delay that leads there.
    pub(crate) fn restart_at(&self, name: &str) -> Option<(Timestamp, Duration)> {
        let (finished, ran_for) = self.instance(name).finished()?;
        let delay = self.memory.restart_backoff.get(name).copied().unwrap_or_default().delay(ran_for);
        Some((super::backoff::after(finished, delay), delay))
    }
}
