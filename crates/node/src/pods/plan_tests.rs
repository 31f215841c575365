#![allow(clippy::unwrap_used, clippy::expect_used)]
use serde_json::json;

use super::*;
use crate::pods::{
    backoff::Backoff,
    observed::{Failure, Verdict},
    scenario::{Scenario, app, at, with_init},
};

/// The plan as short words, and the seconds until it is looked at again.
fn steps(scenario: &Scenario) -> (Vec<String>, Option<i64>) {
    let plan = scenario.observe(plan);
    let words = plan.actions.iter().map(|action| match action {
        Action::Prepare => "prepare".into(),
        Action::RefreshVolumes => "refresh".into(),
        Action::RemoveSandbox => "remove-sandbox".into(),
        Action::EnsureImage { container } => format!("image {container}"),
        Action::Start { container, attempt } => format!("start {container} {attempt}"),
        Action::Stop { id, grace, .. } => format!("stop {id} {}s", grace.as_secs()),
        Action::RemoveInstance { id } => format!("forget {id}"),
        Action::Condemn(verdict) => format!("condemn {}", verdict.reason),
        Action::StopAll { deadline } => format!("stop-all {}", deadline.as_second() - at(0).as_second()),
        Action::Release => "release".into(),
        Action::Finish => "finish".into(),
    });
    (words.collect(), plan.wake.map(|wake| wake.as_second() - at(0).as_second()))
}

fn crashes(count: usize) -> Backoff {
    (0..count).fold(Backoff::default(), |backoff, _| backoff.next(Duration::ZERO))
}

