//! Job and CronJob.

use jiff::Timestamp;
use serde_json::Value;

use super::{NONE, age, column, field, field_or, name, text, workloads};
use crate::{Column, ColumnType, age as ages, json::View};

pub(crate) fn job() -> Vec<Column> {
    let mut columns = vec![
        name(),
        text("Status", "State of the Job.", status),
        text("Completions", "Pods that succeeded, of those that shall.", completions),
        column("Duration", ColumnType::String, "Time that the Job took, or takes so far.", duration),
        age(),
    ];
    columns.extend(workloads::wide());
    columns
}

fn has_condition(job: &Value, kind: &str) -> bool {
    let conditions = job.at("status").map_or(&[][..], |status| status.items("conditions"));
    conditions.iter().any(|condition| condition.text("type") == Some(kind) && condition.text("status") == Some("True"))
}

fn status(job: &Value) -> &'static str {
    match () {
        () if has_condition(job, "Complete") => "Complete",
        () if has_condition(job, "Failed") => "Failed",
        () if job.path(&["metadata", "deletionTimestamp"]).is_some() => "Terminating",
        () if has_condition(job, "Suspended") => "Suspended",
        () if has_condition(job, "FailureTarget") => "FailureTarget",
        () if has_condition(job, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(job: &Value) -> String {
    let succeeded = job.path(&["status", "succeeded"]).and_then(Value::as_i64).unwrap_or(0);
    let spec = job.at("spec").unwrap_or(&Value::Null);
    match (spec.int("completions"), spec.int("parallelism").unwrap_or(0)) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(job: &Value, now: Timestamp) -> Value {
    let time =
        |key: &str| job.path(&["status", key]).and_then(Value::as_str).and_then(|time| time.parse::<Timestamp>().ok());
    match (time("startTime"), time("completionTime").unwrap_or(now)) {
        (None, _) => "".into(),
        (Some(start), end) => ages::human_duration(end.as_second().saturating_sub(start.as_second())).into(),
    }
}

pub(crate) fn cron_job() -> Vec<Column> {
    let template = |object: &Value| object.path(&["spec", "jobTemplate", "spec", "template"]).cloned();
    vec![
        name(),
        field("Schedule", "When Jobs are made, as in cron.", "/spec/schedule"),
        field_or("Timezone", "Time zone of the schedule.", "/spec/timeZone", NONE),
        column("Suspend", ColumnType::Boolean, "Whether no Jobs are made.", |object, _| {
            let suspended = object.path(&["spec", "suspend"]).and_then(Value::as_bool).unwrap_or(false);
            // As text, and capitalised, as Go's printer has it.
            if suspended { "True" } else { "False" }.into()
        }),
        column("Active", ColumnType::Integer, "Jobs at work.", |object, _| {
            object.at("status").map_or(0, |status| status.items("active").len()).into()
        }),
        column("Last Schedule", ColumnType::String, "Time since a Job was made.", |object, now| {
            match object.path(&["status", "lastScheduleTime"]) {
                None => NONE.into(),
                time => ages::since(time, now).into(),
            }
        }),
        age(),
        column("Containers", ColumnType::String, "Names of the containers.", move |object, _| {
            workloads::containers(template(object).as_ref()).into()
        })
        .wide(),
        column("Images", ColumnType::String, "Images of the containers.", move |object, _| {
            workloads::images(template(object).as_ref()).into()
        })
        .wide(),
        text("Selector", "Which pods belong to the object.", |object: &Value| {
            workloads::selector(object.path(&["spec", "jobTemplate", "spec", "selector"]))
        })
        .wide(),
    ]
}
