#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::pods::{
    backoff::Backoff,
    observed::{Failure, Verdict},
    scenario::{Scenario, app, at, with_init},
};

fn of(scenario: &Scenario) -> Value {
    serde_json::to_value(scenario.observe(status)).unwrap()
}

fn prepared(spec: Value) -> Scenario {
    Scenario::new(spec).prepared()
}

#[test]
fn a_running_pod_is_described_completely() {
    let status = of(&prepared(app("Always")).running("a", 0));
    let time = at(0).to_string();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": time});
    assert_eq!(
        status,
        json!({
            "phase": "Running", "qosClass": "BestEffort", "startTime": time,
            "hostIP": "10.42.0.1", "hostIPs": [{"ip": "10.42.0.1"}], "podIP": "10.42.0.7", "podIPs": [{"ip": "10.42.0.7"}],
            "conditions": [condition("PodReadyToStartContainers"), condition("Initialized"), condition("Ready"),
                condition("ContainersReady"), condition("PodScheduled")],
            "containerStatuses": [{"name": "a", "image": "i:1", "imageID": "sha256:i", "containerID": "lotse://a-0",
                "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": at(-100).to_string()}}}],
        })
    );
}

#[test]
fn phases_follow_the_containers() {
    let condemned = |scenario: Scenario| {
        scenario.with(|own| own.memory.verdict = Some(Verdict { reason: "Evicted".into(), message: "m".into() }))
    };
    for (claim, scenario, expected) in [
        ("new", Scenario::new(app("Always")), "Pending"),
        ("creating", prepared(app("Always")), "Pending"),
        ("running", prepared(app("Always")).running("a", 0), "Running"),
        ("crashed, restarts", prepared(app("Always")).exited("a", 0, 1, 0), "Running"),
        ("finished, restarts", prepared(app("Always")).exited("a", 0, 0, 0), "Running"),
        ("succeeded", prepared(app("OnFailure")).exited("a", 0, 0, 0), "Succeeded"),
        ("failed", prepared(app("Never")).exited("a", 0, 1, 0), "Failed"),
        ("initializing", prepared(with_init("Always")).running("i", 0), "Pending"),
        ("init failed for good", prepared(with_init("Never")).exited("i", 0, 1, 0), "Failed"),
        (
            "sidecar still serves",
            prepared(with_init("Never")).exited("i", 0, 0, 9).running("s", 0).exited("j", 0, 0, 8).exited("a", 0, 0, 1),
            "Running",
        ),
        ("condemned, still running", condemned(prepared(app("Always")).running("a", 0)), "Running"),
        ("condemned", condemned(prepared(app("Always")).exited("a", 0, 0, 0)), "Failed"),
        (
            "never leaves a final phase",
            prepared(app("Always")).running("a", 0).previous(json!({"phase": "Failed"})),
            "Failed",
        ),
    ] {
        assert_eq!(of(&scenario)["phase"], expected, "{claim}");
    }
}

#[test]
fn waiting_has_kubernetes_reasons() {
    let crash = prepared(app("Always")).exited("a", 1, 1, 3).with(|own| {
        own.memory.restart_backoff.insert("a".into(), Backoff::default().next(Duration::ZERO));
    });
    let status = of(&crash);
    let container = &status["containerStatuses"][0];
    assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(container["state"]["waiting"]["message"], "back-off 10s restarting failed container=a pod=p_n(u)");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!((&container["restartCount"], &container["ready"]), (&json!(1), &json!(false)));

    let pull = |age: i64| {
        prepared(app("Always")).with(|own| {
            let state =
                ImageState::Failed { reason: "ErrImagePull", message: "no route".into(), at: at(-age), until: at(60) };
            own.memory.images.insert("a".into(), state);
        })
    };
    let waiting = |scenario: &Scenario| of(scenario)["containerStatuses"][0]["state"]["waiting"].clone();
    assert_eq!(waiting(&pull(0)), json!({"reason": "ErrImagePull", "message": "no route"}));
    assert_eq!(
        waiting(&pull(5)),
        json!({"reason": "ImagePullBackOff", "message": "Back-off pulling image \"i:1\": ErrImagePull: no route"})
    );
    assert_eq!(waiting(&prepared(app("Always")))["reason"], "ContainerCreating");
    assert_eq!(waiting(&prepared(with_init("Always")))["reason"], "PodInitializing");
    let mount = Scenario::new(app("Always")).with(|own| {
        let message = "persistentvolumeclaim \"c\" is not bound yet".to_owned();
        own.memory.prepare_failure = Some(Failure { reason: "FailedMount", message, until: at(5), fingerprint: 1 });
    });
    assert_eq!(waiting(&mount)["message"], "persistentvolumeclaim \"c\" is not bound yet");
}

