//! `status` of a pod: a pure function of what is observed.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use lotse_runtime::ContainerState as RuntimeState;
use serde_json::{Map, Value};

use super::{
    backoff::{after, spell},
    observed::{ID_PREFIX, ImageState, Instance, Observed},
    plan::SHOW_PULL_ERROR,
};
use crate::{
    containers::{Role, resources},
    events::Severity,
};

/// The complete status that the node reports; what other writers own (conditions of other types, resource claims) is kept.
pub(crate) fn status(observed: &Observed<'_>) -> PodStatus {
    let of = |role: &dyn Fn(Role) -> bool| -> Option<Vec<ContainerStatus>> {
        let list: Vec<_> = observed
            .containers
            .iter()
            .filter(|(own, _)| role(*own))
            .map(|(role, container)| container_status(observed, *role, container))
            .collect();
        (!list.is_empty()).then_some(list)
    };
    let init = of(&|role| matches!(role, Role::Init | Role::Sidecar));
    let app = of(&|role| role == Role::App);
    let phase = phase(observed, init.as_deref().unwrap_or_default(), app.as_deref().unwrap_or_default());
    let pod_ip = pod_ip(observed);
    let verdict = observed.memory.verdict.as_ref().filter(|_| phase == "Failed");
    let previous = observed.previous;
    let kept = |field: &Option<String>| field.clone().filter(|_| phase == "Failed" || phase == "Succeeded");
    let conditions =
        conditions(observed, phase, init.as_deref().unwrap_or_default(), app.as_deref().unwrap_or_default());
    PodStatus {
        conditions: Some(conditions),
        container_statuses: app,
        init_container_statuses: init,
        ephemeral_container_statuses: of(&|role| role == Role::Ephemeral),
        host_ip: Some(observed.host_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: observed.host_ip.to_owned() }]),
        phase: Some(phase.to_owned()),
        pod_ips: pod_ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip,
        qos_class: Some(resources::qos_name(resources::qos_class(observed.spec)).to_owned()),
        reason: verdict.map(|verdict| verdict.reason.clone()).or_else(|| kept(&previous.reason)),
        message: verdict.map(|verdict| verdict.message.clone()).or_else(|| kept(&previous.message)),
        start_time: Some(previous.start_time.clone().unwrap_or_else(|| time(observed.now))),
        observed_generation: observed.pod.metadata.generation.or(previous.observed_generation),
        ..previous.clone()
    }
}

/// The containers that wait in a back-off which the previous status does not show yet, with what their Event says.
pub(super) fn new_back_offs(pod: &Pod, previous: &PodStatus, status: &PodStatus) -> Vec<(String, Severity, String)> {
    fn all(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
        let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
        lists.into_iter().flatten().flatten()
    }
    fn reason(status: &ContainerStatus) -> Option<&str> {
        status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
    }
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (namespace, name, uid) = (&pod.metadata.namespace, &pod.metadata.name, &pod.metadata.uid);
    all(status)
        .filter(|now| {
            let shown = |before: &ContainerStatus| {
                before.name == now.name && before.restart_count == now.restart_count && reason(before) == reason(now)
            };
            !all(previous).any(shown)
        })
        .filter_map(|now| {
            let container = now.name.clone();
            match reason(now)? {
                "CrashLoopBackOff" => {
                    let pod = format!("{}_{}({})", text(name), text(namespace), text(uid));
                    let note = format!("Back-off restarting failed container {container} in pod {pod}");
                    Some((container, Severity::Warning, note))
                }
                "ImagePullBackOff" => {
                    Some((container, Severity::Normal, format!("Back-off pulling image \"{}\"", now.image)))
                }
                _ => None,
            }
        })
        .collect()
}

/// The API keeps whole seconds; cutting here makes equal what is equal there.
fn time(timestamp: Timestamp) -> Time {
    Time(Timestamp::from_second(timestamp.as_second()).unwrap_or(timestamp))
}

fn pod_ip(observed: &Observed<'_>) -> Option<String> {
    if observed.spec.host_network == Some(true) {
        return observed.sandbox.map(|_| observed.host_ip.to_owned()).or_else(|| observed.previous.pod_ip.clone());
    }
    let prepared = observed.memory.prepared.as_ref().and_then(|prepared| prepared.pod_ip.clone());
    prepared.or_else(|| observed.previous.pod_ip.clone())
}

