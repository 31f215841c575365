//! CronJobs: a Job at each scheduled time.

mod schedule;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt, runtime::events::EventType};
use lotse_client::{Driver, Key, Next};

use self::schedule::Schedule;
use crate::{
    Context, Error, claim,
    context::{Controller, Managed, now},
    pod,
};

const NAME: &str = "cronjob";
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

struct Schedules;

/// What to do now.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// Jobs to delete first (Replace, or beyond the history limits).
    delete: Vec<Arc<Job>>,
    /// The scheduled time to start a Job for.
    start: Option<Timestamp>,
    events: Vec<(bool, &'static str, String)>,
    /// When the next time comes.
    next: Option<Duration>,
}

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (cron_jobs, jobs) = (context.cache::<CronJob>(), context.cache::<Job>());
    cron_jobs.ready().await;
    jobs.ready().await;
    Driver::new(Managed::new(Schedules, &context)).on_kind(&cron_jobs).on_owned::<CronJob, Job>(&jobs).run().await;
}

impl Controller for Schedules {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(cron_job) = context.cache::<CronJob>().get(key) else { return Ok(Next::Done) };
        if cron_job.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let uid = cron_job.uid().unwrap_or_default();
        let jobs = context
            .cache::<Job>()
            .filter(|job| job.metadata.namespace == key.namespace && claim::is_controlled_by(&job.metadata, &uid));
        let plan = match plan(&cron_job, &jobs, now()) {
            Ok(plan) => plan,
            Err((reason, message)) => {
                context.event(NAME, cron_job.as_ref(), EventType::Warning, reason, message).await;
                return Ok(Next::Done);
            }
        };
        for (warning, reason, note) in plan.events {
            let kind = if warning { EventType::Warning } else { EventType::Normal };
            context.event(NAME, cron_job.as_ref(), kind, reason, note).await;
        }
        for job in &plan.delete {
            context.delete(job.as_ref()).await?;
            let note = format!("Deleted job {}", job.name_any());
            context.event(NAME, cron_job.as_ref(), EventType::Normal, "SuccessfulDelete", note).await;
        }
        if let Some(at) = plan.start {
            let job = new_job(&cron_job, at);
            match context.create(NAME, &job).await {
                Ok(_) => {
                    let note = format!("Created job {}", job.name_any());
                    context.event(NAME, cron_job.as_ref(), EventType::Normal, "SuccessfulCreate", note).await;
                }
                // The name contains the time: this one was started before a crash.
                Err(error) if error.is_already_exists() => {}
                Err(error) => {
                    let note = format!("Error creating job: {}", error.user_message());
                    context.event(NAME, cron_job.as_ref(), EventType::Warning, "FailedCreate", note).await;
                    return Err(error);
                }
            }
        }
        let jobs = context
            .cache::<Job>()
            .filter(|job| job.metadata.namespace == key.namespace && claim::is_controlled_by(&job.metadata, &uid));
        let status = status(&cron_job, &jobs, plan.start);
        context.status(NAME, cron_job.as_ref(), cron_job.status.as_ref(), &status).await?;
        Ok(plan.next.map_or(Next::Done, Next::After))
    }
}

fn finished(job: &Job) -> Option<bool> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let holds = |kind: &str| conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True");
    if holds("Complete") { Some(true) } else { holds("Failed").then_some(false) }
}

