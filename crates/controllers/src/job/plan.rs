//! The decision: which pods a Job starts, stops and counts. Pure.
//!
//! Counting has three moments, each safe to repeat: an outcome is noted by pod uid in `status.uncountedTerminatedPods`;
//! then the pod's finalizer goes; when that is seen, the uid leaves the list and the counter grows, in one write.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition, JobStatus},
    core::v1::Pod,
};
use kube::{ResourceExt, runtime::events::EventType};

use crate::pod;

pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub(super) const MANAGED_BY: &str = "kubernetes.io/job-controller";

/// Delay after the first failure; it doubles with each up to [`BACKOFF_MAX`], as in Kubernetes.
const BACKOFF_MIN: i64 = 10;
const BACKOFF_MAX: i64 = 600;
/// No status grows beyond this number of pods that are being counted; the rest waits for the next pass.
const MAX_UNCOUNTED: usize = 500;

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) job: &'a Job,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

/// One write.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Create {
        index: Option<i32>,
    },
    Delete(Arc<Pod>),
    /// Removes the tracking finalizer.
    Release(Arc<Pod>),
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) status: JobStatus,
    pub(super) events: Vec<(EventType, &'static str, String)>,
    pub(super) next: Option<Duration>,
    /// `ttlSecondsAfterFinished` has passed: the Job goes.
    pub(super) expired: bool,
}

/// A field that asks for something this controller does not do.
pub(super) fn unsupported(job: &Job) -> Option<&'static str> {
    let spec = job.spec.as_ref()?;
    let fields = [
        (spec.pod_failure_policy.is_some(), "podFailurePolicy"),
        (spec.backoff_limit_per_index.is_some(), "backoffLimitPerIndex"),
        (spec.success_policy.is_some(), "successPolicy"),
    ];
    fields.into_iter().find(|(used, _)| *used).map(|(_, field)| field)
}

fn tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

fn index_of(pod: &Pod) -> Option<i32> {
    let annotation = pod.annotations().get(INDEX).or_else(|| pod.labels().get(INDEX));
    annotation?.parse().ok()
}

fn succeeded(pod: &Pod) -> bool {
    pod::phase(pod) == "Succeeded"
}

/// A pod that is being deleted counts as failed unless it has succeeded.
fn failed(pod: &Pod) -> bool {
    pod::phase(pod) == "Failed" || (pod::is_terminating(pod) && !succeeded(pod))
}

pub(super) fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// When the Job ended, if it has.
pub(super) fn finished_at(job: &Job) -> Option<Timestamp> {
    let status = job.status.as_ref()?;
    let condition = condition(status, "Complete").or_else(|| condition(status, "Failed"))?;
    condition.last_transition_time.as_ref().map(|time| time.0)
}

/// Reads `0,2-4` into a set; what is not a number is ignored.
fn indexes(text: &str) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>())
            && i64::from(last) - i64::from(first) <= 1_000_000
        {
            all.extend(first..=last);
        }
    }
    all
}

