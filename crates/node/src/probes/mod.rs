//! Probes: each type is a small file with one implementation of [`Check`]; timing is here, thresholds are in [`state`].
//!
//! One task per container instance runs its probes on their own timers; nothing else polls.

pub(crate) mod exec;
mod grpc;
pub(crate) mod http;
pub(crate) mod state;
mod tcp;

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Container, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use lotse_runtime::ContainerRuntime;
use tokio::time::{Instant, sleep, timeout};

use self::state::{Kind, State};
use crate::pods::backoff::between;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Longest output of a probe that is quoted in an event.
const MAX_OUTPUT: usize = 1024;

/// The container that is probed.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) pod_uid: String,
    pub(crate) container_id: String,
    pub(crate) pod_ip: Option<IpAddr>,
    pub(crate) container: Arc<Container>,
}

// === impl Target ===

impl Target {
    /// The number of a port that may be given by name.
    pub(crate) fn port(&self, port: &IntOrString) -> Result<u16, String> {
        port_of(&self.container, port)
    }

    /// `host` where it is given, the pod's address otherwise.
    pub(crate) fn host(&self, host: Option<&str>) -> Result<String, String> {
        match (host.filter(|host| !host.is_empty()), self.pod_ip) {
            (Some(host), _) => Ok(host.to_owned()),
            (None, Some(ip)) => Ok(ip.to_string()),
            (None, None) => Err("the pod has no address yet".into()),
        }
    }
}

fn port_of(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let ports = container.ports.as_deref().unwrap_or_default();
            let named = ports.iter().find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0).ok_or_else(|| {
        format!("port {port:?} is neither a number nor the name of a port of container {}", container.name)
    })
}

/// One attempt. The sentence of a failure goes into the event.
pub(crate) trait Check: Send + Sync {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>>;
}

fn check_of(probe: &Probe) -> Option<Box<dyn Check>> {
    [exec::of(probe), http::of(probe), tcp::of(probe), grpc::of(probe)].into_iter().flatten().next()
}

/// What the node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The startup probe has succeeded.
    Started,
    Ready(bool),
    /// The container must be restarted.
    Failed {
        message: String,
        grace: Option<Duration>,
    },
    /// One failed attempt, for the event `Unhealthy`.
    Unhealthy(String),
}

/// Runs all probes of a container until it is dropped. `adopted` is the readiness before a restart of the daemon:
/// such a container has started already, and stays as ready as it was until a probe says otherwise.
pub(crate) async fn run(
    target: Target,
    started_at: Timestamp,
    adopted: Option<bool>,
    report: impl Fn(Report) + Send + Sync,
) {
    let container = target.container.clone();
    if adopted.is_none()
        && let Some(probe) = &container.startup_probe
    {
        if !run_one(&target, Kind::Startup, probe, started_at, false, &report).await {
            return;
        }
        report(Report::Started);
    }
    let liveness = async {
        if let Some(probe) = &container.liveness_probe {
            run_one(&target, Kind::Liveness, probe, started_at, true, &report).await;
        }
    };
    let readiness = async {
        if let Some(probe) = &container.readiness_probe {
            run_one(&target, Kind::Readiness, probe, started_at, adopted == Some(true), &report).await;
        }
    };
    tokio::join!(liveness, readiness);
}

/// Whether `container` has any probe.
pub(crate) fn has_probes(container: &Container) -> bool {
    container.startup_probe.is_some() || container.liveness_probe.is_some() || container.readiness_probe.is_some()
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default))
}

/// True when a startup probe has succeeded, false when a startup or liveness probe has failed for good.
async fn run_one(
    target: &Target,
    kind: Kind,
    probe: &Probe,
    started_at: Timestamp,
    initial: bool,
    report: &(impl Fn(Report) + Send + Sync),
) -> bool {
    let Some(check) = check_of(probe) else { return true };
    let (limit, period) = (seconds(probe.timeout_seconds, 1), seconds(probe.period_seconds, 10));
    let initial_delay = seconds(probe.initial_delay_seconds, 0);
    sleep(initial_delay.saturating_sub(between(started_at, Timestamp::now()))).await;
    let mut state = State::new(kind, probe, initial);
    let name = &target.container.name;
    loop {
        let next = Instant::now() + period;
        let outcome = match timeout(limit, check.check(target)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
        };
        if let Err(message) = &outcome {
            let mut message = format!("{} probe failed: {message}", kind.title());
            cut(&mut message, MAX_OUTPUT);
            report(Report::Unhealthy(message));
        }
        match (kind, state.observe(outcome.is_ok())) {
            (Kind::Startup, Some(true)) => return true,
            (Kind::Startup | Kind::Liveness, Some(false)) => {
                let what = kind.title().to_ascii_lowercase();
                let grace = probe.termination_grace_period_seconds.and_then(|value| u64::try_from(value).ok());
                report(Report::Failed {
                    message: format!("Container {name} failed {what} probe, will be restarted"),
                    grace: grace.map(Duration::from_secs),
                });
                return false;
            }
            (Kind::Readiness, Some(ready)) => report(Report::Ready(ready)),
            _ => {}
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Shortens `text` to at most `max` bytes at a character border.
pub(crate) fn cut(text: &mut String, max: usize) {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
