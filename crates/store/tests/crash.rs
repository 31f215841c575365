//! Kills a writing process again and again; whatever it acknowledged must be there, whole.
//!
//! Every writer owns its keys and writes them in turn, each write numbered. So after a kill the file may differ from
//! what was acknowledged by at most the one next write of each writer, and its content is known exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
// The parent of the crash test has no runtime.
#![allow(clippy::disallowed_methods)]

mod support;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use lotse_store::{Expect, ListOptions, Revision, SqliteOptions, SqliteStore, Store};
use support::{delete, put, run};

const KILLS: u64 = 200;
const WRITERS: u64 = 8;
const KEYS: u64 = 12;
const PATH: &str = "LOTSE_CRASH_STORE";
const ROUND: &str = "LOTSE_CRASH_ROUND";

fn options() -> SqliteOptions {
    // Little slack, so that kills hit compaction, packing and truncation too.
    SqliteOptions { slack_bytes: 64 << 10, ..SqliteOptions::default() }
}

/// What a writer's write number `number` of a round does: the key and its value, `None` to delete.
fn write(round: u64, writer: u64, number: u64) -> (String, Option<Vec<u8>>) {
    let key = format!("/crash/{writer}/{}", number % KEYS);
    if number % 7 == 6 {
        return (key, None);
    }
    let stamp = format!("{round}.{writer}.{number};");
    let size = 50 + (round * 31 + writer * 17 + number * 101) % 3000;
    (key, Some(stamp.bytes().cycle().take(size as usize).collect()))
}

#[test]
#[ignore = "the process that the crash test kills; it writes until then"]
fn writing_process() {
    let path = std::env::var_os(PATH).expect("only the crash test starts this");
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let store = Arc::new(SqliteStore::open(Path::new(&path), options()).unwrap());
    run(async {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for number in 0.. {
                        let (key, value) = write(round, writer, number);
                        let there = store.get(&key).map(|entry| entry.revision);
                        let revision = match (value, there) {
                            (Some(value), there) => {
                                let expect = there.map_or(Expect::Absent, Expect::Revision);
                                store.commit(put(&key, expect, value)).await.unwrap().revision
                            }
                            (None, Some(there)) => {
                                store.commit(delete(&key, Expect::Revision(there))).await.unwrap().revision
                            }
                            (None, None) => 0,
                        };
                        let line = format!("ack {writer} {number} {revision}\n");
                        let mut stdout = std::io::stdout().lock();
                        stdout.write_all(line.as_bytes()).unwrap();
                        stdout.flush().unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

/// Starts a writer, lets it live for a while, kills it, and gives the acknowledged (writer, number, revision).
fn life(path: &Path, round: u64, span: Duration) -> Vec<(u64, u64, Revision)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writing_process", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    std::thread::sleep(span);
    assert!(child.try_wait().unwrap().is_none(), "the writing process ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    let text = reader.join().unwrap();
    let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let acknowledged = complete.lines().filter_map(|line| line.split_once("ack ").map(|(_, fields)| fields));
    acknowledged
        .map(|fields| {
            let numbers: Vec<u64> = fields.split(' ').map(|field| field.parse().unwrap()).collect();
            (numbers[0], numbers[1], numbers[2])
        })
        .collect()
}

type Content = BTreeMap<String, Vec<u8>>;

fn apply(content: &mut Content, (key, value): (String, Option<Vec<u8>>)) {
    match value {
        Some(value) => content.insert(key, value),
        None => content.remove(&key),
    };
}

#[test]
fn killed_processes_lose_no_acknowledged_write_and_tear_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let mut content = Content::new();
    let mut newest: Revision = 0;
    let mut writes = 0;
    let began = Instant::now();
    for round in 0..KILLS {
        // Deterministic, yet spread over start, load, commits and housekeeping.
        let span = Duration::from_micros(15_000 + (round * 7_919_317) % 120_000);
        let acknowledged = life(&path, round, span);
        writes += acknowledged.len();
        let store = SqliteStore::open(&path, options()).unwrap();
        let mut next = [0; WRITERS as usize];
        let mut expected_revisions = BTreeMap::new();
        let mut last = [newest; WRITERS as usize];
        let mut all = std::collections::BTreeSet::new();
        for (writer, number, revision) in acknowledged {
            let index = writer as usize;
            assert_eq!(number, next[index], "acknowledgements come in order");
            next[index] = number + 1;
            let change = write(round, writer, number);
            if revision > 0 {
                assert!(revision > last[index], "revisions grow, over restarts too");
                assert!(all.insert(revision), "revision {revision} was given twice");
                last[index] = revision;
                expected_revisions.insert(change.0.clone(), revision);
            }
            apply(&mut content, change);
        }
        assert!(store.revision() >= last.iter().copied().max().unwrap());
        newest = store.revision();
        let entries = store.list("/crash/", ListOptions::default()).unwrap().entries;
        let found: Content = entries.iter().map(|entry| (entry.key.to_string(), entry.value.to_vec())).collect();
        for writer in 0..WRITERS {
            let own = |content: &Content| -> Content {
                let prefix = format!("/crash/{writer}/");
                content
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            };
            let (found, mut expected) = (own(&found), own(&content));
            if found != expected {
                // The write in flight may have happened; nothing else.
                apply(&mut expected, write(round, writer, next[writer as usize]));
                assert!(found == expected, "round {round}, writer {writer}: lost or torn write");
                let in_flight = write(round, writer, next[writer as usize]).0;
                expected_revisions.remove(&in_flight);
            } else {
                expected_revisions.remove(&write(round, writer, next[writer as usize]).0);
            }
        }
        for entry in &entries {
            assert!(entry.created <= entry.revision && entry.revision <= newest);
            if let Some(revision) = expected_revisions.get(&*entry.key) {
                assert_eq!(entry.revision, *revision, "{} has another revision than acknowledged", entry.key);
            }
        }
        content = found;
    }
    assert!(writes as u64 > 10 * KILLS, "only {writes} writes in {KILLS} lives: nothing was under load");
    println!("{KILLS} kills, {writes} acknowledged writes, revision {newest}, {:?}", began.elapsed());
}