fn plan(cron_job: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Result<Plan, (&'static str, String)> {
    let spec = &cron_job.spec;
    let mut plan = Plan { delete: history(cron_job, jobs), ..Plan::default() };
    if spec.suspend.unwrap_or(false) {
        return Ok(plan);
    }
    let object = cron_job.name_any();
    let schedule = Schedule::parse(&spec.schedule).map_err(|why| {
        ("UnparseableSchedule", format!("CronJob {object}: spec.schedule {:?}: {why}", spec.schedule))
    })?;
    let zone = match &spec.time_zone {
        Some(name) => TimeZone::get(name).map_err(|_| {
            (
                "UnknownTimeZone",
                format!("CronJob {object}: spec.timeZone {name:?} is not known; use a name like Europe/Berlin"),
            )
        })?,
        None => TimeZone::UTC,
    };
    let created = cron_job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let last = cron_job.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
    let mut earliest = last.unwrap_or(created);
    if let Some(deadline) = spec.starting_deadline_seconds {
        let oldest = now.checked_sub(SignedDuration::from_secs(deadline)).unwrap_or(Timestamp::MIN);
        if oldest > earliest
            && let Some(missed) = schedule.last_in(earliest, oldest, &zone)
            && schedule.last_in(oldest, now, &zone).is_none()
        {
            let note = format!("Missed scheduled time to start a job: {missed}");
            plan.events.push((true, "MissSchedule", note));
        }
        earliest = earliest.max(oldest);
    }
    let from = match &schedule {
        Schedule::Every(_) => last.unwrap_or(created),
        Schedule::Fields(_) => now,
    };
    let next = schedule.last_in(from, now, &zone).unwrap_or(from);
    plan.next = schedule
        .next(next, &zone)
        .and_then(|next| Duration::try_from(next.duration_since(now)).ok())
        .map(|delay| delay + Duration::from_millis(20));
    let Some(due) = schedule.last_in(earliest, now, &zone) else { return Ok(plan) };
    let running: Vec<_> = jobs.iter().filter(|job| finished(job).is_none()).cloned().collect();
    if running.iter().any(|job| job.name_any() == job_name(cron_job, due)) {
        return Ok(plan);
    }
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !running.is_empty() => {
            let note = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events.push((false, "JobAlreadyActive", note.to_owned()));
            return Ok(plan);
        }
        Some("Replace") => plan.delete.extend(running),
        _ => {}
    }
    plan.start = Some(due);
    Ok(plan)
}

/// The oldest finished Jobs beyond the history limits.
fn history(cron_job: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let spec = &cron_job.spec;
    let limits =
        [(true, spec.successful_jobs_history_limit.unwrap_or(3)), (false, spec.failed_jobs_history_limit.unwrap_or(1))];
    let mut excess = Vec::new();
    for (success, limit) in limits {
        let mut done: Vec<_> = jobs.iter().filter(|job| finished(job) == Some(success)).cloned().collect();
        done.sort_by_key(|job| (job.metadata.creation_timestamp.clone(), job.name_any()));
        let count = done.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        excess.extend(done.into_iter().take(count));
    }
    excess
}

/// One name per scheduled minute, so that no time can be started twice.
fn job_name(cron_job: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron_job.name_any(), at.as_second().div_euclid(60))
}

fn new_job(cron_job: &CronJob, at: Timestamp) -> Job {
    let template = cron_job.spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut annotations: BTreeMap<_, _> = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.to_owned(), at.to_string());
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(cron_job, at)),
            namespace: cron_job.namespace(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![claim::controller_reference(cron_job)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

fn status(cron_job: &CronJob, jobs: &[Arc<Job>], started: Option<Timestamp>) -> CronJobStatus {
    let old = cron_job.status.clone().unwrap_or_default();
    let mut active: Vec<ObjectReference> = jobs
        .iter()
        .filter(|job| finished(job).is_none() && job.metadata.deletion_timestamp.is_none())
        .map(|job| ObjectReference { resource_version: None, ..job.object_ref(&()) })
        .collect();
    active.sort_by(|a, b| a.name.cmp(&b.name));
    let succeeded = jobs.iter().filter(|job| finished(job) == Some(true));
    let last_success = succeeded.filter_map(|job| job.status.as_ref()?.completion_time.clone()).max();
    CronJobStatus {
        active: (!active.is_empty()).then_some(active),
        last_schedule_time: started.map(pod::time).max(old.last_schedule_time),
        last_successful_time: last_success.max(old.last_successful_time),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