fn container_status(observed: &Observed<'_>, role: Role, container: &Container) -> ContainerStatus {
    let instance = observed.instance(&container.name);
    let previous = observed.previous_status(&container.name);
    let mut result = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        ..ContainerStatus::default()
    };
    if let Instance::Running(own) | Instance::Exited(own) = instance {
        result.container_id = Some(format!("{ID_PREFIX}{}", own.id));
        result.image_id = observed.digests.get(&own.image).unwrap_or(&own.image).clone();
        result.restart_count = i32::try_from(own.attempt).unwrap_or(i32::MAX);
    } else if let Some(previous) = previous {
        result.container_id.clone_from(&previous.container_id);
        result.image_id.clone_from(&previous.image_id);
        result.restart_count = previous.restart_count;
    }
    let mut state = ContainerState::default();
    match instance {
        Instance::Running(own) => {
            if let RuntimeState::Running { started, .. } = own.state {
                state.running = Some(ContainerStateRunning { started_at: Some(time(started)) });
            }
            let health = observed.health(&own.id);
            result.started = Some(health.is_some_and(|health| health.started));
            let ready = health.is_some_and(|health| health.started && health.ready);
            result.ready = ready && matches!(role, Role::App | Role::Sidecar);
            result.last_state = last_state(observed, container, &own.id);
        }
        Instance::Exited(own) => {
            let terminated = terminated(observed, own);
            result.started = Some(false);
            result.ready = role == Role::Init && terminated.exit_code == 0;
            match waiting_to_restart(observed, role, container) {
                Some(waiting) => {
                    state.waiting = Some(waiting);
                    result.last_state = Some(ContainerState { terminated: Some(terminated), ..Default::default() });
                }
                None => {
                    state.terminated = Some(terminated);
                    result.last_state = last_state(observed, container, &own.id);
                }
            }
        }
        Instance::Past(past) => {
            let lost = past_state(past, observed);
            result.started = Some(false);
            let over = observed.terminating() || observed.memory.verdict.is_some();
            if over || !observed.wants_to_run(role, container) {
                result.ready = role == Role::Init && lost.exit_code == 0;
                result.last_state.clone_from(&past.last_state);
                state.terminated = Some(lost);
            } else {
                state.waiting = Some(waiting(observed, role, container));
                result.last_state = Some(ContainerState { terminated: Some(lost), ..Default::default() });
            }
        }
        Instance::None => {
            result.started = Some(false);
            state.waiting = Some(waiting(observed, role, container));
        }
    }
    result.state = Some(state);
    result
}

/// How a container that the runtime no longer knows has ended.
fn past_state(past: &ContainerStatus, observed: &Observed<'_>) -> ContainerStateTerminated {
    let state = past.state.as_ref();
    let last = past.last_state.as_ref().and_then(|last| last.terminated.clone());
    if let Some(terminated) = state.and_then(|state| state.terminated.clone()) {
        return terminated;
    }
    match (state.and_then(|state| state.running.as_ref()), last) {
        (None, Some(terminated)) => terminated,
        (running, _) => ContainerStateTerminated {
            container_id: past.container_id.clone(),
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container could not be located when the pod was restarted".into()),
            started_at: running.and_then(|running| running.started_at.clone()),
            finished_at: Some(time(observed.now)),
            signal: None,
        },
    }
}

/// The end of the instance before `id`.
fn last_state(observed: &Observed<'_>, container: &Container, id: &str) -> Option<ContainerState> {
    let of = |terminated| Some(ContainerState { terminated: Some(terminated), ..Default::default() });
    let mut older = observed.instances(&container.name).rev().skip_while(|instance| instance.id != id).skip(1);
    if let Some(older) = older.next().filter(|older| matches!(older.state, RuntimeState::Exited { .. })) {
        return of(terminated(observed, older));
    }
    let previous = observed.previous_status(&container.name)?;
    let same = previous.container_id.as_deref().and_then(|own| own.strip_prefix(ID_PREFIX)) == Some(id);
    match same {
        true => previous.last_state.clone(),
        false if previous.container_id.is_some() => of(past_state(previous, observed)),
        false => None,
    }
}

fn terminated(observed: &Observed<'_>, instance: &lotse_runtime::ContainerStatus) -> ContainerStateTerminated {
    let mut result = ContainerStateTerminated {
        container_id: Some(format!("{ID_PREFIX}{}", instance.id)),
        message: observed.memory.last_words.get(&instance.id).filter(|words| !words.is_empty()).cloned(),
        ..ContainerStateTerminated::default()
    };
    if let RuntimeState::Exited { code, signal, out_of_memory, started, finished } = instance.state {
        result.exit_code = code;
        result.signal = signal;
        result.started_at = Some(time(started));
        result.finished_at = Some(time(finished));
        let reason = if out_of_memory {
            "OOMKilled"
        } else if code == 0 {
            "Completed"
        } else {
            "Error"
        };
        result.reason = Some(reason.into());
    }
    result
}

