//! Carries out the steps of a plan.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use lotse_runtime::{ContainerStatus, Error as RuntimeError};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Entry, Shared,
    backoff::{after, between},
    hooks,
    observed::{Failure, ImageState},
    plan::Action,
    prepare::limited,
    references::fingerprint,
};
use crate::{
    containers::{self, Role, env, resources},
    error::{Context, Error, Result, chain},
    events::{NORMAL, WARNING},
    volumes,
};

// === impl Shared ===

impl Shared {
    /// All steps at once: they concern different things. Failures that belong to the pod are remembered for its status;
    /// only those that the driver must repeat are returned.
    pub(super) async fn execute(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        entry: &Arc<Entry>,
        actions: Vec<Action>,
    ) -> Result<()> {
        let steps = actions.into_iter().map(|action| self.act(pod, entry, action));
        futures::future::join_all(steps).await.into_iter().collect()
    }

    async fn act(self: &Arc<Self>, pod: &Arc<Pod>, entry: &Arc<Entry>, action: Action) -> Result<()> {
        let Some(spec) = &pod.spec else { return Ok(()) };
        match action {
            Action::Prepare => self.prepare(pod, entry).await,
            Action::RefreshVolumes => self.refresh_volumes(pod, entry).await,
            Action::RemoveSandbox => {
                let context = || format!("cannot remove the dead sandbox of pod {}", entry.key);
                limited(context, self.runtime.remove_pod(&entry.uid)).await?.context(context)?;
                self.events.pod(
                    pod,
                    None,
                    NORMAL,
                    "SandboxChanged",
                    "Pod sandbox changed, it will be killed and re-created.",
                );
                entry.memory().prepared = None;
            }
            Action::EnsureImage { container } => {
                if let Some((_, container)) = containers::find(spec, &container) {
                    self.ensure_image(pod, entry, &container);
                }
            }
            Action::Start { container, attempt } => {
                if let Some((role, container)) = containers::find(spec, &container) {
                    self.start(pod, entry, role, &container, attempt).await;
                }
            }
            Action::Stop { container, id, message, grace } => {
                if let Some((_, container)) = containers::find(spec, &container) {
                    self.stop(pod, entry, &container, id, message, grace);
                }
            }
            Action::RemoveInstance { id } => {
                let context = || format!("cannot remove container {id} of pod {}", entry.key);
                limited(context, self.runtime.remove_container(&entry.uid, &id)).await?.context(context)?;
            }
            Action::Condemn(verdict) => {
                self.events.pod(pod, None, NORMAL, &verdict.reason, verdict.message.clone());
                entry.memory().verdict = Some(verdict);
            }
            Action::StopAll { deadline } => self.stop_all(pod, entry, deadline),
            Action::Release => self.release(entry).await?,
            Action::Finish => {}
        }
        Ok(())
    }

    async fn start(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        entry: &Arc<Entry>,
        role: Role,
        container: &Container,
        attempt: u32,
    ) {
        let name = &container.name;
        let fingerprint = fingerprint(pod, &self.sources);
        match self.try_start(pod, entry, container, attempt).await {
            Ok(instance) => {
                self.events.pod(pod, Some(name), NORMAL, "Created", format!("Created container: {name}"));
                self.events.pod(pod, Some(name), NORMAL, "Started", format!("Started container {name}"));
                let ran_for = self.ran_for(entry, name, attempt);
                let mut memory = entry.memory();
                memory.failures.remove(name);
                memory.failure_backoff.remove(name);
                if attempt > 0 {
                    let backoff = memory.restart_backoff.entry(name.clone()).or_default();
                    *backoff = backoff.next(ran_for);
                }
                if containers::pull_policy(container) == "Always" {
                    memory.images.remove(name);
                }
                drop(memory);
                if role != Role::Init || container.lifecycle.is_some() {
                    self.supervise(pod, entry, container, &instance, None, true);
                }
                self.remove_old_logs(pod, name, attempt);
            }
            Err(error) => {
                let message = chain(&error);
                let reason = match &error {
                    Error::ContainerConfig { .. } | Error::Runtime { source: RuntimeError::UserRefused { .. }, .. } => {
                        "CreateContainerConfigError"
                    }
                    Error::Runtime { source: RuntimeError::StartContainer { .. }, .. } => "RunContainerError",
                    _ => "CreateContainerError",
                };
                let mut memory = entry.memory();
                if matches!(error, Error::Runtime { source: RuntimeError::ImageNotFound { .. }, .. }) {
                    // Removed since it was found: look for it again.
                    memory.images.remove(name);
                }
                let delay = memory.failure_backoff.entry(name.clone()).or_default().fail();
                let until = after(Timestamp::now(), delay);
                memory.failures.insert(name.clone(), Failure { reason, message: message.clone(), until, fingerprint });
                drop(memory);
                self.events.pod(pod, Some(name), WARNING, "Failed", format!("Error: {message}"));
            }
        }
    }

    /// How long the instance before `attempt` ran.
    fn ran_for(&self, entry: &Entry, name: &str, attempt: u32) -> Duration {
        let instances = self.runtime.pod(&entry.uid).map(|pod| pod.containers).unwrap_or_default();
        let mut older = instances.iter().filter(|one| one.name == name && one.attempt < attempt);
        match older.next_back().map(|one| &one.state) {
            Some(lotse_runtime::ContainerState::Exited { started, finished, .. }) => between(*started, *finished),
            _ => Duration::ZERO,
        }
    }

