//! Profiles, ports, starting, stopping, and what a crash leaves.

use std::{net::TcpListener, time::Duration};

use libtest_mimic::Trial;
use lotse_e2e::{Cluster, Options, binary, run};

use crate::claim;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        claim("lifecycle::profiles_run_side_by_side_with_data_of_their_own", profiles),
        claim("lifecycle::everything_written_is_there_after_a_crash", crash),
        claim("lifecycle::up_waits_for_a_daemon_that_is_dying_and_starts_another", dying_daemon),
        claim("lifecycle::a_taken_port_is_named_and_leaves_no_trace", taken_port),
        claim("lifecycle::a_second_daemon_for_the_same_data_is_refused", second_daemon),
        claim("lifecycle::reset_leaves_no_container_network_or_mount", reset),
        claim("lifecycle::commands_without_a_cluster_say_how_to_start_one", not_running),
    ]
}

fn profiles() {
    let one = Cluster::start("one", &Options::default());
    let two = Cluster::start("two", &Options::default());
    one.kubectl(&["create", "namespace", "only-in-one"]).ok();
    two.kubectl(&["get", "namespace", "only-in-one"]).fails_with("not found");
    let networks = [&one, &two].map(|cluster| {
        let service = cluster.get(&["service", "kubernetes"]);
        service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned()
    });
    assert_ne!(networks[0], networks[1]);
    assert!(one.lotse(&["status"]).ok().out.contains("Ready"));
    let status = two.lotse(&["status", "-o", "json"]).ok().json();
    assert_eq!(status["nodeReady"], true, "{status}");
}

fn crash() {
    let cluster = Cluster::start("crash", &Options::default());
    for round in 0..3 {
        let mut names = Vec::new();
        for number in 0..20 {
            let name = format!("round-{round}-{number}");
            cluster.kubectl(&["create", "configmap", &name, "--from-literal=key=value"]).ok();
            names.push(name);
        }
        run("kill", ["-9", &cluster.daemon_pid()], "", &[]).ok();
        cluster.up(&[]).ok();
        for name in &names {
            cluster.kubectl(&["get", "configmap", name]).ok();
        }
    }
}

/// Between the signal and the end a killed daemon still holds its lock, on a busy machine for a while.
fn dying_daemon() {
    let cluster = Cluster::start("dying", &Options::default());
    let pid = cluster.daemon_pid();
    run("kill", ["-STOP", &pid], "", &[]).ok();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run("sh", ["-c", &format!("sleep 0.5; kill -9 {pid}")], "", &[]).ok();
        });
        cluster.up(&[]).ok();
    });
    assert_ne!(cluster.daemon_pid(), pid);
    cluster.kubectl(&["get", "namespaces"]).ok();
}

fn taken_port() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let cluster = Cluster::start("ports", &Options::default());
    cluster.lotse(&["down"]).ok();
    for flag in ["--api-port", "--http-port"] {
        let answer = cluster.lotse(&["up", "--detach", flag, &port]);
        assert_eq!(answer.code, 3, "{answer:?}");
        answer.fails_with(&port);
    }
    cluster.up(&[]).ok();
}

fn second_daemon() {
    let cluster = Cluster::start("twice", &Options::default());
    cluster.up(&[]).ok();
    let answer = cluster.lotse(&["up", "--background"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    answer.fails_with("running already");
}

fn reset() {
    let cluster = Cluster::start("traces", &Options::default());
    let profile = cluster.profile.clone();
    cluster.import("students", "demo:v1");
    cluster
        .kubectl(&[
            "run",
            "one",
            "--image=demo:v1",
            "--image-pull-policy=Never",
            "--command",
            "--",
            "/bin/sh",
            "-c",
            "sleep 1000",
        ])
        .ok();
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/one", "--timeout=60s"]).ok();
    let links = || run("ip", ["-o", "link"], "", &[]).ok().out;
    let during = links().lines().count();
    drop(cluster);
    let after = links();
    assert!(after.lines().count() < during, "{after}");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&profile) && !mounts.contains("lotse-e2e-"), "{mounts}");
    std::thread::park_timeout(Duration::from_millis(200));
    // The brackets keep the pattern from matching the program that looks for it.
    let shims = run("pgrep", ["-f", &format!("[s]him .*{profile}")], "", &[]);
    assert_eq!(shims.out, "");
}

fn not_running() {
    let environment = [("LOTSE_STATE_DIR", std::ffi::OsStr::new("/tmp/lotse-e2e-none"))];
    let answer = run(binary("lotse"), ["status", "--profile", "nobody"], "", &environment);
    assert_eq!(answer.code, 4, "{answer:?}");
    answer.fails_with("lotse up");
}
