//! Deployments from the command line: scale, rollout, set, expose, autoscale.

use serde_json::json;

use super::{IDLE, Named, SERVE, Space, workload};

pub(super) const TRIALS: &[Named] = &[
    ("scale_changes_the_number_of_pods", scale),
    ("rollouts_have_status_history_undo_pause_and_restart", rollout),
    ("a_rollout_that_cannot_finish_says_so", stuck),
    ("set_changes_image_environment_and_resources", set),
    ("expose_makes_a_service_that_answers", expose),
    ("an_autoscaler_keeps_its_bounds_and_says_that_nothing_is_measured", autoscale),
    ("rollouts_of_stateful_and_daemon_sets_are_followed", other_kinds),
];

fn scale(space: &Space<'_>) {
    space.apply(&[workload("Deployment", "web", 1, IDLE)]);
    space.k("scale deployment/web --replicas=3").ok();
    space.k("rollout status deployment/web --timeout=40s").ok();
    assert_eq!(space.get("pods -l app=web")["items"].as_array().map(Vec::len), Some(3));
    space.k("scale deployment/web --replicas=1 --current-replicas=7").fails_with("Expected replicas to be 7");
    space.k("scale deployment/web --replicas=1 --current-replicas=3").ok();
    space.wait("one pod is left", 20, || space.get("pods -l app=web")["items"].as_array().map(Vec::len) == Some(1));
    space.k("scale deployment/web --replicas=0").ok();
    space.wait("no pod is left", 20, || space.get("pods -l app=web")["items"].as_array().map(Vec::len) == Some(0));
    assert_eq!(space.get("deployment web")["status"]["replicas"].as_i64().unwrap_or(0), 0);
}