/// Why a container that has ended and will be started again is not yet; `None` when it is about to be.
fn waiting_to_restart(observed: &Observed<'_>, role: Role, container: &Container) -> Option<ContainerStateWaiting> {
    let over = observed.terminating() || observed.memory.verdict.is_some();
    if over || !observed.wants_to_run(role, container) || observed.apps_are_done() {
        return None;
    }
    if let Some((at, delay)) = observed.restart_at(&container.name)
        && at > observed.now
    {
        let meta = &observed.pod.metadata;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        return Some(ContainerStateWaiting {
            reason: Some("CrashLoopBackOff".into()),
            message: Some(format!(
                "back-off {} restarting failed container={} pod={}_{}({})",
                spell(delay),
                container.name,
                text(&meta.name),
                text(&meta.namespace),
                text(&meta.uid)
            )),
        });
    }
    own_trouble(observed, container)
}

/// What keeps this container itself from starting.
fn own_trouble(observed: &Observed<'_>, container: &Container) -> Option<ContainerStateWaiting> {
    if let Some(failure) = observed.failure(&container.name) {
        return Some(ContainerStateWaiting {
            reason: Some(failure.reason.into()),
            message: Some(failure.message.clone()),
        });
    }
    match observed.memory.images.get(&container.name) {
        Some(ImageState::Failed { reason, message, at, .. }) => {
            let fresh = after(*at, SHOW_PULL_ERROR) > observed.now || *reason != "ErrImagePull";
            let image = container.image.as_deref().unwrap_or_default();
            Some(if fresh {
                ContainerStateWaiting { reason: Some((*reason).into()), message: Some(message.clone()) }
            } else {
                ContainerStateWaiting {
                    reason: Some("ImagePullBackOff".into()),
                    message: Some(format!("Back-off pulling image \"{image}\": ErrImagePull: {message}")),
                }
            })
        }
        _ => None,
    }
}

