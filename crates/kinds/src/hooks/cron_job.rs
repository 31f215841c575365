//! CronJob.

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::{job, metadata, pod_defaults};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View},
};

const SPEC: Path<'_> = Path::new("spec");
/// 63 less the eleven characters that the controller appends to the names of its Jobs.
const NAME_LIMIT: usize = 52;

pub(crate) fn default(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    spec.set_default("concurrencyPolicy", "Allow");
    spec.set_default("suspend", false);
    spec.set_default("successfulJobsHistoryLimit", 3);
    spec.set_default("failedJobsHistoryLimit", 1);
    if let Some(template) = spec.path_mut(&["jobTemplate", "spec", "template"]) {
        pod_defaults::default_template(template);
    }
}

pub(crate) fn validate(strategy: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    metadata::name_at_most(new, NAME_LIMIT, &mut findings);
    let Some(spec) = new.at("spec") else {
        findings.required(&SPEC, "");
        return findings.0;
    };
    match spec.filled("schedule") {
        None => findings.required(&SPEC.field("schedule"), ""),
        Some(schedule) => {
            if let Err(detail) = check_schedule(schedule) {
                findings.invalid_text(&SPEC.field("schedule"), schedule, detail);
            }
        }
    }
    findings.one_of(
        &SPEC.field("concurrencyPolicy"),
        spec.filled("concurrencyPolicy"),
        &["Allow", "Forbid", "Replace"],
    );
    for key in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        findings.non_negative(&SPEC.field(key), spec.int(key));
    }
    if let Some(zone) = spec.text("timeZone")
        && (zone.is_empty() || zone == "Local" || jiff::tz::TimeZone::get(zone).is_err())
    {
        findings.invalid_text(&SPEC.field("timeZone"), zone, format_args!("unknown time zone {zone}"));
    }
    let template = SPEC.field("jobTemplate");
    match spec.path(&["jobTemplate", "spec"]) {
        None => findings.required(&template.field("spec"), ""),
        Some(job) => {
            job::validate_spec(&template.field("spec"), job, &mut findings);
            if job.flag("manualSelector") {
                let spec = template.field("spec");
                findings.not_supported(&spec.field("manualSelector"), "true", &["nil", "false"]);
            }
        }
    }
    findings.0
}

/// Five fields (minute, hour, day of month, month, day of week), or `@hourly` and the like, or `@every` with a duration.
fn check_schedule(schedule: &str) -> Result<(), String> {
    if schedule.contains("TZ") {
        return Err("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
    }
    if let Some(duration) = schedule.strip_prefix("@every ") {
        return if duration.ends_with(['s', 'm', 'h']) && duration.starts_with(|c: char| c.is_ascii_digit()) {
            Ok(())
        } else {
            Err(format!("{duration:?} is not a duration"))
        };
    }
    if let Some(name) = schedule.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"].contains(&name);
        return if known { Ok(()) } else { Err(format!("unrecognized descriptor: @{name}")) };
    }
    let months = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    let days = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let fields: Vec<_> = schedule.split_whitespace().collect();
    let ranges: [(u32, u32, &[&str], u32); 5] =
        [(0, 59, &[], 0), (0, 23, &[], 0), (1, 31, &[], 0), (1, 12, &months, 1), (0, 7, &days, 0)];
    if fields.len() != ranges.len() {
        return Err(format!("expected exactly 5 fields, found {}: {schedule}", fields.len()));
    }
    fields
        .iter()
        .zip(ranges)
        .try_for_each(|(field, range)| field.split(',').try_for_each(|part| check_part(part, range)))
}

fn check_part(part: &str, (low, high, names, first): (u32, u32, &[&str], u32)) -> Result<(), String> {
    let number = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text)).and_then(|at| u32::try_from(at).ok());
        let value = named
            .map(|at| at + first)
            .or_else(|| text.parse().ok())
            .ok_or_else(|| format!("failed to parse {text:?}"))?;
        if (low..=high).contains(&value) { Ok(value) } else { Err(format!("{value} is not between {low} and {high}")) }
    };
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    if let Some(step) = step
        && step.parse::<u32>().ok().is_none_or(|step| step == 0)
    {
        return Err(format!("step of {part:?} should be a positive number"));
    }
    match range.split_once('-') {
        _ if range == "*" || range == "?" => Ok(()),
        None => number(range).map(drop),
        Some((from, to)) => match (number(from)?, number(to)?) {
            (from, to) if from > to => Err(format!("beginning of range {from} beyond end of range {to}")),
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_those_of_cron() {
        for schedule in ["*/30 * * * *", "0 3 * * 1-5", "@hourly", "@every 5m", "0 0 1 JAN sun", "0,15 8-18/2 * * *"] {
            assert_eq!(check_schedule(schedule), Ok(()), "{schedule}");
        }
        for schedule in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@never",
            "TZ=UTC * * * * *",
            "a * * * *",
        ] {
            assert!(check_schedule(schedule).is_err(), "{schedule}");
        }
    }
}
