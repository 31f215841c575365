//! What streams: logs, exec, attach, cp, port-forward, run.

use std::net::TcpListener;

use serde_json::json;

use super::{IDLE, IMAGE, Named, SERVE, Space, once, pod, workload};

pub(super) const TRIALS: &[Named] = &[
    ("logs_follow_and_are_cut_by_lines_time_and_size", logs),
    ("logs_of_several_pods_and_containers_are_told_apart", logs_of_many),
    ("logs_of_the_previous_container_are_kept", previous),
    ("exec_passes_input_output_and_exit_code", exec),
    ("exec_gives_a_terminal", terminal),
    ("cp_copies_both_ways", copy),
    ("port_forward_carries_requests", port_forward),
    ("attach_shows_what_the_container_says_now", attach),
    ("debug_sees_the_processes_of_its_target", debug),
    ("run_with_input_behaves_like_a_local_program", run),
    ("requests_to_services_and_pods_go_through_the_api", proxy),
];

fn logs(space: &Space<'_>) {
    let script = format!("for i in 1 2 3 4 5; do echo line $i; done; echo trouble >&2; sleep 0.3; echo later; {IDLE}");
    space.run(&[pod("talker", &script)]);
    let follow = space.background("logs -f talker");
    follow.wait_for("later");
    let out = |line: &str| space.k(line).ok().out;
    assert_eq!(out("logs talker"), "line 1\nline 2\nline 3\nline 4\nline 5\ntrouble\nlater\n");
    assert_eq!(out("logs talker --tail=2"), "trouble\nlater\n");
    assert_eq!(out("logs talker --tail=0"), "");
    assert_eq!(out("logs talker --limit-bytes=6"), "line 1");
    assert_eq!(out("logs talker --since=1h").lines().count(), 7);
    assert_eq!(out("logs talker --since-time=2100-01-01T00:00:00Z"), "");
    let stamped = out("logs talker --timestamps --tail=1");
    assert!(stamped.starts_with("20") && stamped.trim_end().ends_with("Z later"), "{stamped}");
    space.k("logs talker -c nobody").fails_with("container nobody is not valid for pod talker");
    space.k("logs talker --previous").fails_with("previous terminated container");
    // The stream ends with the container.
    space.k("delete pod talker --wait=false").ok();
    let mut follow = follow;
    assert_eq!(follow.finish(20), 0, "{}", follow.out());
}

