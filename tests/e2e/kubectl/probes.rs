//! Probes, restarts and what goes wrong.

use serde_json::{Value, json};

use super::{IDLE, Named, SERVE, Space, pod, workload};

pub(super) const TRIALS: &[Named] = &[
    ("readiness_takes_a_pod_out_of_its_service_and_back", readiness),
    ("a_failing_liveness_probe_restarts_the_container", liveness),
    ("a_startup_probe_holds_the_others_back", startup),
    ("probes_speak_http_tcp_and_exec", kinds),
    ("a_crash_loop_is_named_and_backs_off", crash_loop),
    ("an_image_that_does_not_exist_is_named", image),
    ("a_container_over_its_memory_limit_is_oom_killed", out_of_memory),
    ("restart_policies_are_kept", policies),
];

fn status(space: &Space<'_>, pod: &str) -> Value {
    space.get(&format!("pod {pod}"))["status"]["containerStatuses"][0].clone()
}

fn readiness(space: &Space<'_>) {
    let mut web = pod("web", SERVE);
    web["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["test", "!", "-e", "/tmp/away"]}, "periodSeconds": 1, "failureThreshold": 1});
    space.run(&[web]);
    space.k("expose pod web --port=80 --target-port=8080").ok();
    let ready = || {
        let slices = space.get("endpointslices -l kubernetes.io/service-name=web");
        slices["items"][0]["endpoints"][0]["conditions"]["ready"].clone()
    };
    space.wait("it is in the service", 20, || ready() == true);
    space.shell("web", "touch /tmp/away").ok();
    space.wait("it is out of the service", 20, || ready() != true);
    assert!(space.k("describe pod web").ok().out.contains("Readiness probe failed"));
    space.shell("web", "rm /tmp/away").ok();
    space.wait("it is back", 20, || ready() == true);
    assert_eq!(status(space, "web")["restartCount"], 0);
}

fn liveness(space: &Space<'_>) {
    let mut web = pod("web", SERVE);
    web["spec"]["containers"][0]["livenessProbe"] =
        json!({"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1, "failureThreshold": 2});
    space.run(&[web]);
    space.shell("web", "rm /tmp/www/index.html").ok();
    space.wait("it is restarted", 30, || {
        status(space, "web")["restartCount"] == 1 && status(space, "web")["ready"] == true
    });
    let described = space.k("describe pod web").ok().out;
    assert!(described.contains("Liveness probe failed: HTTP probe failed with statuscode: 404"), "{described}");
    assert!(described.contains("failed liveness probe, will be restarted"), "{described}");
}

fn startup(space: &Space<'_>) {
    let mut slow = pod("slow", &format!("sleep 1; touch /tmp/started; {IDLE}"));
    slow["spec"]["containers"][0]["startupProbe"] =
        json!({"exec": {"command": ["test", "-e", "/tmp/started"]}, "periodSeconds": 1, "failureThreshold": 20});
    slow["spec"]["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["test", "-e", "/tmp/started"]}, "periodSeconds": 1, "failureThreshold": 1});
    space.apply(&[slow]);
    space.wait("it runs", 20, || status(space, "slow")["state"]["running"].is_object());
    assert_eq!(status(space, "slow")["started"], false);
    space.ready("slow");
    assert_eq!((&status(space, "slow")["started"], &status(space, "slow")["restartCount"]), (&json!(true), &json!(0)));
}

fn kinds(space: &Space<'_>) {
    let probes = [
        (
            "http",
            json!({"httpGet": {"path": "/index.html", "port": "web", "httpHeaders": [{"name": "Host", "value": "x.test"}]}}),
        ),
        ("tcp", json!({"tcpSocket": {"port": 8080}})),
        ("exec", json!({"exec": {"command": ["sh", "-c", "wget -qO- http://127.0.0.1:8080/"]}})),
    ];
    let pods: Vec<Value> = probes
        .into_iter()
        .map(|(name, mut probe)| {
            probe["periodSeconds"] = json!(1);
            let mut pod = pod(name, SERVE);
            pod["spec"]["containers"][0]["ports"] = json!([{"name": "web", "containerPort": 8080}]);
            pod["spec"]["containers"][0]["readinessProbe"] = probe;
            pod
        })
        .collect();
    space.run(&pods);
    let mut wrong = pod("wrong", SERVE);
    wrong["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "httpGet": {"port": 8080}});
    space.kubectl(&["apply", "-f", "-"], &wrong.to_string()).fails_with("may not specify more than 1 handler type");
}

fn crash_loop(space: &Space<'_>) {
    space.apply(&[pod("crashing", "echo I give up; exit 3")]);
    space.wait("the crash loop is named", 40, || {
        let status = status(space, "crashing");
        status["state"]["waiting"]["reason"] == "CrashLoopBackOff" && status["restartCount"].as_i64() >= Some(1)
    });
    let status = status(space, "crashing");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert!(status["state"]["waiting"]["message"].as_str().unwrap().starts_with("back-off "), "{status}");
    assert!(space.k("get pod crashing").ok().out.contains("CrashLoopBackOff"));
    assert!(space.k("describe pod crashing").ok().out.contains("Back-off restarting failed container"));
    assert_eq!(space.k("logs crashing --previous").ok().out, "I give up\n");
}

fn image(space: &Space<'_>) {
    let mut pods = [pod("never", IDLE), pod("missing", IDLE), pod("invalid", IDLE)];
    pods[0]["spec"]["containers"][0]["image"] = json!("nobody:1");
    pods[0]["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    pods[1]["spec"]["containers"][0]["image"] = json!("127.0.0.1:1/nobody:1");
    pods[2]["spec"]["containers"][0]["image"] = json!("Not A Name");
    space.apply(&pods);
    for (name, reasons) in [
        ("never", &["ErrImageNeverPull"][..]),
        ("missing", &["ErrImagePull", "ImagePullBackOff"]),
        ("invalid", &["InvalidImageName"]),
    ] {
        space.wait(&format!("{name} says why"), 30, || {
            let waiting = status(space, name)["state"]["waiting"].clone();
            reasons.iter().any(|reason| waiting["reason"] == *reason)
        });
    }
    space.wait("it backs off", 30, || status(space, "missing")["state"]["waiting"]["reason"] == "ImagePullBackOff");
    let described = space.k("describe pod missing").ok().out;
    assert!(described.contains("Failed to pull image \"127.0.0.1:1/nobody:1\""), "{described}");
    assert!(described.contains("Back-off pulling image"), "{described}");
}

fn out_of_memory(space: &Space<'_>) {
    let mut greedy = pod("greedy", "tail /dev/zero");
    greedy["spec"]["restartPolicy"] = json!("Never");
    greedy["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "16Mi"}});
    space.apply(&[greedy]);
    space.wait("it is killed", 30, || status(space, "greedy")["state"]["terminated"].is_object());
    let terminated = status(space, "greedy")["state"]["terminated"].clone();
    assert_eq!(
        (terminated["reason"].as_str(), terminated["exitCode"].as_i64()),
        (Some("OOMKilled"), Some(137)),
        "{terminated}"
    );
    assert!(space.k("get pod greedy").ok().out.contains("OOMKilled"));
}

fn policies(space: &Space<'_>) {
    let with = |name: &str, policy: &str, code: u8| {
        let mut pod = pod(name, &format!("exit {code}"));
        pod["spec"]["restartPolicy"] = json!(policy);
        pod
    };
    space.apply(&[with("good", "OnFailure", 0), with("bad", "Never", 1), with("again", "OnFailure", 1)]);
    space.k("wait --for=jsonpath={.status.phase}=Succeeded pod/good --timeout=20s").ok();
    space.k("wait --for=jsonpath={.status.phase}=Failed pod/bad --timeout=20s").ok();
    space.wait("it is started again", 30, || status(space, "again")["restartCount"].as_i64() >= Some(1));
    assert_eq!(status(space, "good")["restartCount"], 0);
    // A pod that ended is replaced by its controller.
    space.apply(&[workload("Deployment", "web", 1, IDLE)]);
    space.k("rollout status deployment/web --timeout=30s").ok();
    let before = space.get("pods -l app=web")["items"][0]["metadata"]["uid"].clone();
    space.k("delete pods -l app=web --wait=false").ok();
    space.wait("another pod takes its place", 20, || {
        let pods = space.get("pods -l app=web");
        pods["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|pod| pod["metadata"]["uid"] != before && pod["status"]["containerStatuses"][0]["ready"] == true)
    });
}
