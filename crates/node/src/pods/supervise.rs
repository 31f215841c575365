//! Watches over running containers: postStart hook, probes, and the last words of those that ended.

use std::{net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod};
use lotse_runtime::{ContainerState, ContainerStatus, PodStatus};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{Entry, ID_PREFIX, Shared, hooks, observed::Health};
use crate::{
    containers, error,
    events::WARNING,
    logs,
    probes::{self, Report, Target, cut},
    volumes::beneath,
};

/// Kubernetes' limits of a termination message.
const MAX_MESSAGE: u64 = 4096;
const MAX_MESSAGE_FROM_LOG: u64 = 2048;
const MAX_MESSAGE_LINES: usize = 80;

/// A postStart hook that hangs longer than this has failed.
const HOOK_DEADLINE: Duration = Duration::from_secs(600);

// === impl Shared ===

impl Shared {
    /// Starts what is missing and stops what is no longer needed.
    pub(super) fn supervise_all(self: &Arc<Self>, pod: &Arc<Pod>, entry: &Arc<Entry>, sandbox: Option<&PodStatus>) {
        let Some(spec) = &pod.spec else { return };
        let alive = sandbox.is_some_and(|sandbox| sandbox.alive);
        let instances = sandbox.map(|sandbox| sandbox.containers.as_slice()).unwrap_or_default();
        for instance in instances {
            match instance.state {
                ContainerState::Running { .. } if alive => {
                    if !entry.memory().health.contains_key(&instance.id)
                        && let Some((_, container)) = containers::find(spec, &instance.name)
                    {
                        let adopted = self.readiness_before(pod, entry, instance);
                        self.supervise(pod, entry, &container, instance, adopted, false);
                    }
                }
                _ => {
                    entry.tasks().supervisors.remove(&instance.id);
                    if !entry.memory().last_words.contains_key(&instance.id) {
                        let words = self.last_words(pod, entry, instance);
                        entry.memory().last_words.insert(instance.id.clone(), words);
                    }
                }
            }
        }
        let known = |id: &String| instances.iter().any(|instance| instance.id == *id);
        entry.tasks().supervisors.retain(|id, _| known(id));
        let mut memory = entry.memory();
        memory.health.retain(|id, _| known(id));
        memory.last_words.retain(|id, _| known(id));
        memory.stopping.retain(known);
    }

    /// Readiness of this very instance before the daemon was restarted, if it had started completely by then.
    fn readiness_before(&self, pod: &Pod, entry: &Entry, instance: &ContainerStatus) -> Option<bool> {
        let status = self.newest_status(pod, entry);
        let mut all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let id = |id: &str| id.strip_prefix(ID_PREFIX) == Some(instance.id.as_str());
        let own = all.find(|one| one.container_id.as_deref().is_some_and(id))?;
        (own.started == Some(true)).then_some(own.ready)
    }

    /// Begins to watch over an instance. `adopted` is its readiness before a restart of the daemon.
    pub(super) fn supervise(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        entry: &Arc<Entry>,
        container: &Container,
        instance: &ContainerStatus,
        adopted: Option<bool>,
        fresh: bool,
    ) {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone()).filter(|_| fresh);
        let waits = hook.is_some() || (container.startup_probe.is_some() && adopted.is_none());
        let health = Health {
            started: !waits,
            ready: container.readiness_probe.is_none() || adopted == Some(true),
            failed: None,
            grace: None,
        };
        entry.memory().health.insert(instance.id.clone(), health);
        if hook.is_none() && !probes::has_probes(container) {
            return;
        }
        let ContainerState::Running { started, .. } = instance.state else { return };
        let target = self.target(pod, entry, container, &instance.id);
        let (shared, pod, owner, id) = (self.clone(), pod.clone(), Arc::downgrade(entry), instance.id.clone());
        let has_startup = container.startup_probe.is_some() && adopted.is_none();
        let task = tokio::spawn(async move {
            let report = |report: Report| {
                if let Some(entry) = owner.upgrade() {
                    shared.heard(&pod, &entry, &target.container.name, &id, report);
                }
            };
            if let Some(hook) = hook {
                let outcome = timeout(HOOK_DEADLINE, hooks::run(&hook, &target)).await;
                let outcome = outcome.unwrap_or_else(|_| Err("the hook did not end in time".into()));
                if let Err(message) = outcome {
                    let name = &target.container.name;
                    shared.events.pod(
                        &pod,
                        Some(name),
                        WARNING,
                        "FailedPostStartHook",
                        format!("PostStartHook failed: {message}"),
                    );
                    return report(Report::Failed {
                        message: format!("Container {name} failed its postStart hook"),
                        grace: None,
                    });
                }
                if !has_startup {
                    report(Report::Started);
                }
            }
            probes::run(target.clone(), started, adopted, report).await;
        });
        entry.tasks().supervisors.insert(instance.id.clone(), AbortOnDropHandle::new(task));
    }

    pub(super) fn target(&self, pod: &Pod, entry: &Entry, container: &Container, id: &str) -> Target {
        let prepared = entry.memory().prepared.as_ref().and_then(|prepared| prepared.pod_ip.clone());
        // A restarted daemon probes at once, with the address that the API knows.
        let prepared = prepared.or_else(|| self.newest_status(pod, entry).pod_ip);
        let addresses = self.addresses(pod, prepared);
        Target {
            runtime: self.runtime.clone(),
            pod_uid: entry.uid.clone(),
            container_id: id.to_owned(),
            pod_ip: addresses.pod_ip.and_then(|ip| ip.parse::<IpAddr>().ok()),
            container: Arc::new(container.clone()),
        }
    }

    fn heard(&self, pod: &Pod, entry: &Entry, container: &str, id: &str, report: Report) {
        if let Report::Unhealthy(message) = report {
            return self.events.pod(pod, Some(container), WARNING, "Unhealthy", message);
        }
        if let Some(health) = entry.memory().health.get_mut(id) {
            match report {
                Report::Started => health.started = true,
                Report::Ready(ready) => health.ready = ready,
                Report::Failed { message, grace } => {
                    health.failed = Some(message);
                    health.grace = grace;
                }
                Report::Unhealthy(_) => {}
            }
        }
        self.trigger(&entry.key);
    }

    /// `terminationMessagePath` and `terminationMessagePolicy`.
    fn last_words(&self, pod: &Pod, entry: &Entry, instance: &ContainerStatus) -> String {
        let path = self.termination_log(&entry.uid, &instance.name, instance.attempt);
        let read = beneath::read_tail(&path, MAX_MESSAGE);
        let words = match read {
            Ok(data) => String::from_utf8_lossy(&data.unwrap_or_default()).into_owned(),
            Err(error) => format!("Error reading termination message: {}", error::chain(&error)),
        };
        let found = pod.spec.as_ref().and_then(|spec| containers::find(spec, &instance.name));
        let policy = found.and_then(|(_, container)| container.termination_message_policy.clone());
        let failed = matches!(instance.state, ContainerState::Exited { code, .. } if code != 0);
        if !words.is_empty() || !failed || policy.as_deref() != Some("FallbackToLogsOnError") {
            return words;
        }
        let mut words = logs::last_lines(&instance.log_path, MAX_MESSAGE_LINES, MAX_MESSAGE_FROM_LOG);
        cut(&mut words, MAX_MESSAGE_FROM_LOG as usize);
        words
    }
}