/// Writes a set as `0,2-4` (two neighbours as `2,3`, as Kubernetes does).
fn compress(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for &index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    let run = |(first, last): (i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.into_iter().map(run).collect::<Vec<_>>().join(",")
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let Observed { job, pods, now } = *observed;
    let spec = job.spec.clone().unwrap_or_default();
    let mut plan = Plan { status: job.status.clone().unwrap_or_default(), ..Plan::default() };
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");

    if let Some(end) = finished_at(job) {
        // Whatever still carries our finalizer was counted before the end was written.
        plan.steps.extend(pods.iter().filter(|pod| tracked(pod)).cloned().map(Step::Release));
        if let Some(seconds) = spec.ttl_seconds_after_finished {
            plan.next = pod::remaining(end, i64::from(seconds), now);
            plan.expired = plan.next.is_none();
        }
        return plan;
    }
    count(&mut plan, pods, indexed, spec.completions);
    let uncounted = plan.status.uncounted_terminated_pods.clone().unwrap_or_default();
    let total = |counted: Option<i32>, pending: &Option<Vec<String>>| {
        counted.unwrap_or(0).saturating_add(i32::try_from(pending.as_ref().map_or(0, Vec::len)).unwrap_or(i32::MAX))
    };
    let completed = indexes(plan.status.completed_indexes.as_deref().unwrap_or_default());
    let done = match indexed {
        true => i32::try_from(completed.len()).unwrap_or(i32::MAX),
        false => total(plan.status.succeeded, &uncounted.succeeded),
    };
    let failures = total(plan.status.failed, &uncounted.failed);

    let active: Vec<_> = pods.iter().filter(|pod| pod::is_active(pod)).collect();
    let suspended = spec.suspend.unwrap_or(false);
    suspend(&mut plan, suspended, job, now);
    if plan.status.start_time.is_none() && !suspended {
        plan.status.start_time = Some(pod::time(now));
    }

    let mut verdict = condition(&plan.status, "FailureTarget")
        .map(|target| (target.reason.clone().unwrap_or_default(), target.message.clone().unwrap_or_default()));
    let deadline_left = spec
        .active_deadline_seconds
        .zip(plan.status.start_time.as_ref())
        .map(|(seconds, start)| pod::remaining(start.0, seconds, now));
    let limit = spec.backoff_limit.unwrap_or(6);
    if verdict.is_none() {
        if failures > limit || restarts_exceed(&spec.template, &active, limit) {
            verdict = Some(("BackoffLimitExceeded".into(), "Job has reached the specified backoff limit".into()));
        } else if deadline_left == Some(None) && !suspended {
            verdict = Some(("DeadlineExceeded".into(), "Job was active longer than specified deadline".into()));
        }
    }
    let complete = match spec.completions {
        Some(wanted) => done >= wanted,
        None => done > 0 && active.is_empty(),
    };

    let terminating = pods.iter().filter(|pod| pod::is_terminating(pod) && !pod::is_terminal(pod)).count();
    let counted =
        uncounted.failed.as_ref().is_none_or(Vec::is_empty) && uncounted.succeeded.as_ref().is_none_or(Vec::is_empty);
    let mut live = active.len();
    if let Some((reason, message)) = verdict {
        set(&mut plan.status, "FailureTarget", "True", &reason, &message, now);
        plan.steps.extend(active.iter().map(|pod| Step::Delete((*pod).clone())));
        live = 0;
        if active.is_empty() && terminating == 0 && counted {
            set(&mut plan.status, "Failed", "True", &reason, &message, now);
            plan.events.push((EventType::Warning, "Failed", message));
            finish(&mut plan, &spec.ttl_seconds_after_finished);
        }
    } else if complete {
        let message = "Reached expected number of succeeded pods";
        set(&mut plan.status, "SuccessCriteriaMet", "True", "CompletionsReached", message, now);
        plan.steps.extend(active.iter().map(|pod| Step::Delete((*pod).clone())));
        live = 0;
        if active.is_empty() && terminating == 0 && counted {
            set(&mut plan.status, "Complete", "True", "CompletionsReached", message, now);
            plan.status.completion_time = Some(pod::time(now));
            plan.events.push((EventType::Normal, "Completed", "Job completed".to_owned()));
            finish(&mut plan, &spec.ttl_seconds_after_finished);
        }
    } else if suspended {
        plan.steps.extend(active.iter().map(|pod| Step::Delete((*pod).clone())));
        live = 0;
    } else if job.metadata.deletion_timestamp.is_none() {
        let room = spec.parallelism.unwrap_or(1).max(0);
        let wanted = match spec.completions {
            Some(completions) => room.min((completions - done).max(0)),
            // A work queue: once one has succeeded no more start.
            None if done > 0 => i32::try_from(active.len()).unwrap_or(i32::MAX).min(room),
            None => room,
        };
        let wanted = usize::try_from(wanted).unwrap_or(0);
        let replacement = spec.pod_replacement_policy.as_deref() == Some("Failed");
        let occupied = active.len() + if replacement { terminating } else { 0 };
        if active.len() > wanted {
            let mut excess = active.clone();
            excess.sort_by(|a, b| pod::deletion_order(a, b));
            excess.truncate(active.len() - wanted);
            plan.steps.extend(excess.iter().map(|pod| Step::Delete((*pod).clone())));
            live = wanted;
        } else if occupied < wanted {
            match backoff(pods, now) {
                Some(delay) => plan.next = Some(delay),
                None => {
                    let missing = wanted - occupied;
                    let free = free_indexes(indexed, spec.completions, &completed, &active, missing);
                    live += free.len();
                    plan.steps.extend(free.into_iter().map(|index| Step::Create { index }));
                }
            }
        }
    }
    if let Some(Some(left)) = deadline_left {
        let left = left + Duration::from_millis(10);
        plan.next = Some(plan.next.map_or(left, |next| next.min(left)));
    }
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    plan.status.active = Some(number(live)).filter(|count| *count > 0);
    plan.status.terminating =
        Some(number(pods.iter().filter(|pod| pod::is_terminating(pod) && !pod::is_terminal(pod)).count()));
    plan.status.ready = Some(number(active.iter().filter(|pod| pod::is_ready(pod)).count()));
    plan
}

/// The end is written: an expiry must be looked at when it comes.
fn finish(plan: &mut Plan, ttl: &Option<i32>) {
    plan.next = ttl.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) + Duration::from_secs(1));
}

