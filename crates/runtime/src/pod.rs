//! A pod as the daemon knows it: what is on disk, the connection to its shim, the states of its containers.

use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{broadcast, watch},
};

use crate::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, Error, PodSpec, PodStatus, RuntimeEvent,
    cgroup::Hierarchies,
    durable,
    error::IoContext,
    shim::protocol::{self, Exit, Request, Response, ShimIdentity, Started},
};

/// Longest time for a shim to do what it is asked.
pub(crate) const REQUEST_DEADLINE: Duration = Duration::from_secs(60);
/// Exit code of a container whose end nobody has seen, as the kubelet reports one (`ContainerStatusUnknown`).
const LOST_CODE: i32 = 137;

/// `container.json`: what the daemon has to remember of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: ContainerId,
    pub spec: ContainerSpec,
    pub image: String,
    pub created: Timestamp,
}

/// A container and its state.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub record: Record,
    pub state: ContainerState,
}

impl Container {
    pub(crate) fn status(&self) -> ContainerStatus {
        ContainerStatus {
            id: self.record.id.clone(),
            name: self.record.spec.name.clone(),
            attempt: self.record.spec.attempt,
            image: self.record.spec.image.clone(),
            labels: self.record.spec.labels.clone(),
            log_path: self.record.spec.log_path.clone(),
            state: self.state.clone(),
        }
    }
}

/// A pod with a sandbox.
#[derive(Debug)]
pub(crate) struct Pod {
    pub spec: PodSpec,
    pub directory: PathBuf,
    pub socket: PathBuf,
    pub cgroup: String,
    pub shim: Option<ShimIdentity>,
    state: Mutex<State>,
    /// Changes whenever the state does.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    alive: bool,
    containers: Vec<Container>,
}

