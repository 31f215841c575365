#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::net::UnixListener;

use serde_json::json;

use super::*;
use crate::process_identity::ProcessIdentity;

/// A pod whose shim is this process: `listener` answers for it.
fn pod(directory: &Path) -> (Arc<Pod>, UnixListener) {
    let spec: PodSpec = serde_json::from_value(json!({
        "uid": "u", "namespace": "n", "name": "p", "hostname": "p", "network_namespace": null, "host_pid": false,
        "host_ipc": false, "share_process_namespace": false, "sysctls": {}, "qos": "BestEffort",
        "resources": crate::Resources::default(),
    }))
    .unwrap();
    let socket = directory.join("shim.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let process = ProcessIdentity::of(std::process::id()).unwrap();
    let shim = ShimIdentity { process, pause: None };
    let pod = Pod::new(spec, directory.to_owned(), socket, "/none".to_owned(), Some(shim), Vec::new());
    (Arc::new(pod), listener)
}

fn running(id: &str) -> Container {
    let spec: ContainerSpec = serde_json::from_value(json!({
        "name": "c", "attempt": 0, "image": "i", "command": [], "args": [], "working_dir": null, "env": [], "mounts": [],
        "security": crate::Security::default(), "resources": crate::Resources::default(), "stdin": false,
        "stdin_once": false, "tty": false, "stop_signal": null, "log_path": "/none", "labels": {},
    }))
    .unwrap();
    let record = Record { id: id.to_owned(), spec, image: "i".to_owned(), created: Timestamp::now() };
    Container { record, state: ContainerState::Running { pid: 1, started: Timestamp::now() } }
}

fn is_running(pod: &Pod, id: &str) -> bool {
    matches!(pod.container(id).unwrap().state, ContainerState::Running { .. })
}

/// The follower's connection, after its question has arrived.
fn asked(listener: &UnixListener) -> UnixStream {
    let (stream, _) = listener.accept().unwrap();
    let (request, _) = protocol::receive::<Request>(&stream).unwrap();
    assert!(matches!(request, Request::Subscribe));
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_container_that_starts_while_its_pod_begins_to_be_followed_is_not_taken_for_lost() {
    let directory = tempfile::TempDir::new().unwrap();
    let (pod, listener) = pod(directory.path());
    pod.add(running("early"));
    let (events, mut heard) = broadcast::channel(16);
    let follower = {
        let pod = Arc::clone(&pod);
        tokio::spawn(async move { pod.subscribe(&events).await })
    };
    // The shim has answered that nothing runs; before the daemon reads it, a container is started.
    tokio::task::spawn_blocking({
        let pod = Arc::clone(&pod);
        move || {
            let stream = asked(&listener);
            pod.add(running("late"));
            protocol::send(&stream, &Response::Containers { running: Vec::new() }, &[]).unwrap();
        }
    })
    .await
    .unwrap();
    follower.await.unwrap().unwrap();
    assert!(is_running(&pod, "late"), "nobody has seen it end");
    assert!(!is_running(&pod, "early"), "it ended while nobody listened");
    assert!(
        matches!(heard.recv().await.unwrap(), RuntimeEvent::ContainerExited { container, .. } if container == "early")
    );
    assert!(heard.recv().await.is_err(), "there is one event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_container_that_ends_while_its_pod_begins_to_be_followed_is_noticed() {
    let directory = tempfile::TempDir::new().unwrap();
    let (pod, listener) = pod(directory.path());
    let (events, mut heard) = broadcast::channel(16);
    let follower = {
        let pod = Arc::clone(&pod);
        tokio::spawn(async move { pod.subscribe(&events).await })
    };
    // It starts after the daemon has begun to ask, and ends before the shim knows of anybody who listens.
    tokio::task::spawn_blocking({
        let pod = Arc::clone(&pod);
        move || {
            let stream = asked(&listener);
            pod.add(running("brief"));
            let path = pod.container_directory("brief");
            std::fs::create_dir_all(&path).unwrap();
            let now = Timestamp::now();
            let exit = Exit { code: 3, signal: None, out_of_memory: false, started: now, finished: now };
            durable::replace_json(&path.join("exit.json"), &exit).unwrap();
            protocol::send(&stream, &Response::Containers { running: Vec::new() }, &[]).unwrap();
        }
    })
    .await
    .unwrap();
    follower.await.unwrap().unwrap();
    assert!(matches!(pod.container("brief").unwrap().state, ContainerState::Exited { code: 3, .. }));
    assert!(
        matches!(heard.recv().await.unwrap(), RuntimeEvent::ContainerExited { container, .. } if container == "brief")
    );
}