#[test]
fn conditions_say_what_is_missing_and_keep_their_times() {
    let find = |status: &Value, kind: &str| {
        let all = status["conditions"].as_array().unwrap();
        all.iter().find(|one| one["type"] == kind).unwrap().clone()
    };
    let old = json!({"conditions": [
        {"type": "Ready", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        {"type": "example.com/gate", "status": "True"}]});
    let scenario = prepared(app("Always")).running("a", 0).health("a-0", |health| health.ready = false).previous(old);
    let status = of(&scenario);
    let ready = find(&status, "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ContainersNotReady")));
    assert_eq!(ready["message"], "containers with unready status: [a]");
    assert_eq!(ready["lastTransitionTime"], "2020-01-01T00:00:00Z");
    assert_eq!(find(&status, "PodScheduled")["lastTransitionTime"], "2020-01-01T00:00:00Z");
    assert_eq!(find(&status, "example.com/gate")["status"], "True", "the condition of another writer is kept");

    let initializing = of(&prepared(with_init("Always")).exited("i", 0, 0, 1));
    let initialized = find(&initializing, "Initialized");
    assert_eq!(initialized["message"], "containers with incomplete status: [s j]");

    let terminating = prepared(app("Always")).running("a", 0).with(|own| {
        own.pod.metadata.deletion_timestamp = Some(Time(at(30)));
    });
    let status = of(&terminating);
    assert_eq!(
        (&find(&status, "Ready")["status"], &find(&status, "ContainersReady")["status"]),
        (&json!("False"), &json!("True"))
    );

    let mut gated = app("Always");
    gated["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    assert_eq!(find(&of(&prepared(gated).running("a", 0)), "Ready")["reason"], "ReadinessGatesNotReady");
    let done = of(&prepared(app("Never")).exited("a", 0, 0, 1));
    assert_eq!(find(&done, "Ready")["reason"], "PodCompleted");
}

#[test]
fn a_lost_container_ends_as_unknown() {
    let past = json!({"containerStatuses": [{"name": "a", "image": "i:1", "imageID": "x", "ready": true, "restartCount": 2,
        "containerID": "lotse://old", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]});
    let waiting = of(&Scenario::new(app("Always")).previous(past.clone()));
    let container = &waiting["containerStatuses"][0];
    assert_eq!(container["lastState"]["terminated"]["reason"], "ContainerStatusUnknown");
    assert_eq!((&container["restartCount"], &waiting["phase"]), (&json!(2), &json!("Running")));
    let again = of(&prepared(app("Always")).previous(past.clone()).running("a", 3));
    let container = &again["containerStatuses"][0];
    assert_eq!(
        (&container["restartCount"], &container["lastState"]["terminated"]["exitCode"]),
        (&json!(3), &json!(137))
    );
    assert_eq!(of(&Scenario::new(app("Never")).previous(past))["phase"], "Failed");
}

#[test]
fn a_patch_holds_the_difference_alone() {
    let old: PodStatus = serde_json::from_value(json!({"phase": "Running", "reason": "x", "podIP": "1"})).unwrap();
    let new: PodStatus = serde_json::from_value(json!({"phase": "Failed", "podIP": "1"})).unwrap();
    assert_eq!(patch(&old, &new), Some(json!({"phase": "Failed", "reason": null})));
    assert_eq!(patch(&new, &new), None);
}

#[test]
fn a_back_off_is_told_once_for_each_restart() {
    let waiting = |reason: &str, restarts: i32| -> PodStatus {
        serde_json::from_value(json!({"containerStatuses": [{
            "name": "a", "image": "web:1", "imageID": "", "ready": false, "restartCount": restarts,
            "state": {"waiting": {"reason": reason}},
        }]}))
        .unwrap()
    };
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}})).unwrap();
    let crash = "Back-off restarting failed container a in pod p_n(u)";
    for (before, now, expected) in [
        (PodStatus::default(), waiting("CrashLoopBackOff", 1), Some(crash)),
        (waiting("CrashLoopBackOff", 1), waiting("CrashLoopBackOff", 1), None),
        (waiting("CrashLoopBackOff", 1), waiting("CrashLoopBackOff", 2), Some(crash)),
        (waiting("ErrImagePull", 0), waiting("ImagePullBackOff", 0), Some("Back-off pulling image \"web:1\"")),
        (PodStatus::default(), waiting("ContainerCreating", 0), None),
    ] {
        let notes: Vec<_> = new_back_offs(&pod, &before, &now).into_iter().map(|(_, _, note)| note).collect();
        assert_eq!(notes, expected.into_iter().collect::<Vec<_>>());
    }
}