impl Pod {
    /// A pod whose shim is known, or known to be missing.
    pub(crate) fn new(
        spec: PodSpec,
        directory: PathBuf,
        socket: PathBuf,
        cgroup: String,
        shim: Option<ShimIdentity>,
        containers: Vec<Container>,
    ) -> Self {
        let alive = shim.as_ref().is_some_and(|shim| shim.process.is_alive());
        let state = Mutex::new(State { alive, containers });
        Self { spec, directory, socket, cgroup, shim, state, changed: watch::Sender::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment, so a panic cannot leave half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.state().alive
    }

    pub(crate) fn status(&self) -> PodStatus {
        let state = self.state();
        PodStatus {
            spec: self.spec.clone(),
            alive: state.alive,
            shim_pid: self.shim.as_ref().map(|shim| shim.process.pid).filter(|_| state.alive),
            containers: state.containers.iter().map(Container::status).collect(),
        }
    }

    pub(crate) fn container(&self, id: &str) -> Option<Container> {
        self.state().containers.iter().find(|container| container.record.id == id).cloned()
    }

    pub(crate) fn containers(&self) -> Vec<Container> {
        self.state().containers.clone()
    }

    pub(crate) fn container_directory(&self, id: &str) -> PathBuf {
        self.directory.join("containers").join(id)
    }

    pub(crate) fn container_cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.cgroup)
    }

    /// Adds a container, and its end if that has come already.
    pub(crate) fn add(&self, container: Container) {
        self.state().containers.push(container);
        self.changed.send_replace(());
    }

    pub(crate) fn forget(&self, id: &str) {
        self.state().containers.retain(|container| container.record.id != id);
        self.changed.send_replace(());
    }

    /// Takes over what `exit.json` says of a container; whether it had been running until now.
    pub(crate) fn record_exit(&self, id: &str) -> bool {
        let path = self.container_directory(id).join("exit.json");
        let exit = durable::read_json::<Exit>(&path).ok().flatten();
        let changed = {
            let mut state = self.state();
            let running = state.containers.iter_mut().find(|container| {
                container.record.id == id && matches!(container.state, ContainerState::Running { .. })
            });
            match running {
                None => false,
                Some(container) => {
                    container.state = exited(exit.unwrap_or_else(|| lost(&container.state)));
                    true
                }
            }
        };
        if changed {
            self.changed.send_replace(());
        }
        changed
    }

    /// Marks the pod as lost: its containers are killed and recorded as ended. Blocks; false if it was lost already.
    pub(crate) fn lose(&self, hierarchies: &Hierarchies) -> Result<bool, Error> {
        hierarchies.kill(&self.cgroup)?;
        let running: Vec<Container> = self
            .containers()
            .into_iter()
            .filter(|container| matches!(container.state, ContainerState::Running { .. }))
            .collect();
        for container in running {
            let path = self.container_directory(&container.record.id).join("exit.json");
            if durable::read_json::<Exit>(&path).ok().flatten().is_none() {
                durable::replace_json(&path, &lost(&container.state))?;
            }
            self.record_exit(&container.record.id);
        }
        let was_alive = std::mem::replace(&mut self.state().alive, false);
        self.changed.send_replace(());
        Ok(was_alive)
    }

    /// Waits until a container does not run any more; `true` if that happens in time.
    pub(crate) async fn wait_exited(&self, id: &str, limit: Duration) -> bool {
        let mut changes = self.changed.subscribe();
        let ended = async {
            loop {
                changes.borrow_and_update();
                let running = self
                    .container(id)
                    .is_some_and(|container| matches!(container.state, ContainerState::Running { .. }));
                if !running || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, ended).await.is_ok()
    }

    /// Asks the shim. Blocks.
    pub(crate) fn request(&self, request: &Request) -> Result<(Response, Vec<OwnedFd>, UnixStream), Error> {
        let asking = || format!("asking the shim of pod {}", self.spec.uid);
        let stream = UnixStream::connect(&self.socket).context(asking)?;
        stream.set_read_timeout(Some(REQUEST_DEADLINE)).context(asking)?;
        stream.set_write_timeout(Some(REQUEST_DEADLINE)).context(asking)?;
        protocol::send(&stream, request, &[]).context(asking)?;
        let (response, descriptors) = protocol::receive(&stream).context(asking)?;
        Ok((response, descriptors, stream))
    }

    /// Sends a signal to a container. Blocks.
    pub(crate) fn signal(&self, id: &str, signal: i32, all: bool) -> Result<(), Error> {
        match self.request(&Request::Signal { id: id.to_owned(), signal, all })?.0 {
            Response::Failed { message } => Err(Error::Shim { pod: self.spec.uid.clone(), message }),
            _ => Ok(()),
        }
    }

    /// Kills the shim.
    pub(crate) fn kill_shim(&self) {
        if let Some(shim) = &self.shim
            && shim.process.is_alive()
            && let Ok(pid) = i32::try_from(shim.process.pid)
        {
            let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Follows the shim's events for as long as it lives, and reports its death.
    pub(crate) async fn follow(self: Arc<Self>, hierarchies: Hierarchies, events: &broadcast::Sender<RuntimeEvent>) {
        while self.shim.as_ref().is_some_and(|shim| shim.process.is_alive()) {
            if let Err(error) = self.subscribe(events).await {
                tracing::debug!(pod = %self.spec.uid, error = %error.chain(), "the connection to the shim has ended");
            }
            // A shim that lives but does not serve is asked again without hurry.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let pod = Arc::clone(&self);
        let lost = tokio::task::spawn_blocking(move || pod.lose(&hierarchies)).await;
        match lost.unwrap_or(Ok(false)) {
            Ok(true) => {
                let _ = events.send(RuntimeEvent::PodLost { pod: self.spec.uid.clone() });
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(pod = %self.spec.uid, error = %error.chain(), "a lost pod could not be cleaned up")
            }
        }
    }

    async fn subscribe(&self, events: &broadcast::Sender<RuntimeEvent>) -> Result<(), Error> {
        let following = || format!("following the shim of pod {}", self.spec.uid);
        let before: Vec<ContainerId> = self.containers().into_iter().map(|container| container.record.id).collect();
        let mut stream = tokio::net::UnixStream::connect(&self.socket).await.context(following)?;
        let frame = protocol::encode(&Request::Subscribe).context(following)?;
        stream.write_all(&frame).await.context(following)?;
        let mut buffer = Vec::new();
        loop {
            match protocol::decode::<Response>(&mut buffer).context(following)? {
                Some(Response::ContainerExited { id }) => self.exited(&id, events),
                // What has ended while nobody listened. What was started after the question may be missing because the
                // answer is older; it has ended only if the shim has written so, which it does before it answers.
                Some(Response::Containers { running }) => {
                    for id in self.containers().into_iter().map(|container| container.record.id) {
                        let written = || self.container_directory(&id).join("exit.json").exists();
                        if !running.contains(&id) && (before.contains(&id) || written()) {
                            self.exited(&id, events);
                        }
                    }
                }
                Some(_) => {}
                None => {
                    if stream.read_buf(&mut buffer).await.context(following)? == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn exited(&self, id: &str, events: &broadcast::Sender<RuntimeEvent>) {
        if self.record_exit(id) {
            let _ = events.send(RuntimeEvent::ContainerExited { pod: self.spec.uid.clone(), container: id.to_owned() });
        }
    }
}

fn exited(exit: Exit) -> ContainerState {
    ContainerState::Exited {
        code: exit.code,
        signal: exit.signal,
        out_of_memory: exit.out_of_memory,
        started: exit.started,
        finished: exit.finished,
    }
}

fn lost(state: &ContainerState) -> Exit {
    let started = match state {
        ContainerState::Running { started, .. } | ContainerState::Exited { started, .. } => *started,
    };
    Exit { code: LOST_CODE, signal: None, out_of_memory: false, started, finished: Timestamp::now() }
}

/// Reads a pod's directory. `None` when it was never finished, or has been removed in part.
pub(crate) fn load(
    directory: &Path,
    socket: PathBuf,
    cgroup_of: impl FnOnce(&PodSpec) -> String,
) -> Result<Option<Pod>, Error> {
    let Some(spec) = durable::read_json::<PodSpec>(&directory.join("pod.json"))? else { return Ok(None) };
    let shim = durable::read_json::<ShimIdentity>(&directory.join("shim.json"))?;
    let mut containers = Vec::new();
    for entry in fs::read_dir(directory.join("containers")).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(record) = durable::read_json::<Record>(&path.join("container.json"))? else { continue };
        let exit = durable::read_json::<Exit>(&path.join("exit.json"))?;
        let started = durable::read_json::<Started>(&path.join("started.json"))?;
        let state = match (exit, started) {
            (Some(exit), _) => exited(exit),
            (None, Some(Started { pid, started })) => ContainerState::Running { pid, started },
            // The daemon died before the shim was done; the caller clears it away.
            (None, None) => continue,
        };
        containers.push(Container { record, state });
    }
    containers.sort_by_key(|container| container.record.created);
    let cgroup = cgroup_of(&spec);
    Ok(Some(Pod::new(spec, directory.to_owned(), socket, cgroup, shim, containers)))
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