#[test]
fn the_next_steps_follow_from_what_is_observed() {
    let new = |spec| Scenario::new(spec);
    let deleted = |scenario: Scenario, seconds: i64| {
        scenario.with(|own| {
            own.pod.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(seconds)));
        })
    };
    let prepared = |spec| Scenario::new(spec).prepared();
    let deadline = |seconds: i64| {
        let mut spec = app("Always");
        spec["activeDeadlineSeconds"] = json!(seconds);
        Scenario::new(spec).previous(json!({"startTime": at(-10).to_string()})).prepared().running("a", 0)
    };
    let past = json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 2,
        "containerID": "lotse://x", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]});
    let table: Vec<(&str, Scenario, Vec<&str>, Option<i64>)> = vec![
        ("a new pod is prepared while its image is looked for", new(app("Always")), vec!["prepare", "image a"], None),
        ("a prepared pod starts", prepared(app("Always")), vec!["start a 0"], None),
        (
            "without an image nothing starts",
            prepared(app("Always")).with(|own| own.memory.images.clear()),
            vec!["image a"],
            None,
        ),
        (
            "a pull is waited for",
            prepared(app("Always")).with(|own| {
                own.memory.images.insert("a".into(), ImageState::Pulling);
            }),
            vec![],
            None,
        ),
        (
            "a failed pull is first shown, then repeated",
            prepared(app("Always")).with(|own| {
                let state =
                    ImageState::Failed { reason: "ErrImagePull", message: String::new(), at: at(0), until: at(10) };
                own.memory.images.insert("a".into(), state);
            }),
            vec![],
            Some(2),
        ),
        (
            "an old failed pull is repeated",
            prepared(app("Always")).with(|own| {
                let state =
                    ImageState::Failed { reason: "ErrImagePull", message: String::new(), at: at(-20), until: at(-1) };
                own.memory.images.insert("a".into(), state);
            }),
            vec!["image a"],
            None,
        ),
        ("a healthy pod is left alone", prepared(app("Always")).running("a", 0), vec![], None),
        (
            "an adopted pod is prepared again and not restarted",
            prepared(app("Always")).running("a", 0).with(|own| own.memory.prepared = None),
            vec!["prepare"],
            None,
        ),
        (
            "changed objects refresh the volumes",
            prepared(app("Always")).running("a", 0).with(|own| own.memory.prepared.as_mut().unwrap().fingerprint = 2),
            vec!["refresh"],
            None,
        ),
        (
            "a token is renewed in time",
            prepared(app("Always"))
                .running("a", 0)
                .with(|own| own.memory.prepared.as_mut().unwrap().renew_at = Some(at(60))),
            vec![],
            Some(60),
        ),
        ("the first restart does not wait", prepared(app("Always")).exited("a", 0, 1, 0), vec!["start a 1"], None),
        (
            "the second restart waits ten seconds",
            prepared(app("Always")).exited("a", 1, 1, 3).with(|own| {
                own.memory.restart_backoff.insert("a".into(), crashes(1));
            }),
            vec![],
            Some(7),
        ),
        (
            "the third waits twenty",
            prepared(app("Always")).exited("a", 2, 1, 3).with(|own| {
                own.memory.restart_backoff.insert("a".into(), crashes(2));
            }),
            vec![],
            Some(17),
        ),
        (
            "after the wait it starts",
            prepared(app("Always")).exited("a", 1, 1, 10).with(|own| {
                own.memory.restart_backoff.insert("a".into(), crashes(1));
            }),
            vec!["start a 2"],
            None,
        ),
        ("OnFailure restarts failures", prepared(app("OnFailure")).exited("a", 0, 1, 0), vec!["start a 1"], None),
        ("OnFailure lets success be", prepared(app("OnFailure")).exited("a", 0, 0, 0), vec![], None),
        ("Never lets failures be", prepared(app("Never")).exited("a", 0, 1, 0), vec![], None),
        (
            "a failed liveness probe stops the container",
            prepared(app("Always")).running("a", 0).health("a-0", |health| health.failed = Some("x".into())),
            vec!["stop a-0 30s"],
            None,
        ),
        (
            "the probe's own grace period wins",
            prepared(app("Always")).running("a", 0).health("a-0", |health| {
                health.failed = Some("x".into());
                health.grace = Some(Duration::from_secs(3));
            }),
            vec!["stop a-0 3s"],
            None,
        ),
        (
            "it is stopped once",
            prepared(app("Always")).running("a", 0).health("a-0", |health| health.failed = Some("x".into())).with(
                |own| {
                    own.memory.stopping.insert("a-0".into());
                },
            ),
            vec![],
            None,
        ),
        (
            "another image stops the container",
            prepared(app("Always"))
                .running("a", 0)
                .with(|own| own.pod.spec.as_mut().unwrap().containers[0].image = Some("i:2".into())),
            vec!["stop a-0 30s"],
            None,
        ),
        (
            "a failure to start is waited out",
            prepared(app("Always")).with(|own| {
                let failure =
                    Failure { reason: "RunContainerError", message: String::new(), until: at(10), fingerprint: 1 };
                own.memory.failures.insert("a".into(), failure);
            }),
            vec![],
            Some(10),
        ),
        (
            "unless what it refers to has changed",
            prepared(app("Always")).with(|own| {
                let failure = Failure {
                    reason: "CreateContainerConfigError",
                    message: String::new(),
                    until: at(10),
                    fingerprint: 2,
                };
                own.memory.failures.insert("a".into(), failure);
            }),
            vec!["start a 0"],
            None,
        ),
        (
            "old instances are forgotten, the last dead one is kept",
            prepared(app("Always")).exited("a", 0, 1, 60).exited("a", 1, 1, 50).running("a", 2),
            vec!["forget a-0"],
            None,
        ),
        (
            "a dead sandbox is removed first",
            prepared(app("Always")).running("a", 0).with(|own| own.sandbox.as_mut().unwrap().alive = false),
            vec!["remove-sandbox"],
            None,
        ),
        (
            "after a reboot the count goes on",
            new(app("Always")).previous(past.clone()).prepared(),
            vec!["start a 3"],
            None,
        ),
        ("after a reboot Never stays dead", new(app("Never")).previous(past), vec![], None),
        ("the first init container comes first", prepared(with_init("Always")), vec!["start i 0"], None),
        ("then the sidecar", prepared(with_init("Always")).exited("i", 0, 0, 1), vec!["start s 0"], None),
        (
            "which must have started",
            prepared(with_init("Always"))
                .exited("i", 0, 0, 1)
                .running("s", 0)
                .health("s-0", |health| health.started = false),
            vec![],
            None,
        ),
        (
            "then the next init container",
            prepared(with_init("Always")).exited("i", 0, 0, 1).running("s", 0),
            vec!["start j 0"],
            None,
        ),
        (
            "then the app",
            prepared(with_init("Always")).exited("i", 0, 0, 1).running("s", 0).exited("j", 0, 0, 1),
            vec!["start a 0"],
            None,
        ),
        (
            "a failed init container is repeated",
            prepared(with_init("Always")).exited("i", 0, 1, 1),
            vec!["start i 1"],
            None,
        ),
        ("but not with Never", prepared(with_init("Never")).exited("i", 0, 1, 1), vec![], None),
        (
            "a dead sidecar is restarted beside the app",
            prepared(with_init("Always"))
                .exited("i", 0, 0, 9)
                .exited("s", 0, 1, 1)
                .exited("j", 0, 0, 8)
                .running("a", 0),
            vec!["start s 1"],
            None,
        ),
        (
            "forgotten init containers do not run again",
            prepared(with_init("Always")).running("s", 0).running("a", 0),
            vec![],
            None,
        ),
        (
            "sidecars end with the work",
            prepared(with_init("Never")).exited("i", 0, 0, 9).running("s", 0).exited("j", 0, 0, 8).exited("a", 0, 0, 1),
            vec!["stop s-0 30s"],
            None,
        ),
        (
            "deletion stops everything by its deadline",
            deleted(prepared(app("Always")).running("a", 0), 30),
            vec!["stop-all 30"],
            None,
        ),
        ("then the object goes", deleted(prepared(app("Always")).exited("a", 0, 143, 0), 30), vec!["finish"], None),
        ("a pod that never ran goes at once", deleted(new(app("Always")), 30), vec!["finish"], None),
        (
            "what cannot be stopped is removed",
            deleted(prepared(app("Always")).running("a", 0), 30).with(|own| own.memory.force = true),
            vec!["finish"],
            None,
        ),
        ("a deadline ahead is waited for", deadline(60), vec![], Some(50)),
        ("a deadline behind ends the pod", deadline(5), vec!["condemn DeadlineExceeded"], None),
        (
            "a condemned pod is stopped",
            prepared(app("Always")).running("a", 0).with(|own| {
                own.memory.verdict = Some(Verdict { reason: "DeadlineExceeded".into(), message: String::new() });
            }),
            vec!["stop-all 30"],
            None,
        ),
        (
            "a pod that is over is released",
            prepared(app("Never")).exited("a", 0, 0, 1).previous(json!({"phase": "Succeeded"})),
            vec!["release"],
            None,
        ),
        ("and then left alone", new(app("Never")).previous(json!({"phase": "Failed"})), vec![], None),
    ];
    for (claim, scenario, expected, wake) in table {
        let (actions, own_wake) = steps(&scenario);
        assert_eq!(actions, expected, "{claim}");
        assert_eq!(own_wake, wake, "{claim}");
    }
}
