#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn job(spec: Value, status: Value) -> Job {
    let mut all = json!({"template": {"spec": {"containers": [], "restartPolicy": "Never"}}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(
        json!({"metadata": {"name": "j", "namespace": "n", "uid": "u"}, "spec": all, "status": status}),
    )
    .unwrap()
}

fn pod(uid: &str, phase: &str, tracked: bool, index: Option<i32>) -> Arc<Pod> {
    let finalizers = if tracked { vec![FINALIZER] } else { vec![] };
    let annotations = index.map(|index| json!({INDEX: index.to_string()})).unwrap_or(json!({}));
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": uid, "uid": uid, "finalizers": finalizers, "annotations": annotations},
            "status": {"phase": phase, "containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}},
            }]},
        }))
        .unwrap(),
    )
}

fn decide(job: &Job, pods: &[Arc<Pod>]) -> Plan {
    plan(&Observed { job, pods, now: NOW.parse().unwrap() })
}

fn text(plan: &Plan) -> Vec<String> {
    let text = |step: &Step| match step {
        Step::Create { index: None } => "create".to_owned(),
        Step::Create { index: Some(index) } => format!("create {index}"),
        Step::Delete(pod) => format!("delete {}", pod.name_any()),
        Step::Release(pod) => format!("release {}", pod.name_any()),
    };
    plan.steps.iter().map(text).collect()
}

fn has(plan: &Plan, kind: &str) -> Option<String> {
    condition(&plan.status, kind).map(|condition| condition.reason.clone().unwrap())
}

#[test]
fn as_many_pods_start_as_are_missing_and_allowed() {
    let table = [
        (json!({}), vec![], 1),
        (json!({"completions": 5, "parallelism": 2}), vec![], 2),
        (json!({"completions": 5, "parallelism": 2}), vec!["a"], 1),
        (json!({"completions": 1, "parallelism": 3}), vec![], 1),
        (json!({"parallelism": 3}), vec![], 3),
    ];
    for (spec, running, expected) in table {
        let pods: Vec<_> = running.iter().map(|name| pod(name, "Running", true, None)).collect();
        let plan = decide(&job(spec.clone(), json!({})), &pods);
        assert_eq!(text(&plan), vec!["create"; expected], "{spec}");
    }
}

#[test]
fn an_outcome_is_counted_exactly_once_however_often_it_is_seen() {
    let mut job = job(json!({"completions": 2, "parallelism": 1}), json!({}));
    let done = pod("a", "Succeeded", true, None);
    // Noted first; the counter stands still.
    for _ in 0..3 {
        let plan = decide(&job, std::slice::from_ref(&done));
        assert_eq!(text(&plan), ["release a", "create"]);
        assert_eq!(plan.status.succeeded, None);
        assert_eq!(plan.status.uncounted_terminated_pods.clone().unwrap().succeeded.unwrap(), ["a"]);
        job.status = Some(plan.status);
    }
    // The finalizer is gone: counted. Whether the pod itself is still there does not matter.
    for pods in [vec![pod("a", "Succeeded", false, None)], vec![]] {
        let mut job = job.clone();
        for _ in 0..3 {
            let plan = decide(&job, &pods);
            assert_eq!(plan.status.succeeded, Some(1));
            assert_eq!(plan.status.uncounted_terminated_pods.clone().unwrap().succeeded, None);
            job.status = Some(plan.status);
        }
    }
}

#[test]
fn a_job_completes_when_enough_pods_are_counted() {
    let spec = json!({"completions": 1});
    let waiting = decide(&job(spec.clone(), json!({})), &[pod("a", "Succeeded", true, None)]);
    assert_eq!(has(&waiting, "SuccessCriteriaMet").as_deref(), Some("CompletionsReached"));
    assert_eq!(has(&waiting, "Complete"), None);
    let mut next = job(spec, json!({}));
    next.status = Some(waiting.status);
    let done = decide(&next, &[pod("a", "Succeeded", false, None)]);
    assert_eq!(has(&done, "Complete").as_deref(), Some("CompletionsReached"));
    assert!(done.status.completion_time.is_some());
    assert_eq!((done.status.succeeded, done.status.active), (Some(1), None));
}