/// Notes outcomes, lets counted pods go, and moves to the counters what is gone.
fn count(plan: &mut Plan, pods: &[Arc<Pod>], indexed: bool, completions: Option<i32>) {
    let mut uncounted = plan.status.uncounted_terminated_pods.take().unwrap_or_default();
    let by_uid: HashMap<String, &Arc<Pod>> =
        pods.iter().filter_map(|pod| Some((pod.metadata.uid.clone()?, pod))).collect();
    // Third moment: the finalizer is gone (or the whole pod), so nobody will note this outcome again.
    let settle = |list: &mut Option<Vec<String>>| -> i32 {
        let Some(list) = list else { return 0 };
        let before = list.len();
        list.retain(|uid| by_uid.get(uid).is_some_and(|pod| tracked(pod)));
        i32::try_from(before - list.len()).unwrap_or(0)
    };
    let (more_succeeded, more_failed) = (settle(&mut uncounted.succeeded), settle(&mut uncounted.failed));
    let add = |counter: &mut Option<i32>, more: i32| {
        if more > 0 {
            *counter = Some(counter.unwrap_or(0).saturating_add(more));
        }
    };
    add(&mut plan.status.succeeded, more_succeeded);
    add(&mut plan.status.failed, more_failed);

    let mut completed = indexes(plan.status.completed_indexes.as_deref().unwrap_or_default());
    for pod in pods.iter().filter(|pod| tracked(pod)) {
        let Some(uid) = &pod.metadata.uid else { continue };
        let noted = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| list.contains(uid));
        let is_noted = noted(&uncounted.succeeded) || noted(&uncounted.failed);
        let size = uncounted.succeeded.as_ref().map_or(0, Vec::len) + uncounted.failed.as_ref().map_or(0, Vec::len);
        if succeeded(pod) && indexed {
            // The index itself is the record; counting twice is impossible.
            if let Some(index) = index_of(pod).filter(|index| completions.is_none_or(|limit| *index < limit)) {
                completed.insert(index);
            }
            plan.steps.push(Step::Release(pod.clone()));
        } else if succeeded(pod) || failed(pod) {
            if !is_noted && size >= MAX_UNCOUNTED {
                continue;
            }
            if !is_noted {
                let list = if succeeded(pod) { &mut uncounted.succeeded } else { &mut uncounted.failed };
                list.get_or_insert_default().push(uid.clone());
            }
            plan.steps.push(Step::Release(pod.clone()));
        }
    }
    if indexed {
        plan.status.succeeded = i32::try_from(completed.len()).ok().filter(|count| *count > 0);
        plan.status.completed_indexes = Some(compress(&completed)).filter(|text| !text.is_empty());
    }
    uncounted.succeeded = uncounted.succeeded.filter(|list| !list.is_empty());
    uncounted.failed = uncounted.failed.filter(|list| !list.is_empty());
    plan.status.uncounted_terminated_pods = Some(uncounted);
}

/// With restartPolicy OnFailure the restarts within the pods are the failures.
fn restarts_exceed(template: &k8s_openapi::api::core::v1::PodTemplateSpec, active: &[&Arc<Pod>], limit: i32) -> bool {
    if template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let restarts: i32 = active
        .iter()
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| status.container_statuses.iter().chain(&status.init_container_statuses).flatten())
        .map(|container| container.restart_count)
        .fold(0, i32::saturating_add);
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// How long the next pod has to wait after failures in a row.
fn backoff(pods: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let ended = |pod: &Pod| {
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let ends = containers.into_iter().flatten().filter_map(|container| {
            container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|time| time.0)
        });
        ends.max().or_else(|| pod.metadata.deletion_timestamp.as_ref().map(|time| time.0)).unwrap_or(now)
    };
    let last_success = pods.iter().filter(|pod| succeeded(pod)).map(|pod| ended(pod)).max();
    let failures: Vec<_> = pods
        .iter()
        .filter(|pod| pod::phase(pod) == "Failed")
        .map(|pod| ended(pod))
        .filter(|end| last_success.is_none_or(|success| *end > success))
        .collect();
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len().saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    pod::remaining(*last, (BACKOFF_MIN << doublings).min(BACKOFF_MAX), now)
}

/// What the next pods are to be: plain, or the lowest indexes that are neither done nor running.
fn free_indexes(
    indexed: bool,
    completions: Option<i32>,
    completed: &BTreeSet<i32>,
    active: &[&Arc<Pod>],
    missing: usize,
) -> Vec<Option<i32>> {
    if !indexed {
        return vec![None; missing.min(500)];
    }
    let running: BTreeSet<_> = active.iter().filter_map(|pod| index_of(pod)).collect();
    (0..completions.unwrap_or(0))
        .filter(|index| !completed.contains(index) && !running.contains(index))
        .take(missing.min(500))
        .map(Some)
        .collect()
}

/// The condition Suspended, and the start time that begins anew when a Job is resumed.
fn suspend(plan: &mut Plan, suspended: bool, job: &Job, now: Timestamp) {
    let was = condition(&plan.status, "Suspended").is_some();
    if suspended && !was {
        set(&mut plan.status, "Suspended", "True", "JobSuspended", "Job suspended", now);
        plan.status.start_time = None;
        plan.events.push((EventType::Normal, "Suspended", "Job suspended".to_owned()));
    } else if !suspended && was {
        set(&mut plan.status, "Suspended", "False", "JobResumed", "Job resumed", now);
        plan.status.start_time = Some(pod::time(now));
        plan.events.push((EventType::Normal, "Resumed", format!("Job {} resumed", job.name_any())));
    }
}

fn set(status: &mut JobStatus, kind: &str, value: &str, reason: &str, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    let time = Some(pod::time(now));
    let condition = JobCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: time.clone(),
        last_transition_time: time,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == kind) {
        Some(place) if place.status == value => {}
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
