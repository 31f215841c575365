//! What survives the death of the daemon, of a shim, and of the machine. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use lotse_runtime::*;
use support::{Machine, exit, pod};

/// Names the directory of the daemon that is to be killed.
const VICTIM: &str = "LOTSE_RUNTIME_TEST_VICTIM";

fn pid(status: &ContainerStatus) -> u32 {
    match status.state {
        ContainerState::Running { pid, .. } => pid,
        _ => panic!("{status:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_daemon_adopts_what_runs_and_learns_what_ended() {
    let mut machine = Machine::new().await;
    machine.runtime().start_pod(&pod("i")).await.unwrap();
    let long = machine.runtime().start_container("i", &machine.shell("long", "sleep 1000")).await.unwrap();
    let short = machine.runtime().start_container("i", &machine.shell("short", "sleep 0.3; exit 11")).await.unwrap();
    let before = machine.runtime().pod("i").unwrap();
    machine.runtime = None;
    tokio::time::sleep(Duration::from_millis(500)).await;
    machine.restart().await;
    let after = machine.runtime().pod("i").unwrap();
    assert!(after.alive);
    assert_eq!((after.shim_pid, &after.spec), (before.shim_pid, &before.spec));
    assert_eq!(after.containers[0], before.containers[0]);
    assert_eq!(pid(&after.containers[0]), pid(&long));
    assert_eq!(exit(&machine.wait("i", &short.id).await).0, 11);
    // And it still works: exec, new containers, events.
    assert_eq!(machine.exec("i", &long.id, &["echo", "hi"]).await.1, "hi\n");
    let mut events = machine.runtime().events();
    machine.runtime().stop_container("i", &long.id, Duration::ZERO).await.unwrap();
    assert!(matches!(events.recv().await.unwrap(), RuntimeEvent::ContainerExited { .. }));
    let error = machine.runtime().remove_image(support::IMAGE).await.unwrap_err().to_string();
    assert!(error.contains("in use by 2 container(s)"), "{error}");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_takes_its_containers_along() {
    let mut machine = Machine::new().await;
    machine.runtime().start_pod(&pod("j")).await.unwrap();
    let status = machine.runtime().start_container("j", &machine.shell("x", "sleep 1000")).await.unwrap();
    let mut events = machine.runtime().events();
    let shim = machine.runtime().pod("j").unwrap().shim_pid.unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(events.recv().await.unwrap(), RuntimeEvent::PodLost { pod: "j".into() });
    let lost = machine.runtime().pod("j").unwrap();
    assert!(!lost.alive);
    assert_eq!(exit(&lost.containers[0].state).0, 137);
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid(&status)));
    assert!(stat.is_err() || stat.unwrap().contains(") Z "), "the container's process still runs");
    machine.restart().await;
    assert!(!machine.runtime().pod("j").unwrap().alive);
    assert!(machine.runtime().start_container("j", &machine.shell("y", "true")).await.is_err());
    machine.finish().await;
}

/// Not a test of its own: the process that [`killing_the_daemon_does_not_touch_containers`] kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by another test"]
async fn daemon_that_is_killed() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    let directory = std::path::PathBuf::from(directory);
    let runtime = Runtime::open(support::config(&directory)).unwrap();
    let mut spec = support::shell(&directory, "c", "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.02; done");
    spec.log_path = directory.join("c.log");
    runtime.start_pod(&pod("r")).await.unwrap();
    runtime.start_container("r", &spec).await.unwrap();
    fs::write(directory.join("up"), "").unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_daemon_does_not_touch_containers() {
    let mut machine = Machine::new().await;
    machine.runtime = None;
    let mut daemon = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "daemon_that_is_killed", "--ignored"])
        .env(VICTIM, machine.directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !machine.directory.path().join("up").exists() {
        assert!(Instant::now() < deadline, "the daemon does not come up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let lines = || fs::read_to_string(machine.directory.path().join("c.log")).unwrap().lines().count();
    let before = lines();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(lines() > before + 3, "the log does not grow while there is no daemon");
    machine.restart().await;
    let status = machine.runtime().pod("r").unwrap();
    assert!(status.alive && matches!(status.containers[0].state, ContainerState::Running { .. }), "{status:?}");
    let id = &status.containers[0].id;
    assert_eq!(machine.exec("r", id, &["echo", "still here"]).await.1, "still here\n");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_a_power_loss_has_cut_off_is_cleared_away() {
    let mut machine = Machine::new().await;
    for uid in ["s", "t"] {
        machine.runtime().start_pod(&pod(uid)).await.unwrap();
        machine.runtime().start_container(uid, &machine.shell(uid, "sleep 1000")).await.unwrap();
    }
    let pods = machine.directory.path().join("root/pods");
    let live = machine.runtime().pod("s").unwrap();
    let shim = machine.runtime().pod("t").unwrap().shim_pid.unwrap();
    machine.runtime = None;
    let whole = fs::read(pods.join("s/pod.json")).unwrap();
    fs::write(pods.join("s/pod.json"), &whole[..whole.len() / 2]).unwrap();
    fs::write(pods.join("t/containers").join(container(&pods.join("t"))).join("container.json"), "").unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    while std::os::unix::net::UnixStream::connect(machine.directory.path().join("run/t.sock")).is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    machine.restart().await;
    assert!(machine.runtime().pods().is_empty());
    assert!(!pods.join("t").exists(), "what is left of a dead pod goes");
    assert!(pods.join("s/pod.json").exists(), "a pod that runs is left alone");
    machine.runtime().start_pod(&pod("t")).await.unwrap();
    // The one that runs is as it was once its state can be read again.
    fs::write(pods.join("s/pod.json"), whole).unwrap();
    machine.restart().await;
    assert_eq!(machine.runtime().pod("s").unwrap(), live);
    machine.finish().await;
}

/// The id of a pod's only container.
fn container(pod: &std::path::Path) -> std::ffi::OsString {
    fs::read_dir(pod.join("containers")).unwrap().next().unwrap().unwrap().file_name()
}
