//! What a pod's specification promises, seen from inside the container.

use serde_json::{Value, json};

use super::{IDLE, IMAGE, Named, SERVE, Space, once, pod};

pub(super) const TRIALS: &[Named] = &[
    ("environment_comes_from_values_maps_secrets_and_the_pod_itself", environment),
    ("init_containers_run_in_order_before_the_others", init_containers),
    ("a_sidecar_starts_first_and_does_not_keep_the_pod_alive", sidecar),
    ("containers_of_a_pod_share_their_network", shared_network),
    ("limits_are_in_the_cgroup", limits),
    ("security_context_sets_user_groups_and_capabilities", security),
    ("a_read_only_root_is_read_only", read_only_root),
    ("command_and_arguments_replace_the_images", command),
    ("a_pod_is_told_to_stop_and_given_its_time", termination),
    ("lifecycle_hooks_run", hooks),
    ("host_names_and_aliases_are_known", host_names),
    ("a_pod_that_fits_nowhere_waits_and_says_why", pending),
    ("a_pod_is_allowed_its_deadline_and_no_more", deadline),
];

fn environment(space: &Space<'_>) {
    space.k("create configmap settings --from-literal=COLOUR=blue --from-literal=SIZE=7").ok();
    space.k("create secret generic keys --from-literal=TOKEN=secret").ok();
    let mut pod = once("env", "env | sort");
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}, "requests": {"cpu": "10m"}});
    pod["spec"]["containers"][0]["envFrom"] = json!([
        {"configMapRef": {"name": "settings"}}, {"prefix": "KEY_", "secretRef": {"name": "keys"}},
        {"configMapRef": {"name": "absent", "optional": true}}]);
    pod["spec"]["containers"][0]["env"] = json!([
        {"name": "PLAIN", "value": "value"},
        {"name": "COMBINED", "value": "$(PLAIN)-$(COLOUR)-$$(PLAIN)-$(ABSENT)"},
        {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "SIZE"}}},
        {"name": "TWO", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "TOKEN"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
    ]);
    let out = space.output_of(&pod);
    for line in [
        "PLAIN=value",
        "COLOUR=blue",
        "SIZE=7",
        "KEY_TOKEN=secret",
        "COMBINED=value-blue-$(PLAIN)-$(ABSENT)",
        "ONE=7",
        "TWO=secret",
        "NAME=env",
        "LABEL=env",
        "NODE=lotse",
        "MEMORY=64",
        "HOSTNAME=env",
        "KUBERNETES_SERVICE_PORT=443",
    ] {
        assert!(out.lines().any(|found| found == line), "{line} is not in\n{out}");
    }
    assert!(out.contains("\nIP=10."), "{out}");
    let mut missing = once("missing", "true");
    missing["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "NONE"}}}]);
    space.apply(&[missing]);
    space.wait("the missing key is named", 20, || {
        let waiting = space.get("pod missing")["status"]["containerStatuses"][0]["state"]["waiting"].clone();
        waiting["reason"] == "CreateContainerConfigError"
            && waiting["message"].as_str().is_some_and(|message| message.contains("NONE"))
    });
}

fn init_containers(space: &Space<'_>) {
    let mut pod = once("ordered", "cat /data/log; echo main");
    let init = |name: &str| {
        json!({"name": name, "image": IMAGE, "command": ["sh", "-c", format!("sleep 0.1; echo {name} >> /data/log")],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]})
    };
    pod["spec"]["initContainers"] = json!([init("first"), init("second")]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    assert_eq!(space.output_of(&pod), "first\nsecond\nmain\n");
    let mut broken = once("broken", "echo never");
    broken["spec"]["initContainers"] =
        json!([{"name": "bad", "image": IMAGE, "command": ["sh", "-c", "echo no; exit 9"]}]);
    space.apply(&[broken]);
    space.k("wait --for=jsonpath={.status.phase}=Failed pod/broken --timeout=20s").ok();
    assert_eq!(space.k("logs broken -c bad").ok().out, "no\n");
    assert!(space.k("get pod broken").ok().out.contains("Init:Error"));
}

fn sidecar(space: &Space<'_>) {
    let mut pod = once("main", "wget -qO- http://127.0.0.1:8080/");
    pod["spec"]["initContainers"] = json!([{"name": "side", "image": IMAGE, "command": ["sh", "-c", SERVE], "restartPolicy": "Always",
        "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}]);
    assert_eq!(space.output_of(&pod), "main\n");
}

fn shared_network(space: &Space<'_>) {
    let mut pod = pod("pair", SERVE);
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "other", "image": IMAGE, "command": ["sh", "-c", IDLE]}));
    space.run(&[pod]);
    space.wait("the neighbour answers", 10, || {
        space.kubectl(&["exec", "pair", "-c", "other", "--", "wget", "-qO-", "http://127.0.0.1:8080/"], "").out.trim()
            == "pair"
    });
}

fn limits(space: &Space<'_>) {
    let read = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes; \
        cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us";
    let mut pod = once("limited", read);
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "48Mi", "cpu": "500m"}});
    let out = space.output_of(&pod);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.first(), Some(&"50331648"), "{out}");
    assert!(lines.get(1).is_some_and(|line| line.starts_with("50000")), "{out}");
    assert_eq!(space.get("pod limited")["status"]["qosClass"], "Guaranteed");
}