fn waiting(observed: &Observed<'_>, role: Role, container: &Container) -> ContainerStateWaiting {
    if let Some(trouble) = own_trouble(observed, container) {
        return trouble;
    }
    let failure = observed.memory.prepare_failure.as_ref().filter(|failure| observed.holds(failure));
    let message = failure.map(|failure| failure.message.clone());
    let has_init = observed.containers.iter().any(|(role, _)| matches!(role, Role::Init | Role::Sidecar));
    let first = observed.containers.first().is_some_and(|(_, first)| first.name == container.name);
    let initializing = has_init && !first && role != Role::Ephemeral && !observed.apps_have_started();
    let reason = if initializing { "PodInitializing" } else { "ContainerCreating" };
    ContainerStateWaiting { reason: Some(reason.into()), message }
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// Kubernetes' `getPhase` (`k8s.io/kubernetes/pkg/kubelet/kubelet_pods.go`).
fn phase(observed: &Observed<'_>, init: &[ContainerStatus], app: &[ContainerStatus]) -> &'static str {
    match observed.previous.phase.as_deref() {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    let running = init.iter().chain(app).any(is_running);
    let over = observed.terminating() || observed.memory.verdict.is_some();
    if over && !running {
        let code = |status: &ContainerStatus| {
            status.state.as_ref().and_then(|state| state.terminated.as_ref()).map(|terminated| terminated.exit_code)
        };
        let good = observed.memory.verdict.is_none() && app.iter().all(|status| code(status) == Some(0));
        return if good { "Succeeded" } else { "Failed" };
    }
    if observed.init_has_failed() {
        return if running { "Pending" } else { "Failed" };
    }
    if !initialized(observed, init) && !observed.apps_have_started() && !observed.apps_are_done() {
        return "Pending";
    }
    let (mut waiting, mut stopped, mut succeeded) = (0, 0, 0);
    for status in app {
        let Some(state) = &status.state else { continue };
        if let Some(terminated) = &state.terminated {
            stopped += 1;
            succeeded += usize::from(terminated.exit_code == 0);
        } else if state.waiting.is_some() {
            let restarts = status.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
            if restarts { stopped += 1 } else { waiting += 1 }
        }
    }
    if waiting > 0 {
        "Pending"
    } else if running || !observed.apps_are_done() {
        "Running"
    } else if stopped == succeeded {
        "Succeeded"
    } else {
        "Failed"
    }
}

/// Whether every init container is done and every sidecar started.
fn initialized(observed: &Observed<'_>, init: &[ContainerStatus]) -> bool {
    let roles = observed.containers.iter().filter(|(role, _)| matches!(role, Role::Init | Role::Sidecar));
    roles.zip(init).all(|((role, _), status)| match role {
        Role::Sidecar => status.started == Some(true),
        _ => status.ready,
    })
}

fn conditions(
    observed: &Observed<'_>,
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> Vec<PodCondition> {
    let completed = phase == "Succeeded";
    let names = |list: Vec<&str>| list.join(" ");
    let init_done = completed || initialized(observed, init) || observed.apps_have_started();
    let incomplete = || {
        let names = names(init.iter().filter(|one| !one.ready).map(|one| one.name.as_str()).collect());
        format!("containers with incomplete status: [{names}]")
    };
    let sidecars = observed.of_role(Role::Sidecar).map(|sidecar| sidecar.name.as_str());
    let sidecars: Vec<&str> = sidecars.collect();
    let serving = || init.iter().filter(|one| sidecars.contains(&one.name.as_str())).chain(app);
    let unready: Vec<&str> = serving().filter(|one| !one.ready).map(|one| one.name.as_str()).collect();
    let trouble: Option<(&str, Option<String>)> = if completed {
        Some(("PodCompleted", None))
    } else if phase == "Failed" {
        Some(("PodFailed", None))
    } else if !unready.is_empty() {
        Some(("ContainersNotReady", Some(format!("containers with unready status: [{}]", names(unready)))))
    } else {
        None
    };
    let previous = observed.previous;
    // A restarted daemon has not looked at the network yet; a sandbox that lives has kept it.
    let was_ready_to_start = || {
        let mut all = previous.conditions.iter().flatten();
        all.any(|condition| condition.type_ == "PodReadyToStartContainers" && condition.status == "True")
    };
    let ready_to_start = observed.sandbox.is_some_and(|sandbox| sandbox.alive)
        && (observed.memory.prepared.is_some() || was_ready_to_start());
    let gates = observed.spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.as_str());
    let closed: Vec<&str> = gates
        .filter(|gate| {
            let mut all = previous.conditions.iter().flatten();
            !all.any(|condition| condition.type_ == *gate && condition.status == "True")
        })
        .collect();
    let ready = if observed.terminating() && trouble.is_none() {
        Some(("PodTerminating", Some("the pod is being deleted".to_owned())))
    } else if trouble.is_none() && !closed.is_empty() {
        let message =
            format!("corresponding condition of pod readiness gate \"{}\" does not exist", closed.join("\" \""));
        Some(("ReadinessGatesNotReady", Some(message)))
    } else {
        trouble.clone()
    };
    let initialized = match (init_done, completed) {
        (true, true) => (true, Some(("PodCompleted", None))),
        (true, false) => (true, None),
        (false, _) => (false, Some(("ContainersNotInitialized", Some(incomplete())))),
    };
    let own = [
        ("PodReadyToStartContainers", ready_to_start, None),
        ("Initialized", initialized.0, initialized.1),
        ("Ready", ready.is_none(), ready),
        ("ContainersReady", trouble.is_none(), trouble),
        ("PodScheduled", true, None),
    ];
    let mut result: Vec<PodCondition> = own
        .into_iter()
        .map(|(kind, good, reason)| {
            let old = previous.conditions.iter().flatten().find(|condition| condition.type_ == kind);
            condition(observed, kind, good, reason, old)
        })
        .collect();
    let foreign = previous.conditions.iter().flatten().filter(|one| own_types().all(|own| own != one.type_));
    result.extend(foreign.cloned());
    result
}

fn own_types() -> impl Iterator<Item = &'static str> {
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"].into_iter()
}

fn condition(
    observed: &Observed<'_>,
    kind: &str,
    good: bool,
    reason: Option<(&str, Option<String>)>,
    old: Option<&PodCondition>,
) -> PodCondition {
    let status = if good { "True" } else { "False" };
    let (reason, message) = reason.map_or((None, None), |(reason, message)| (Some(reason.to_owned()), message));
    let since = old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: Some(since.unwrap_or_else(|| time(observed.now))),
        last_probe_time: None,
        observed_generation: old.and_then(|old| old.observed_generation),
    }
}

/// The merge patch (RFC 7386) that turns `old` into `new`; `None` when they are equal.
pub(crate) fn patch(old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let object = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (old, new) = (object(old), object(new));
    let mut changes = Map::new();
    for (key, value) in &new {
        if old.get(key) != Some(value) {
            changes.insert(key.clone(), value.clone());
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        changes.insert(key.clone(), Value::Null);
    }
    (!changes.is_empty()).then_some(Value::Object(changes))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
