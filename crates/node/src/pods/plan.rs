//! The next steps for a pod: a pure function of what is observed.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use lotse_runtime::{ContainerState, ContainerStatus};

use super::{
    backoff::{after, between},
    observed::{ImageState, Instance, Observed, Verdict},
};
use crate::containers::{Role, hash};

/// How long a failed pull is shown as `ErrImagePull` before it is shown as `ImagePullBackOff`.
pub(crate) const SHOW_PULL_ERROR: Duration = Duration::from_secs(2);

/// `terminationGracePeriodSeconds` where the API did not default it.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// One step. Every step is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Attach the network, start the sandbox, set up the volumes.
    Prepare,
    /// Write the volumes again: something that they show has changed.
    RefreshVolumes,
    /// The sandbox has died with everything in it: remove it, so that it is made again.
    RemoveSandbox,
    /// Look for the image, pull it if the policy says so.
    EnsureImage { container: String },
    /// Start the next instance.
    Start { container: String, attempt: u32 },
    /// Stop an instance that is not what it should be.
    Stop { container: String, id: String, message: String, grace: Duration },
    /// Forget an old instance.
    RemoveInstance { id: String },
    /// End the pod for good although nobody deleted it.
    Condemn(Verdict),
    /// Stop all containers in order, with hooks.
    StopAll { deadline: Timestamp },
    /// The pod is over: give back sandbox, network and volumes, keep the logs.
    Release,
    /// Everything has stopped: give back everything and remove the object.
    Finish,
}

/// Steps, and when to look again although nothing changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) wake: Option<Timestamp>,
}

// === impl Plan ===

impl Plan {
    fn only(action: Action) -> Self {
        Self { actions: vec![action], wake: None }
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |old| old.min(at)));
    }
}

/// What to do now.
pub(crate) fn plan(observed: &Observed<'_>) -> Plan {
    if let Some(deadline) = &observed.pod.metadata.deletion_timestamp {
        if observed.memory.finished {
            return Plan::default();
        }
        return if observed.any_running() && !observed.memory.force {
            Plan::only(Action::StopAll { deadline: deadline.0 })
        } else {
            Plan::only(Action::Finish)
        };
    }
    if matches!(observed.previous.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return match observed.sandbox.is_some() || observed.memory.prepared.is_some() {
            true => Plan::only(Action::Release),
            false => Plan::default(),
        };
    }
    if observed.memory.verdict.is_some() {
        return match (observed.any_running(), observed.memory.force) {
            (true, false) => Plan::only(Action::StopAll { deadline: after(observed.now, grace(observed)) }),
            (true, true) => Plan::only(Action::Release),
            (false, _) => Plan::default(),
        };
    }
    let mut plan = Plan::default();
    if let Some(verdict) = deadline_exceeded(observed, &mut plan) {
        return Plan::only(Action::Condemn(verdict));
    }
    if observed.sandbox.is_some_and(|sandbox| !sandbox.alive) {
        return Plan::only(Action::RemoveSandbox);
    }
    if observed.apps_are_done() || observed.init_has_failed() {
        stop_the_rest(observed, &mut plan);
        return plan;
    }
    if !prepare(observed, &mut plan) {
        // Images are looked for at the same time as the network is attached.
        if observed.memory.prepare_failure.is_none()
            && let Some((_, first)) = next_to_start(observed)
        {
            images(observed, first, &mut plan);
        }
        return plan;
    }
    if init(observed, &mut plan) {
        for container in observed.of_role(Role::App) {
            keep(observed, Role::App, container, &mut plan);
        }
    }
    if observed.any_running() {
        for container in observed.of_role(Role::Ephemeral) {
            keep(observed, Role::Ephemeral, container, &mut plan);
        }
    }
    remove_old(observed, &mut plan);
    plan
}

/// The pod's grace period.
pub(crate) fn grace(observed: &Observed<'_>) -> Duration {
    let seconds = observed.spec.termination_grace_period_seconds.map(|seconds| seconds.max(1));
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DEFAULT_GRACE, Duration::from_secs)
}

fn deadline_exceeded(observed: &Observed<'_>, plan: &mut Plan) -> Option<Verdict> {
    let seconds = u64::try_from(observed.spec.active_deadline_seconds?).ok()?;
    let start = observed.previous.start_time.as_ref()?.0;
    let end = after(start, Duration::from_secs(seconds));
    if end > observed.now {
        plan.wake(end);
        return None;
    }
    Some(Verdict {
        reason: "DeadlineExceeded".into(),
        message: "Pod was active on the node longer than the specified deadline".into(),
    })
}

/// The pod's work is over; what still runs only served it.
fn stop_the_rest(observed: &Observed<'_>, plan: &mut Plan) {
    for (role, container) in observed.containers.iter().rev() {
        if *role != Role::App
            && let Instance::Running(instance) = observed.instance(&container.name)
        {
            let message = format!("Stopping container {}", container.name);
            stop(observed, container, instance, message, None, plan);
        }
    }
}

