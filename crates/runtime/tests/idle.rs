//! What a shim costs while it has nothing to do. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use lotse_runtime::*;
use support::{Machine, exit, pod};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Most that an idle shim may have in memory, in KiB.
const IDLE: u64 = 5 << 10;

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

/// Waits until a shim has come to rest and returns what it then takes.
async fn rest(pid: u32) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut lowest = u64::MAX;
    while Instant::now() < deadline {
        let now = resident(pid);
        lowest = lowest.min(now);
        if now < IDLE {
            // It stays there, whatever the containers write meanwhile.
            tokio::time::sleep(Duration::from_millis(500)).await;
            return resident(pid);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the shim has {lowest} KiB at least");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_shim_is_small_and_still_does_everything() {
    let machine = Machine::new().await;
    machine.runtime().start_pod(&pod("a")).await.unwrap();
    let shim = machine.runtime().pod("a").unwrap().shim_pid.unwrap();
    let writer = machine.shell("writer", "while true; do echo tick; sleep 0.05; done");
    let writes = machine.runtime().start_container("a", &writer).await.unwrap();
    let mut reader = machine.shell("reader", "while read line; do echo got $line; test $line = end && exit 4; done");
    reader.stdin = true;
    let reads = machine.runtime().start_container("a", &reader).await.unwrap();
    let busy = resident(shim);
    let idle = rest(shim).await;
    println!("resident: {busy} KiB busy, {idle} KiB idle");
    assert!(idle < IDLE, "{idle} KiB");

    let begin = Instant::now();
    assert_eq!(machine.exec("a", &writes.id, &["echo", "hi"]).await, (0, "hi\n".into(), String::new()));
    println!("exec out of the rest: {:?}", begin.elapsed());
    let begin = Instant::now();
    machine.exec("a", &writes.id, &["true"]).await;
    println!("exec once awake: {:?}", begin.elapsed());

    rest(shim).await;
    let mut session = machine.runtime().attach("a", &reads.id, true).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"one\nend\n").await.unwrap();
    let mut output = String::new();
    session.stdout.unwrap().read_to_string(&mut output).await.unwrap();
    assert_eq!((output.as_str(), session.exit.await.unwrap()), ("got one\ngot end\n", 4));

    rest(shim).await;
    let (state, log) = machine.run("a", &machine.shell("late", "echo late; exit 3")).await;
    assert_eq!((exit(&state).0, log.as_str()), (3, "late\n"));

    rest(shim).await;
    let before = machine.log(&writer).lines().count();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(machine.log(&writer).lines().count() > before, "the log has stopped");
    machine.runtime().stop_container("a", &writes.id, Duration::ZERO).await.unwrap();
    assert_eq!(exit(&machine.wait("a", &writes.id).await).0, 137);
    machine.finish().await;
}