fn security(space: &Space<'_>) {
    let mut pod = once(
        "confined",
        "id; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; ls -ln /data | tail -n +1; touch /data/mine; stat -c %g /data/mine",
    );
    pod["spec"]["securityContext"] = json!({"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [4000], "runAsNonRoot": true});
    pod["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    let out = space.output_of(&pod);
    for part in [
        "uid=1000(web) gid=3000",
        "2000",
        "4000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    assert_eq!(out.lines().last(), Some("2000"), "{out}");
    let mut added = once("added", "grep CapEff /proc/self/status");
    added["spec"]["containers"][0]["securityContext"] =
        json!({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}});
    assert_eq!(space.output_of(&added).trim(), "CapEff:\t0000000000000400");
    let mut root = once("root", "true");
    root["spec"]["securityContext"] = json!({"runAsNonRoot": true});
    space.apply(&[root]);
    space.wait("root is refused", 20, || {
        let waiting = space.get("pod root")["status"]["containerStatuses"][0]["state"]["waiting"].clone();
        waiting["reason"] == "CreateContainerConfigError"
            && waiting["message"].as_str().is_some_and(|message| message.contains("runAsNonRoot"))
    });
}

fn read_only_root(space: &Space<'_>) {
    let mut pod = once("sealed", "touch /file && echo root is writable; touch /data/file && echo volume is writable");
    pod["spec"]["containers"][0]["securityContext"] = json!({"readOnlyRootFilesystem": true});
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
    let out = space.output_of(&pod);
    assert!(
        out.contains("Read-only file system")
            && !out.contains("root is writable")
            && out.contains("volume is writable"),
        "{out}"
    );
}

fn command(space: &Space<'_>) {
    let mut pod = once("words", "");
    pod["spec"]["containers"][0]["command"] = json!(["echo", "$(GREETING)", "two words"]);
    pod["spec"]["containers"][0]["args"] = json!(["last"]);
    pod["spec"]["containers"][0]["env"] = json!([{"name": "GREETING", "value": "hello"}]);
    pod["spec"]["containers"][0]["workingDir"] = json!("/tmp");
    assert_eq!(space.output_of(&pod), "hello two words last\n");
    let mut absent = once("absent", "");
    absent["spec"]["containers"][0]["command"] = json!(["/no/such/program"]);
    space.apply(&[absent]);
    space.wait("the missing program is named", 20, || {
        let state = space.get("pod absent")["status"]["containerStatuses"][0]["state"].to_string();
        state.contains("/no/such/program")
    });
}

fn termination(space: &Space<'_>) {
    let mut polite =
        pod("polite", "trap 'echo stopping; sleep 0.3; echo stopped; exit 0' TERM; while true; do sleep 0.05; done");
    polite["spec"]["terminationGracePeriodSeconds"] = json!(20);
    let stubborn = pod("stubborn", "trap '' TERM; while true; do sleep 1; done");
    space.run(&[polite, stubborn]);
    let follow = space.background("logs -f polite");
    let started = std::time::Instant::now();
    space.k("delete pod polite stubborn").ok();
    let took = started.elapsed().as_millis();
    assert!((1000..6000).contains(&took), "{took} ms");
    follow.wait_for("stopped");
}

fn hooks(space: &Space<'_>) {
    let mut pod = pod(
        "hooked",
        "trap 'exit 0' TERM; while [ ! -e /tmp/started ]; do sleep 0.05; done; echo after start; while true; do sleep 0.05; done",
    );
    pod["spec"]["terminationGracePeriodSeconds"] = json!(10);
    pod["spec"]["containers"][0]["lifecycle"] = json!({
        "postStart": {"exec": {"command": ["touch", "/tmp/started"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo before stop > /proc/1/fd/1"]}}});
    space.run(&[pod]);
    let follow = space.background("logs -f hooked");
    follow.wait_for("after start");
    space.k("delete pod hooked").ok();
    follow.wait_for("before stop");
}

fn host_names(space: &Space<'_>) {
    let mut pod = once("named", "hostname; cat /etc/hosts; cat /etc/resolv.conf");
    pod["spec"]["hostname"] = json!("chosen");
    pod["spec"]["hostAliases"] = json!([{"ip": "192.0.2.7", "hostnames": ["printer.test"]}]);
    pod["spec"]["dnsConfig"] = json!({"options": [{"name": "timeout", "value": "3"}]});
    let out = space.output_of(&pod);
    assert!(out.starts_with("chosen\n"), "{out}");
    for part in [
        "192.0.2.7\tprinter.test",
        &format!("search {}.svc.cluster.local svc.cluster.local cluster.local", space.namespace),
        "ndots:5",
        "timeout:3",
    ] {
        assert!(out.contains(part), "{part:?} is not in\n{out}");
    }
}

fn pending(space: &Space<'_>) {
    let mut large = pod("large", IDLE);
    large["spec"]["containers"][0]["resources"] = json!({"requests": {"memory": "10Ti"}});
    let mut elsewhere = pod("elsewhere", IDLE);
    elsewhere["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    space.apply(&[large, elsewhere]);
    for (name, part) in [("large", "Insufficient memory"), ("elsewhere", "didn't match Pod's node affinity/selector")] {
        space.wait(&format!("{name} says why"), 20, || {
            let status = space.get(&format!("pod {name}"))["status"].clone();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            status["phase"] == "Pending"
                && conditions
                    .iter()
                    .any(|condition| condition["message"].as_str().is_some_and(|message| message.contains(part)))
        });
    }
    assert!(space.k("describe pod large").ok().out.contains("FailedScheduling"));
    space.k("label node lotse disk=ssd").ok();
    let waited = space.k("wait --for=condition=Ready pod/elsewhere --timeout=20s");
    space.k("label node lotse disk-").ok();
    waited.ok();
}

fn deadline(space: &Space<'_>) {
    let mut pod = pod("late", IDLE);
    pod["spec"]["activeDeadlineSeconds"] = json!(1);
    space.apply(&[pod]);
    space.wait("the deadline ends it", 20, || {
        let status: Value = space.get("pod late")["status"].clone();
        status["phase"] == "Failed" && status["reason"] == "DeadlineExceeded"
    });
}
