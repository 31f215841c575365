//! A disk that refuses. A child process runs under a file size limit, which the kernel enforces on every write to
//! database and log, and lifts it later.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::{path::Path, process::Command};

use lotse_store::{Error, Expect, ListOptions, SqliteOptions, SqliteStore, Store};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{create, put, run};

const PATH: &str = "LOTSE_FULL_STORE";

#[test]
#[ignore = "runs under the file size limit that the test below sets"]
fn limited_process() {
    let path = std::env::var_os(PATH).expect("only the test below starts this");
    let path = Path::new(&path);
    run(async {
        let store = SqliteStore::open(path, SqliteOptions::default()).unwrap();
        let mut watch = store.watch("/a/", 0).unwrap();
        let mut written = 0;
        let value = || vec![7; 1500];
        loop {
            match store.commit(put(&format!("/a/{written:05}"), Expect::Absent, value())).await {
                Ok(_) => written += 1,
                Err(Error::Backend { operation: "commit", .. }) => break,
                Err(error) => panic!("{error}"),
            }
            assert!(written < 20_000, "the limit has no effect");
        }
        for _ in 0..20 {
            assert!(store.commit(put("/a/refused", Expect::Absent, value())).await.is_err());
        }
        let list = store.list("", ListOptions::default()).unwrap();
        assert_eq!((list.entries.len() as u64, list.revision), (written, written));
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
        assert_eq!(create(&store, "/a/again", "x").await.revision, written + 1);
        let events = support::drain(&mut *watch).await.unwrap();
        assert_eq!(support::revisions(&events), (1..=written + 1).collect::<Vec<_>>());
        // No orderly end: what was acknowledged must not depend on one.
        println!("written {written}");
        std::process::exit(42);
    });
}

#[test]
fn a_full_disk_fails_writes_keeps_reads_and_is_survived() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    // The signal that comes with the limit stays ignored over `exec`; the write then fails like on a full disk.
    let script = "trap '' XFSZ; ulimit -S -f 1000; exec \"$0\" --exact limited_process --ignored --nocapture";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(PATH, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    assert_eq!(child.status.code(), Some(42), "{text}{}", String::from_utf8_lossy(&child.stderr));
    let written: u64 = text.split("written ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    assert_eq!((store.revision(), store.count("/a/") as u64), (written + 1, written + 1));
    assert!(store.get("/a/again").is_some() && store.get("/a/refused").is_none());
}
