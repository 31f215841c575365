#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;

fn cron(spec: Value, last: Option<&str>) -> CronJob {
    let mut all = json!({"schedule": "*/10 * * * *", "jobTemplate": {"spec": {"template": {}}}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": {"name": "c", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": all,
        "status": {"lastScheduleTime": last},
    }))
    .unwrap()
}

fn job(name: &str, condition: Option<&str>, created: &str) -> Arc<Job> {
    let conditions: Vec<_> = condition.map(|kind| json!({"type": kind, "status": "True"})).into_iter().collect();
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": created}, "status": {"conditions": conditions},
        }))
        .unwrap(),
    )
}

#[test]
fn a_job_starts_once_per_scheduled_time() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let running = [job("r", None, "2026-01-01T00:10:00Z")];
    let table = [
        (json!({}), None, "2026-01-01T00:09:00Z", false, None),
        (json!({}), None, "2026-01-01T00:10:01Z", false, Some("2026-01-01T00:10:00Z")),
        (json!({}), Some("2026-01-01T00:10:00Z"), "2026-01-01T00:10:01Z", false, None),
        // Of several missed times only the last is made up for.
        (json!({}), Some("2026-01-01T00:10:00Z"), "2026-01-01T05:05:00Z", false, Some("2026-01-01T05:00:00Z")),
        (json!({"suspend": true}), None, "2026-01-01T00:10:01Z", false, None),
        (json!({"startingDeadlineSeconds": 60}), None, "2026-01-01T00:15:00Z", false, None),
        (json!({"startingDeadlineSeconds": 60}), None, "2026-01-01T00:10:30Z", false, Some("2026-01-01T00:10:00Z")),
        (json!({"concurrencyPolicy": "Forbid"}), None, "2026-01-01T00:20:00Z", true, None),
        (json!({"concurrencyPolicy": "Allow"}), None, "2026-01-01T00:20:00Z", true, Some("2026-01-01T00:20:00Z")),
        (json!({"concurrencyPolicy": "Replace"}), None, "2026-01-01T00:20:00Z", true, Some("2026-01-01T00:20:00Z")),
        (
            json!({"timeZone": "Asia/Kolkata", "schedule": "0 6 * * *"}),
            None,
            "2026-01-01T00:31:00Z",
            false,
            Some("2026-01-01T00:30:00Z"),
        ),
    ];
    for (spec, last, now, busy, expected) in table {
        let jobs = if busy { &running[..] } else { &[] };
        let plan = plan(&cron(spec.clone(), last), jobs, at(now)).unwrap();
        assert_eq!(plan.start, expected.map(at), "{spec} at {now}");
        let replaced = spec["concurrencyPolicy"] == "Replace";
        assert_eq!(plan.delete.len(), usize::from(replaced), "{spec}");
        assert_eq!(plan.next.is_some(), spec["suspend"] != true, "{spec}");
    }
}

#[test]
fn wrong_fields_are_named() {
    let now = Timestamp::now();
    let (reason, message) = plan(&cron(json!({"schedule": "often"}), None), &[], now).unwrap_err();
    assert_eq!(reason, "UnparseableSchedule");
    assert!(message.contains("spec.schedule"), "{message}");
    assert_eq!(plan(&cron(json!({"timeZone": "Moon/Base"}), None), &[], now).unwrap_err().0, "UnknownTimeZone");
}

#[test]
fn only_the_limits_of_finished_jobs_are_kept() {
    let day = |day: u8| format!("2026-01-{day:02}T00:00:00Z");
    let jobs: Vec<_> = (1..=5)
        .map(|number| job(&format!("ok-{number}"), Some("Complete"), &day(number)))
        .chain((1..=2).map(|number| job(&format!("bad-{number}"), Some("Failed"), &day(number))))
        .collect();
    let names: Vec<_> = history(&cron(json!({}), None), &jobs).iter().map(|job| job.name_any()).collect();
    assert_eq!(names, ["ok-1", "ok-2", "bad-1"]);
}