fn logs_of_many(space: &Space<'_>) {
    let mut two = pod("two", &format!("echo from main; {IDLE}"));
    two["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "other", "image": IMAGE, "command": ["sh", "-c", format!("echo from other; {IDLE}")]}));
    space.run(&[two]);
    let out = |line: &str| space.k(line).ok().out;
    assert_eq!(out("logs two -c other"), "from other\n");
    assert_eq!(out("logs two"), "from main\n");
    let all = out("logs two --all-containers --prefix");
    assert!(all.contains("[pod/two/main] from main") && all.contains("[pod/two/other] from other"), "{all}");
    space.apply(&[workload("Deployment", "many", 2, &format!("echo hello; {IDLE}"))]);
    space.k("rollout status deployment/many --timeout=30s").ok();
    assert_eq!(out("logs -l app=many"), "hello\nhello\n");
    assert_eq!(out("logs deployment/many"), "hello\n");
    assert_eq!(out("logs deployment/many --all-pods").lines().count(), 2);
}

fn previous(space: &Space<'_>) {
    let script =
        format!("if [ -e /data/second ]; then echo second; {IDLE}; fi; touch /data/second; echo first; exit 7");
    let mut failing = pod("failing", &script);
    failing["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    failing["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    space.apply(&[failing]);
    space.wait("it runs for the second time", 30, || {
        let status = &space.get("pod failing")["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["ready"] == true
    });
    assert_eq!(space.k("logs failing --previous").ok().out, "first\n");
    assert_eq!(space.k("logs failing").ok().out, "second\n");
    let last = &space.get("pod failing")["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((last["exitCode"].as_i64(), last["reason"].as_str()), (Some(7), Some("Error")));
}

fn exec(space: &Space<'_>) {
    let mut two = pod("two", IDLE);
    two["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "other", "image": IMAGE, "command": ["sh", "-c", IDLE], "env": [{"name": "WHO", "value": "other"}]}));
    space.run(&[two, pod("fast", IDLE)]);
    assert_eq!(space.k("exec fast -- hostname").ok().out, "fast\n");
    assert_eq!(space.kubectl(&["exec", "-i", "fast", "--", "wc", "-c"], "12345").ok().out.trim(), "5");
    // More than any buffer on the way.
    let large = "0123456789abcdef".repeat(64 * 1024);
    assert_eq!(
        space.kubectl(&["exec", "-i", "fast", "--", "wc", "-c"], &large).ok().out.trim(),
        large.len().to_string()
    );
    assert_eq!(space.kubectl(&["exec", "-i", "fast", "--", "cat"], &large).ok().out.len(), large.len());
    let failed = space.shell("fast", "echo out; echo err >&2; exit 42");
    assert_eq!((failed.code, failed.out.as_str()), (42, "out\n"));
    assert!(failed.err.starts_with("err\n") && failed.err.contains("exit code 42"), "{}", failed.err);
    assert_eq!(space.kubectl(&["exec", "two", "-c", "other", "--", "sh", "-c", "echo $WHO"], "").ok().out, "other\n");
    space.k("exec fast -- /no/such/program").fails_with("/no/such/program");
    space.k("exec fast -c nobody -- true").fails_with("nobody");
    space.k("exec nobody -- true").fails_with("pods \"nobody\" not found");
    space.k("exec pod/fast -- true").ok();
    // What exec starts is in the container: its processes, its limits, its file system.
    assert!(space.shell("fast", "ps").ok().out.lines().count() < 10);
}

fn terminal(space: &Space<'_>) {
    space.run(&[pod("shell", IDLE)]);
    let command = format!("kubectl -n {} exec -it shell -- sh", space.namespace);
    let mut script = space.cluster.background("script", &["-qec", &command, "/dev/null"]);
    script.wait_for("/ #");
    script.write("stty size; tty; echo $((6*7))-done\n");
    script.wait_for("42-done");
    assert!(script.out().contains("/dev/"), "{}", script.out());
    script.write("exit 5\n");
    assert_eq!(script.finish(20), 5, "{}", script.out());
}

fn debug(space: &Space<'_>) {
    space.run(&[pod("patient", IDLE)]);
    let debugger = |name: &str, more: &str, command: &str| {
        space.k(&format!("debug patient --image={IMAGE} -c {name} {more} -- {command}")).ok();
        let ended = format!(
            "get pod patient -o jsonpath={{.status.ephemeralContainerStatuses[?(@.name==\"{name}\")].state.terminated.reason}}"
        );
        space.wait("the debugger has ended", 20, || space.k(&ended).ok().out == "Completed");
        space.k(&format!("logs patient -c {name}")).ok().out
    };
    let processes = debugger("with", "--target=main", "ps");
    assert!(processes.contains("trap 'exit 0' TERM") && processes.contains("ps"), "{processes}");
    let root = debugger("root", "--target=main", "ls /proc/1/root");
    assert!(root.contains("tmp"), "the files of the target are reached through its process: {root}");
    let alone = debugger("alone", "", "ps");
    assert!(!alone.contains("trap 'exit 0' TERM") && alone.contains("ps"), "{alone}");
    // The patient has noticed nothing.
    assert_eq!(space.get("pod patient")["status"]["containerStatuses"][0]["restartCount"], 0);
}

fn copy(space: &Space<'_>) {
    space.run(&[pod("store", IDLE)]);
    let directory = space.cluster.directory().join("copy");
    std::fs::create_dir_all(directory.join("in/deep")).unwrap();
    std::fs::write(directory.join("in/one"), "1").unwrap();
    std::fs::write(directory.join("in/deep/two"), vec![7; 300_000]).unwrap();
    let (source, target) = (directory.join("in").display().to_string(), directory.join("back").display().to_string());
    space.kubectl(&["cp", &source, "store:/tmp/there"], "").ok();
    assert_eq!(space.shell("store", "cat /tmp/there/one; wc -c < /tmp/there/deep/two").ok().out.trim(), "1300000");
    space.kubectl(&["cp", "store:/tmp/there", &target], "").ok();
    assert_eq!(std::fs::read(directory.join("back/deep/two")).unwrap(), vec![7; 300_000]);
    // kubectl itself takes the empty archive for success, and may be gone before it has printed what tar says.
    std::fs::remove_dir_all(directory.join("back")).unwrap();
    space.kubectl(&["cp", "store:/tmp/nowhere", &target], "");
    assert!(!directory.join("back").exists());
    space.shell("store", "tar cf - /tmp/nowhere").fails_with("No such file");
}

fn port_forward(space: &Space<'_>) {
    space.run(&[pod("web", SERVE)]);
    space.k("expose pod web --port=80 --target-port=8080").ok();
    for (target, port) in [("pod/web", 8080), ("service/web", 80)] {
        let local = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let forward = space.background(&format!("port-forward {target} {local}:{port}"));
        forward.wait_for("Forwarding from 127.0.0.1");
        let url = format!("http://127.0.0.1:{local}/");
        for _ in 0..10 {
            let answer =
                lotse_e2e::run("curl", ["--silent", "--show-error", "--fail", "--max-time", "5", &url], "", &[]);
            assert_eq!(answer.ok().out.trim(), "web", "{}", forward.out());
        }
        // Several at once.
        let urls = vec![url.as_str(); 10];
        let parallel = lotse_e2e::run(
            "curl",
            ["--silent", "--fail", "--parallel", "--max-time", "10"].iter().chain(&urls),
            "",
            &[],
        );
        assert_eq!(parallel.ok().out.lines().count(), 10, "{}", forward.out());
    }
    // A port on which nobody listens breaks the one connection, not the command's patience.
    let local = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let forward = space.background(&format!("port-forward pod/web {local}:9"));
    forward.wait_for("Forwarding from 127.0.0.1");
    let refused =
        lotse_e2e::run("curl", ["--silent", "--max-time", "5", &format!("http://127.0.0.1:{local}/")], "", &[]);
    assert_ne!(refused.code, 0);
    forward.wait_for("refused");
}

fn attach(space: &Space<'_>) {
    space.run(&[pod("ticker", "trap 'exit 0' TERM; while true; do echo tick; sleep 0.1; done")]);
    let attach = space.background("attach ticker");
    attach.wait_for("tick");
    let mut reader = pod("reader", "while read line; do echo got $line; done");
    reader["spec"]["containers"][0]["stdin"] = json!(true);
    space.run(&[reader]);
    let mut attach = space.background("attach -i reader");
    attach.write("hello\n");
    attach.wait_for("got hello");
}

fn run(space: &Space<'_>) {
    let counted = space
        .kubectl(
            &["run", "count", "--rm", "-i", "--image", IMAGE, "--restart=Never", "--quiet", "--", "wc", "-c"],
            "12345",
        )
        .ok();
    assert!(counted.out.starts_with('5'), "{counted:?}");
    assert_eq!(space.get("pod count"), serde_json::Value::Null);
    let failed = space.kubectl(
        &["run", "fail", "--rm", "-i", "--image", IMAGE, "--restart=Never", "--quiet", "--", "sh", "-c", "exit 3"],
        "",
    );
    assert_eq!(failed.code, 3, "{failed:?}");
    space
        .kubectl(
            &[
                "run",
                "plain",
                "--image",
                IMAGE,
                "--labels=a=b",
                "--env=WHO=me",
                "--restart=Never",
                "--",
                "sh",
                "-c",
                "echo $WHO",
            ],
            "",
        )
        .ok();
    space.k("wait --for=jsonpath={.status.phase}=Succeeded pod/plain --timeout=30s").ok();
    assert_eq!(space.k("logs plain").ok().out, "me\n");
    assert_eq!(space.output_of(&once("again", "echo done")), "done\n");
}

fn proxy(space: &Space<'_>) {
    space.run(&[pod("web", SERVE)]);
    space.k("expose pod web --port=80 --target-port=8080").ok();
    let namespace = &space.namespace;
    for path in [
        format!("/api/v1/namespaces/{namespace}/pods/web:8080/proxy/"),
        format!("/api/v1/namespaces/{namespace}/services/web:80/proxy/index.html"),
    ] {
        space.wait("the proxy answers", 10, || space.k(&format!("get --raw {path}")).out.trim() == "web");
    }
}