#[test]
fn too_many_failures_stop_the_job_and_its_running_pods() {
    let failed = job(json!({"backoffLimit": 1, "completions": 3, "parallelism": 3}), json!({"failed": 2}));
    let plan = decide(&failed, &[pod("b", "Running", true, None)]);
    assert_eq!(text(&plan), ["delete b"]);
    assert_eq!(has(&plan, "FailureTarget").as_deref(), Some("BackoffLimitExceeded"));
    assert_eq!(has(&plan, "Failed"), None);
    let plan = decide(&failed, &[]);
    assert_eq!(has(&plan, "Failed").as_deref(), Some("BackoffLimitExceeded"));
}

#[test]
fn the_deadline_counts_from_the_start() {
    let late = job(json!({"activeDeadlineSeconds": 60}), json!({"startTime": "2026-01-01T00:58:00Z"}));
    let plan = decide(&late, &[pod("a", "Running", true, None)]);
    assert_eq!(has(&plan, "FailureTarget").as_deref(), Some("DeadlineExceeded"));
    let early = job(json!({"activeDeadlineSeconds": 60}), json!({"startTime": "2026-01-01T00:59:30Z"}));
    let plan = decide(&early, &[pod("a", "Running", true, None)]);
    assert_eq!(has(&plan, "FailureTarget"), None);
    assert!(plan.next.unwrap() <= Duration::from_secs(31));
}

#[test]
fn a_failure_delays_the_next_pod() {
    let mut fresh: Pod = (*pod("a", "Failed", true, None)).clone();
    let end: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time =
        serde_json::from_value(json!("2026-01-01T00:59:55Z")).unwrap();
    fresh.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0]
        .state
        .as_mut()
        .unwrap()
        .terminated
        .as_mut()
        .unwrap()
        .finished_at = Some(end);
    let plan = decide(&job(json!({}), json!({})), &[Arc::new(fresh)]);
    assert_eq!(text(&plan), ["release a"]);
    assert_eq!(plan.next, Some(Duration::from_secs(5)));
    let plan = decide(&job(json!({}), json!({})), &[pod("a", "Failed", true, None)]);
    assert_eq!(text(&plan), ["release a", "create"]);
}

#[test]
fn indexed_jobs_run_each_index_once() {
    let spec = json!({"completions": 4, "parallelism": 4, "completionMode": "Indexed"});
    let pods = [pod("a", "Succeeded", true, Some(1)), pod("b", "Running", true, Some(2))];
    let plan = decide(&job(spec, json!({"completedIndexes": "0"})), &pods);
    assert_eq!(text(&plan), ["release a", "create 3"]);
    assert_eq!(plan.status.completed_indexes.as_deref(), Some("0,1"));
    assert_eq!(plan.status.succeeded, Some(2));
    let table = [("", ""), ("3", "3"), ("0,1", "0,1"), ("0,1,2,5", "0-2,5"), ("0-3,7-9", "0-3,7-9"), ("x,1", "1")];
    for (text, expected) in table {
        assert_eq!(compress(&indexes(text)), expected, "{text}");
    }
}

#[test]
fn suspending_stops_the_pods_and_resuming_starts_the_clock_anew() {
    let running = [pod("a", "Running", true, None)];
    let plan = decide(&job(json!({"suspend": true}), json!({"startTime": "2026-01-01T00:00:00Z"})), &running);
    assert_eq!(text(&plan), ["delete a"]);
    assert_eq!(has(&plan, "Suspended").as_deref(), Some("JobSuspended"));
    assert_eq!(plan.status.start_time, None);
    let mut resumed = job(json!({"suspend": false}), json!({}));
    resumed.status = Some(plan.status);
    let plan = decide(&resumed, &[]);
    assert_eq!(has(&plan, "Suspended"), None);
    assert_eq!(text(&plan), ["create"]);
    assert!(plan.status.start_time.is_some());
}

#[test]
fn a_finished_job_goes_after_its_time_to_live() {
    let status =
        json!({"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:59:00Z"}]});
    assert!(decide(&job(json!({"ttlSecondsAfterFinished": 60}), status.clone()), &[]).expired);
    let later = decide(&job(json!({"ttlSecondsAfterFinished": 90}), status.clone()), &[]);
    assert!(!later.expired);
    assert_eq!(later.next, Some(Duration::from_secs(30)));
    assert!(!decide(&job(json!({}), status), &[]).expired);
}