fn rollout(space: &Space<'_>) {
    space.apply(&[workload("Deployment", "web", 2, IDLE)]);
    let done = || space.k("rollout status deployment/web --timeout=40s").ok();
    assert!(done().out.contains("successfully rolled out"));
    space.k("annotate deployment web kubernetes.io/change-cause=first").ok();
    space.k("set env deployment/web COLOUR=red").ok();
    done();
    let history = space.k("rollout history deployment/web").ok().out;
    assert!(history.contains("1         first") && history.contains('2'), "{history}");
    let second = space.k("rollout history deployment/web --revision=2").ok().out;
    assert!(second.contains("COLOUR:\tred"), "{second}");
    space.k("rollout undo deployment/web").ok();
    done();
    assert!(space.get("deployment web")["spec"]["template"]["spec"]["containers"][0]["env"].is_null());
    space.k("rollout undo deployment/web --to-revision=2").ok();
    done();
    assert_eq!(space.get("deployment web")["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "red");
    space.k("rollout undo deployment/web --to-revision=77").fails_with("unable to find specified revision 77");
    space.k("rollout pause deployment/web").ok();
    let sets = || space.get("replicasets -l app=web")["items"].as_array().map(Vec::len);
    let before = sets();
    space.k("set env deployment/web COLOUR=green").ok();
    space.wait("the controller has seen the change", 10, || {
        let deployment = space.get("deployment web");
        deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
    });
    assert_eq!(sets(), before);
    space.k("rollout restart deployment/web").fails_with("paused");
    space.k("rollout resume deployment/web").ok();
    done();
    assert_eq!(sets(), before.map(|count| count + 1));
    space.k("rollout restart deployment/web").ok();
    done();
    assert!(
        space.get("deployment web")["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"]
            .is_string()
    );
}

fn stuck(space: &Space<'_>) {
    let mut web = workload("Deployment", "web", 1, IDLE);
    web["spec"]["progressDeadlineSeconds"] = json!(2);
    space.apply(&[web]);
    space.k("rollout status deployment/web --timeout=30s").ok();
    space.k("set image deployment/web main=busybox:missing").ok();
    space.k("rollout status deployment/web --timeout=30s").fails_with("exceeded its progress deadline");
    // The old pod still serves.
    assert_eq!(space.get("deployment web")["status"]["availableReplicas"], 1);
    space.k("rollout undo deployment/web").ok();
    space.k("rollout status deployment/web --timeout=30s").ok();
}

fn set(space: &Space<'_>) {
    space.apply(&[workload("Deployment", "web", 0, IDLE)]);
    space.k("create configmap settings --from-literal=COLOUR=blue").ok();
    space.k("create serviceaccount robot").ok();
    space.k("set image deployment/web main=busybox:2").ok();
    space.k("set env deployment/web A=1 B=2").ok();
    space.k("set env deployment/web --from=configmap/settings").ok();
    space.k("set env deployment/web A-").ok();
    space.k("set resources deployment/web --limits=cpu=200m,memory=64Mi --requests=cpu=10m").ok();
    space.k("set serviceaccount deployment/web robot").ok();
    let spec = space.get("deployment web")["spec"]["template"]["spec"].clone();
    let container = &spec["containers"][0];
    assert_eq!(container["image"], "busybox:2");
    assert_eq!(
        container["resources"],
        json!({"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "10m"}})
    );
    assert_eq!(spec["serviceAccountName"], "robot");
    let listed = space.k("set env deployment/web --list").ok().out;
    assert!(listed.contains("B=2") && listed.contains("COLOUR from configmap settings"), "{listed}");
    assert!(!listed.contains("A=1"));
}

fn expose(space: &Space<'_>) {
    space.apply(&[workload("Deployment", "web", 1, SERVE)]);
    space.k("rollout status deployment/web --timeout=30s").ok();
    space.k("expose deployment web --port=80 --target-port=8080").ok();
    let address = space.get("service web")["spec"]["clusterIP"].as_str().unwrap().to_owned();
    space.wait("the service answers", 20, || {
        lotse_e2e::run("curl", ["--silent", "--max-time", "2", &format!("http://{address}/")], "", &[])
            .out
            .starts_with("web-")
    });
}

fn autoscale(space: &Space<'_>) {
    space.apply(&[workload("Deployment", "web", 1, IDLE)]);
    space.k("autoscale deployment web --min=2 --max=3 --cpu-percent=80").ok();
    let replicas = |count: i64| space.get("deployment web")["spec"]["replicas"] == count;
    space.wait("the lower bound is kept", 20, || replicas(2));
    assert!(space.k("get hpa").ok().out.contains("Deployment/web"));
    space.wait("the rescaling is told", 20, || {
        space.k("describe hpa web").ok().out.contains("New size: 2; reason: Current number of replicas below")
    });
    let active = r#"get hpa web -o jsonpath={.status.conditions[?(@.type=="ScalingActive")].message}"#;
    space.wait("it says what it cannot do", 20, || space.k(active).ok().out.contains("not measured here"));
    space.k("scale deployment web --replicas=5").ok();
    space.wait("the upper bound is kept", 40, || replicas(3));
}

fn other_kinds(space: &Space<'_>) {
    for kind in ["StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        space.apply(&[workload(kind, &name, 1, IDLE)]);
        space.k(&format!("rollout status {name}/{name} --timeout=30s")).ok();
        space.k(&format!("set env {name}/{name} COLOUR=red")).ok();
        space.k(&format!("rollout status {name}/{name} --timeout=30s")).ok();
        let pods = space.get(&format!("pods -l app={name}"));
        let values: Vec<_> = pods["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| &pod["spec"]["containers"][0]["env"][0]["value"])
            .collect();
        assert_eq!(values, ["red"]);
        let history = space.k(&format!("rollout history {name}/{name}")).ok().out;
        assert!(history.contains('2'), "{history}");
        space.k(&format!("rollout undo {name}/{name}")).ok();
        space.k(&format!("rollout status {name}/{name} --timeout=30s")).ok();
        assert!(space.get(&format!("{name} {name}"))["spec"]["template"]["spec"]["containers"][0]["env"].is_null());
    }
}