    async fn try_start(
        &self,
        pod: &Pod,
        entry: &Entry,
        container: &Container,
        attempt: u32,
    ) -> Result<ContainerStatus> {
        let name = &container.name;
        if !super::safe_name(name) {
            return Err(Error::config(format!("container name {name:?} is not a DNS label")));
        }
        let (image, prepared) = {
            let memory = entry.memory();
            let image = match memory.images.get(name) {
                Some(ImageState::Ready(id)) => id.clone(),
                _ => return Err(Error::config(format!("the image of container {name} is not ready"))),
            };
            (image, memory.prepared.clone())
        };
        let prepared = prepared.ok_or_else(|| Error::config("the pod's sandbox is not ready"))?;
        let addresses = self.addresses(pod, prepared.pod_ip.clone());
        let environment = env::environment(pod, container, &self.sources, &addresses, self.capacity)?;
        let log_dir = self.log_dir(pod).join(name);
        volumes::create_dir(&log_dir)?;
        let termination_log = self.termination_log(&entry.uid, name, attempt);
        create_writable(&termination_log)?;
        let spec = containers::build(containers::Inputs {
            pod,
            container,
            attempt,
            image,
            environment,
            volumes: &prepared.volumes,
            files: &self.pod_files(&entry.uid),
            log_path: log_dir.join(format!("{attempt}.log")),
            termination_log,
            class: pod.spec.as_ref().map_or(lotse_runtime::QosClass::BestEffort, resources::qos_class),
            memory_capacity: u64::try_from(self.capacity.memory_bytes).unwrap_or(1),
        })?;
        let context = || format!("failed to start container \"{name}\"");
        limited(context, self.runtime.start_container(&entry.uid, &spec)).await?.context(context)
    }

    /// `<root>/pods/<uid>/containers/<name>/<attempt>.termination`.
    pub(super) fn termination_log(&self, uid: &str, container: &str, attempt: u32) -> std::path::PathBuf {
        self.config.pod_dir(uid).join("containers").join(container).join(format!("{attempt}.termination"))
    }

    /// Stops one instance in the background; it is restarted by the next plan.
    fn stop(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        entry: &Arc<Entry>,
        container: &Container,
        id: String,
        message: String,
        grace: Duration,
    ) {
        if !entry.memory().stopping.insert(id.clone()) {
            return;
        }
        entry.tasks().supervisors.remove(&id);
        self.events.pod(pod, Some(&container.name), NORMAL, "Killing", message);
        let (shared, pod, owner, container) = (self.clone(), pod.clone(), entry.clone(), container.clone());
        let own_id = id.clone();
        let task = tokio::spawn(async move {
            shared.stop_instance(&pod, &owner, &container, &own_id, grace).await;
            owner.memory().stopping.remove(&own_id);
            shared.trigger(&owner.key);
        });
        entry.tasks().stops.insert(id, AbortOnDropHandle::new(task));
    }

    /// preStop hook, then the stop signal with what is left of the grace period.
    pub(super) async fn stop_instance(
        &self,
        pod: &Pod,
        entry: &Entry,
        container: &Container,
        id: &str,
        grace: Duration,
    ) {
        let begin = tokio::time::Instant::now();
        if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
            let target = self.target(pod, entry, container, id);
            let outcome = timeout(grace, hooks::run(hook, &target)).await;
            let outcome = outcome.unwrap_or_else(|_| Err("the hook did not end within the grace period".into()));
            if let Err(message) = outcome {
                let note = format!("PreStopHook failed: {message}");
                self.events.pod(pod, Some(&container.name), WARNING, "FailedPreStopHook", note);
            }
        }
        // As the kubelet: a program that is asked to stop gets two seconds even after a long hook.
        let left = grace.saturating_sub(begin.elapsed()).max(if begin.elapsed() > Duration::from_secs(1) {
            Duration::from_secs(2)
        } else {
            Duration::ZERO
        });
        let limit = left + Duration::from_secs(30);
        let outcome = timeout(limit, self.runtime.stop_container(&entry.uid, id, left)).await;
        let failed = match outcome {
            Ok(Ok(())) | Ok(Err(RuntimeError::NotFound { .. })) => return,
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer within {} s", limit.as_secs()),
        };
        tracing::warn!(key = %entry.key, container = container.name, error = failed, "stopping the container failed");
    }

    /// Keeps the logs of this instance and of the one before it.
    fn remove_old_logs(&self, pod: &Pod, container: &str, attempt: u32) {
        let dir = self.log_dir(pod).join(container);
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number =
                name.to_str().and_then(|name| name.split('.').next()).and_then(|number| number.parse::<u32>().ok());
            if number.is_some_and(|number| number.saturating_add(1) < attempt) {
                // A log that stays costs space only.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// An empty file that a container of any user may write; content of an earlier try is dropped.
fn create_writable(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = path.parent() {
        volumes::create_dir(parent)?;
    }
    let context = || format!("cannot create {}", path.display());
    volumes::beneath::remove_tree(path)?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).context(context)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o666)).context(context)
}
