//! Signals to containers, and stopping them: first asked, then killed.

use std::{sync::Arc, time::Duration};

use super::Runtime;
use crate::{ContainerSpec, ContainerState, Error, pod::Pod};

/// Longest time between SIGKILL and the end of a container.
const KILL_DEADLINE: Duration = Duration::from_secs(30);

impl Runtime {
    async fn signal(&self, pod: &Arc<Pod>, id: &str, signal: i32, all: bool) -> Result<(), Error> {
        let (pod, id) = (Arc::clone(pod), id.to_owned());
        self.blocking(move |_| match pod.signal(&id, signal, all) {
            // A shim that is gone has taken its containers along, which is reported elsewhere.
            Err(_) if !pod.is_alive() => Ok(()),
            other => other,
        })
        .await
    }

    pub(super) async fn stop(&self, pod: &Arc<Pod>, id: &str, grace: Duration) -> Result<(), Error> {
        let Some(container) = pod.container(id) else { return Ok(()) };
        if !matches!(container.state, ContainerState::Running { .. }) {
            return Ok(());
        }
        if !grace.is_zero() {
            let signal = stop_signal(&container.record.spec)?;
            self.signal(pod, id, signal, false).await?;
            if pod.wait_exited(id, grace).await {
                return Ok(());
            }
        }
        self.signal(pod, id, nix::libc::SIGKILL, true).await?;
        if pod.wait_exited(id, KILL_DEADLINE).await {
            return Ok(());
        }
        Err(Error::Deadline { what: format!("killing container {id}"), seconds: KILL_DEADLINE.as_secs() })
    }
}

/// The number of a container's stop signal. The image's own is already in the spec on disk.
pub(super) fn stop_signal(spec: &ContainerSpec) -> Result<i32, Error> {
    let Some(name) = spec.stop_signal.as_deref().filter(|name| !name.is_empty()) else { return Ok(nix::libc::SIGTERM) };
    let upper = name.to_ascii_uppercase();
    let invalid = || Error::start(format!("stop signal {name:?} is not a signal of Linux"));
    if let Ok(number) = upper.parse::<i32>() {
        return nix::sys::signal::Signal::try_from(number).map(|signal| signal as i32).map_err(|_| invalid());
    }
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse::<nix::sys::signal::Signal>().map(|signal| signal as i32).map_err(|_| invalid())
}