/// Whether sandbox, network and volumes are in place; plans them if not.
fn prepare(observed: &Observed<'_>, plan: &mut Plan) -> bool {
    if let Some(failure) = observed.memory.prepare_failure.as_ref().filter(|failure| observed.holds(failure)) {
        plan.wake(failure.until);
        return false;
    }
    let Some(prepared) = observed.memory.prepared.as_ref().filter(|_| observed.sandbox.is_some()) else {
        plan.actions.push(Action::Prepare);
        return false;
    };
    let renew = prepared.renew_at.is_some_and(|at| at <= observed.now);
    if renew || prepared.fingerprint != observed.fingerprint {
        plan.actions.push(Action::RefreshVolumes);
    } else if let Some(at) = prepared.renew_at {
        plan.wake(at);
    }
    true
}

/// The first container that is to run, for a head start of its image.
fn next_to_start<'a>(observed: &Observed<'a>) -> Option<(Role, &'a Container)> {
    let mut all = observed.containers.iter().map(|(role, container)| (*role, container.as_ref()));
    all.find(|(role, container)| observed.wants_to_run(*role, container))
}

/// Runs the init containers in order; true once the app containers may run.
fn init(observed: &Observed<'_>, plan: &mut Plan) -> bool {
    let done = observed.apps_have_started();
    for (role, container) in observed.containers {
        match role {
            Role::Sidecar => {
                keep(observed, *role, container, plan);
                let started = match observed.instance(&container.name) {
                    Instance::Running(instance) => observed.health(&instance.id).is_some_and(|health| health.started),
                    _ => false,
                };
                if !started && !done {
                    return false;
                }
            }
            Role::Init if !done => match observed.instance(&container.name) {
                Instance::Exited(ContainerStatus { state: ContainerState::Exited { code: 0, .. }, .. }) => {}
                _ => {
                    keep(observed, *role, container, plan);
                    return false;
                }
            },
            _ => {}
        }
    }
    true
}

/// Keeps one container as it should be: running, restarted, or stopped to be restarted.
fn keep(observed: &Observed<'_>, role: Role, container: &Container, plan: &mut Plan) {
    if let Instance::Running(instance) = observed.instance(&container.name) {
        let wanted = instance.labels.get(hash::LABEL);
        let health = observed.health(&instance.id);
        if role != Role::Ephemeral && wanted.is_some_and(|wanted| *wanted != hash::of(container)) {
            let message = format!("Container {} definition changed, will be restarted", container.name);
            stop(observed, container, instance, message, None, plan);
        } else if let Some(reason) = health.and_then(|health| health.failed.clone()) {
            stop(observed, container, instance, reason, health.and_then(|health| health.grace), plan);
        }
        return;
    }
    if !observed.wants_to_run(role, container) {
        return;
    }
    if let Some(failure) = observed.failure(&container.name) {
        plan.wake(failure.until);
        return;
    }
    if let Some((at, _)) = observed.restart_at(&container.name)
        && at > observed.now
    {
        plan.wake(at);
        return;
    }
    if images(observed, container, plan) {
        let attempt = observed.next_attempt(&container.name);
        plan.actions.push(Action::Start { container: container.name.clone(), attempt });
    }
}

/// Whether the container's image is there; plans to get it if not.
fn images(observed: &Observed<'_>, container: &Container, plan: &mut Plan) -> bool {
    match observed.memory.images.get(&container.name) {
        Some(ImageState::Ready(_)) => return true,
        Some(ImageState::Pulling) => {}
        Some(ImageState::Failed { at, until, .. }) if *until > observed.now => {
            let shown = after(*at, SHOW_PULL_ERROR);
            plan.wake(if shown > observed.now { shown } else { *until });
        }
        _ => plan.actions.push(Action::EnsureImage { container: container.name.clone() }),
    }
    false
}

fn stop(
    observed: &Observed<'_>,
    container: &Container,
    instance: &ContainerStatus,
    message: String,
    own_grace: Option<Duration>,
    plan: &mut Plan,
) {
    if !observed.memory.stopping.contains(&instance.id) {
        plan.actions.push(Action::Stop {
            container: container.name.clone(),
            id: instance.id.clone(),
            message,
            grace: own_grace.unwrap_or_else(|| grace(observed)),
        });
    }
}

/// Keeps the newest instance and the last dead one before it (for `kubectl logs --previous`).
fn remove_old(observed: &Observed<'_>, plan: &mut Plan) {
    for (_, container) in observed.containers {
        for instance in observed.instances(&container.name).rev().skip(2) {
            if matches!(instance.state, ContainerState::Exited { .. }) {
                plan.actions.push(Action::RemoveInstance { id: instance.id.clone() });
            }
        }
    }
}

/// Time from now to the plan's wake-up.
pub(crate) fn delay(plan: &Plan, now: Timestamp) -> Option<Duration> {
    plan.wake.map(|at| between(now, at).max(Duration::from_millis(1)))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
