//! What every backend must do.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lotse_store::{
    Change, Error, EventKind, Expect, History, ListOptions, MemoryStore, SqliteOptions, SqliteStore, Store,
};
use support::{chain, create, delete, drain, keys, next, put, remove, revisions, run, update};

/// A store under test and what must outlive it.
struct Subject {
    store: Arc<dyn Store>,
    close: Box<dyn Fn()>,
    _directory: Option<tempfile::TempDir>,
}

fn memory(history: History) -> Subject {
    let store = Arc::new(MemoryStore::new(history).unwrap());
    let closing = Arc::clone(&store);
    Subject { store, close: Box::new(move || closing.close()), _directory: None }
}

fn sqlite(history: History) -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions { history, ..SqliteOptions::default() };
    let store = Arc::new(SqliteStore::open(&directory.path().join("store.db"), options).unwrap());
    let closing = Arc::clone(&store);
    Subject { store, close: Box::new(move || closing.close()), _directory: Some(directory) }
}

/// Runs every test of the suite on both backends.
macro_rules! behaviour {
    ($($name:ident)*) => {
        mod memory_store {
            $(#[test] fn $name() { super::run(super::$name(super::memory)) })*
        }
        mod sqlite_store {
            $(#[test] fn $name() { super::run(super::$name(super::sqlite)) })*
        }
    };
}

behaviour! {
    every_write_gets_the_next_revision
    unmet_expectations_change_nothing_and_name_the_actual_revision
    the_encoder_knows_the_revision_it_is_stored_under
    a_panicking_encoder_fails_its_write_only
    lists_are_ordered_and_confined_to_their_prefix
    pages_of_one_revision_ignore_later_writes
    revisions_outside_the_window_are_refused
    a_watch_delivers_what_happened_since
    a_watch_sees_only_its_prefix_and_its_position_moves_on
    a_quiet_watch_survives_a_busy_neighbour
    a_watch_that_falls_behind_is_told
    dropping_a_waiting_next_loses_nothing
    concurrent_writers_reach_watchers_without_gap_or_duplicate
    only_one_of_many_competing_writers_wins
    a_write_goes_on_when_its_future_is_dropped
    closing_answers_everything_and_refuses_the_rest
    young_history_outlives_its_count
}

type Open = fn(History) -> Subject;

fn short(max_events: usize) -> History {
    History { max_events, max_bytes: usize::MAX / 4, min_age: Duration::ZERO }
}

async fn every_write_gets_the_next_revision(open: Open) {
    let subject = open(History::default());
    let store = &*subject.store;
    assert_eq!(store.revision(), 0);
    let first = create(store, "/a/x", "1").await;
    assert_eq!((first.revision, first.created), (1, 1));
    let second = update(store, "/a/x", "2").await;
    assert_eq!((second.revision, second.created), (2, 1));
    assert_eq!(store.get("/a/x").unwrap(), second);
    let third = remove(store, "/a/x").await;
    assert_eq!((third.revision, third.created, &third.value[..]), (3, 1, &b"gone at 3"[..]));
    assert_eq!(store.get("/a/x"), None);
    let fourth = create(store, "/a/x", "4").await;
    assert_eq!((fourth.revision, fourth.created), (4, 4));
    assert_eq!(store.revision(), 4);
}

async fn unmet_expectations_change_nothing_and_name_the_actual_revision(open: Open) {
    let subject = open(History::default());
    let store = &*subject.store;
    let there = create(store, "/a/x", "1").await;
    let refused = [
        (put("/a/x", Expect::Absent, "2"), Some(1)),
        (put("/a/x", Expect::Revision(7), "2"), Some(1)),
        (put("/a/y", Expect::Present, "2"), None),
        (put("/a/y", Expect::Revision(1), "2"), None),
        (delete("/a/x", Expect::Absent), Some(1)),
        (delete("/a/x", Expect::Revision(2)), Some(1)),
        (delete("/a/y", Expect::Present), None),
        (delete("/a/y", Expect::Absent), None),
    ];
    for (change, expected) in refused {
        match store.commit(change).await {
            Err(Error::Conflict { actual, .. }) => assert_eq!(actual, expected),
            other => panic!("expected a conflict, got {other:?}"),
        }
    }
    assert_eq!(store.revision(), 1);
    assert_eq!(store.list("", ListOptions::default()).unwrap().entries, vec![there]);
    assert!(store.commit(put("/a/x", Expect::Revision(1), "2")).await.is_ok());
    assert!(store.commit(delete("/a/x", Expect::Revision(2))).await.is_ok());
}

async fn the_encoder_knows_the_revision_it_is_stored_under(open: Open) {
    let subject = open(History::default());
    for expected in 1..=20 {
        let encode = Box::new(|revision: u64| Bytes::from(revision.to_string()));
        let key = format!("/a/{expected}").into();
        let entry = subject.store.commit(Change::Put { key, expect: Expect::Absent, encode }).await.unwrap();
        assert_eq!((entry.revision, entry.value), (expected, Bytes::from(expected.to_string())));
    }
}

async fn a_panicking_encoder_fails_its_write_only(open: Open) {
    let subject = open(History::default());
    let store = &*subject.store;
    for round in 0..3u64 {
        let encode = Box::new(|_| panic!("cannot encode"));
        let bad = store.commit(Change::Put { key: "/a/bad".into(), expect: Expect::Absent, encode });
        let key = format!("/a/{round}");
        let good = store.commit(put(&key, Expect::Absent, "fine"));
        let (bad, good) = tokio::join!(bad, good);
        let error = bad.unwrap_err();
        assert!(matches!(error, Error::Backend { .. }));
        assert!(chain(&error).contains("cannot encode"), "{}", chain(&error));
        assert_eq!(good.unwrap().revision, round + 1);
    }
    assert_eq!(store.get("/a/bad"), None);
    assert_eq!(store.revision(), 3);
}

async fn lists_are_ordered_and_confined_to_their_prefix(open: Open) {
    let subject = open(History::default());
    let store = &*subject.store;
    for key in ["/b/1", "/a/3", "/a/1", "/ab/1", "/a/2", "/a"] {
        create(store, key, key).await;
    }
    let list = |prefix, options| store.list(prefix, options).unwrap();
    assert_eq!(keys(&list("/a/", ListOptions::default()).entries), ["/a/1", "/a/2", "/a/3"]);
    assert_eq!(keys(&list("", ListOptions::default()).entries), ["/a", "/a/1", "/a/2", "/a/3", "/ab/1", "/b/1"]);
    assert_eq!((store.count("/a/"), store.count("/a"), store.count("/c")), (3, 5, 0));
    let page = list("/a/", ListOptions { limit: Some(2), ..ListOptions::default() });
    assert_eq!((keys(&page.entries), page.remaining), (vec!["/a/1", "/a/2"], 1));
    let page = list("/a/", ListOptions { limit: Some(2), after: Some("/a/2"), at: None });
    assert_eq!((keys(&page.entries), page.remaining), (vec!["/a/3"], 0));
    // A continuation from elsewhere neither widens nor wraps the list.
    assert_eq!(list("/a/", ListOptions { after: Some("/"), ..ListOptions::default() }).entries.len(), 3);
    assert_eq!(list("/a/", ListOptions { after: Some("/z"), ..ListOptions::default() }).entries.len(), 0);
    assert_eq!(list("/a/", ListOptions { limit: Some(0), ..ListOptions::default() }).remaining, 3);
}

async fn pages_of_one_revision_ignore_later_writes(open: Open) {
    let subject = open(History::default());
    let store = &*subject.store;
    for number in 0..10 {
        create(store, &format!("/a/{number}"), "old").await;
    }
    let all = store.list("/a/", ListOptions::default()).unwrap();
    let at = all.revision;
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    let mut noise = 0;
    loop {
        let options = ListOptions { at: Some(at), after: after.as_deref(), limit: Some(3) };
        let page = store.list("/a/", options).unwrap();
        assert_eq!(page.revision, at);
        assert_eq!(page.remaining, 10 - seen.len() - page.entries.len());
        seen.extend(page.entries);
        if page.remaining == 0 {
            break;
        }
        after = seen.last().map(|entry| entry.key.to_string());
        noise += 1;
        update(store, "/a/9", "new").await;
        update(store, "/a/8", "new").await;
        remove(store, "/a/8").await;
        create(store, "/a/8", "newest").await;
        create(store, &format!("/a/5{noise}"), "new").await;
        remove(store, &format!("/a/{}", 7 - noise)).await;
    }
    assert_eq!(seen, all.entries);
}

async fn revisions_outside_the_window_are_refused(open: Open) {
    let subject = open(short(5));
    let store = &*subject.store;
    for number in 0..20 {
        create(store, &format!("/a/{number:02}"), "x").await;
    }
    let at = |revision| store.list("/a/", ListOptions { at: Some(revision), ..ListOptions::default() });
    assert!(matches!(at(14), Err(Error::Compacted { requested: 14, oldest: 15 })));
    assert_eq!(at(15).unwrap().entries.len(), 15);
    assert_eq!(at(20).unwrap().entries.len(), 20);
    assert!(matches!(at(21), Err(Error::Future { requested: 21, newest: 20 })));
    assert!(matches!(store.watch("/a/", 14).err(), Some(Error::Compacted { requested: 14, oldest: 15 })));
    assert!(matches!(store.watch("/a/", 21).err(), Some(Error::Future { requested: 21, newest: 20 })));
    assert!(store.watch("/a/", 15).is_ok());
}

async fn a_watch_delivers_what_happened_since(open: Open) {
    let subject = open(History::default());
    let store = &*subject.store;
    create(store, "/a/1", "one").await;
    let mut watch = store.watch("/a/", 0).unwrap();
    let mut late = store.watch("/a/", 1).unwrap();
    let created = next(&mut *watch).await.unwrap();
    assert_eq!((created.kind, created.previous.as_ref()), (EventKind::Created, None));
    update(store, "/a/1", "two").await;
    remove(store, "/a/1").await;
    let updated = next(&mut *watch).await.unwrap();
    assert_eq!((updated.kind, &updated.entry.value[..]), (EventKind::Updated, &b"two"[..]));
    assert_eq!(updated.previous.as_ref(), Some(&created.entry));
    let deleted = next(&mut *watch).await.unwrap();
    assert_eq!((deleted.kind, &deleted.entry.value[..]), (EventKind::Deleted, &b"gone at 3"[..]));
    assert_eq!(deleted.previous.as_ref(), Some(&updated.entry));
    assert_eq!(revisions(&drain(&mut *late).await.unwrap()), [2, 3]);
}

async fn a_watch_sees_only_its_prefix_and_its_position_moves_on(open: Open) {
    let subject = open(History::default());
    let store = &*subject.store;
    let mut watch = store.watch("/a/", 0).unwrap();
    create(store, "/b/1", "x").await;
    assert_eq!(watch.position(), 1);
    create(store, "/a/1", "x").await;
    create(store, "/ab/1", "x").await;
    assert_eq!(watch.position(), 1, "an event that was not returned yet is not covered");
    assert_eq!(revisions(&drain(&mut *watch).await.unwrap()), [2]);
    assert_eq!(watch.position(), 3);
}

async fn a_quiet_watch_survives_a_busy_neighbour(open: Open) {
    let subject = open(short(5));
    let store = Arc::clone(&subject.store);
    let mut watch = store.watch("/quiet/", 0).unwrap();
    let mut waiting = store.watch("/quiet/", 0).unwrap();
    let waiting = tokio::spawn(async move { next(&mut *waiting).await.unwrap().entry.revision });
    for number in 0..100 {
        create(&*store, &format!("/busy/{number}"), "x").await;
    }
    create(&*store, "/quiet/1", "x").await;
    assert_eq!(next(&mut *watch).await.unwrap().entry.revision, 101);
    assert_eq!(waiting.await.unwrap(), 101);
}

async fn a_watch_that_falls_behind_is_told(open: Open) {
    let subject = open(short(5));
    let store = &*subject.store;
    let mut watch = store.watch("/a/", 0).unwrap();
    for number in 0..6 {
        create(store, &format!("/a/{number}"), "x").await;
    }
    assert!(matches!(next(&mut *watch).await, Err(Error::Compacted { requested: 0, oldest: 1 })));
}

async fn dropping_a_waiting_next_loses_nothing(open: Open) {
    let subject = open(History::default());
    let store = Arc::clone(&subject.store);
    let mut watch = store.watch("/a/", 0).unwrap();
    let writer = tokio::spawn(async move {
        for number in 0..300 {
            create(&*store, &format!("/a/{number}"), "x").await;
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 300 {
        if let Ok(event) = tokio::time::timeout(Duration::from_micros(50), watch.next()).await {
            seen.push(event.unwrap().entry.revision);
        }
    }
    writer.await.unwrap();
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
}

async fn concurrent_writers_reach_watchers_without_gap_or_duplicate(open: Open) {
    const WRITERS: u64 = 16;
    const WRITES: u64 = 150;
    let subject = open(History::default());
    let watchers: Vec<_> = (0..8)
        .map(|number| {
            let store = Arc::clone(&subject.store);
            tokio::spawn(async move {
                // Some start in the middle.
                let mut after = 0;
                if number % 2 == 1 {
                    tokio::time::sleep(Duration::from_millis(number)).await;
                    after = store.revision();
                }
                let mut watch = store.watch("/", after).unwrap();
                let mut state = std::collections::BTreeMap::new();
                for expected in after + 1..=WRITERS * WRITES {
                    let event = next(&mut *watch).await.unwrap();
                    assert_eq!(event.entry.revision, expected);
                    assert!(watch.position() >= expected);
                    // What an event replaces is what the event before it left.
                    if let Some(before) = state.insert(Arc::clone(&event.entry.key), event.entry.clone()) {
                        assert_eq!(event.previous, Some(before));
                    }
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let store = Arc::clone(&subject.store);
            tokio::spawn(async move {
                let key = format!("/w/{number}");
                let mut last = create(&*store, &key, "0").await.revision;
                for round in 1..WRITES {
                    let change = put(&key, Expect::Revision(last), round.to_string());
                    let entry = store.commit(change).await.unwrap();
                    assert!(entry.revision > last);
                    last = entry.revision;
                    assert_eq!(store.get(&key).unwrap().revision, last, "an acknowledged write is visible");
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(watchers) {
        task.await.unwrap();
    }
    assert_eq!(subject.store.revision(), WRITERS * WRITES);
}

async fn only_one_of_many_competing_writers_wins(open: Open) {
    let subject = open(History::default());
    let mut current = create(&*subject.store, "/a/x", "0").await.revision;
    for _ in 0..20 {
        let attempts: Vec<_> =
            (0..20).map(|_| tokio::spawn(subject.store.commit(put("/a/x", Expect::Revision(current), "x")))).collect();
        let mut winners = Vec::new();
        for attempt in attempts {
            match attempt.await.unwrap() {
                Ok(entry) => winners.push(entry.revision),
                Err(Error::Conflict { actual, .. }) => assert_eq!(actual, Some(current + 1)),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(winners, [current + 1]);
        current += 1;
    }
}

async fn a_write_goes_on_when_its_future_is_dropped(open: Open) {
    let subject = open(History::default());
    let store = &*subject.store;
    let mut watch = store.watch("/a/", 0).unwrap();
    let (entered, encoding) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let encode = Box::new(move |_| {
        entered.send(()).unwrap();
        released.recv().unwrap();
        Bytes::from_static(b"x")
    });
    let write = tokio::spawn(store.commit(Change::Put { key: "/a/x".into(), expect: Expect::Absent, encode }));
    tokio::task::block_in_place(|| encoding.recv().unwrap());
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    release.send(()).unwrap();
    assert_eq!(next(&mut *watch).await.unwrap().entry.revision, 1);
}

async fn closing_answers_everything_and_refuses_the_rest(open: Open) {
    let subject = open(History::default());
    let store = Arc::clone(&subject.store);
    let mut watch = store.watch("/a/", 0).unwrap();
    let writes: Vec<_> =
        (0..200).map(|number| tokio::spawn(store.commit(put(&format!("/a/{number}"), Expect::Absent, "x")))).collect();
    tokio::task::block_in_place(|| (subject.close)());
    let mut written = 0;
    for write in writes {
        match write.await.unwrap() {
            Ok(_) => written += 1,
            Err(Error::Closed) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(store.revision(), written);
    assert!(matches!(store.commit(put("/a/x", Expect::Absent, "x")).await, Err(Error::Closed)));
    for revision in 1..=written {
        assert_eq!(next(&mut *watch).await.unwrap().entry.revision, revision);
    }
    assert!(matches!(next(&mut *watch).await, Err(Error::Closed)));
    assert_eq!(store.count("/a/") as u64, written);
}

async fn young_history_outlives_its_count(open: Open) {
    let history = History { max_events: 5, max_bytes: 100_000, min_age: Duration::from_secs(3600) };
    let subject = open(history);
    let store = &*subject.store;
    for number in 0..50 {
        create(store, &format!("/a/{number}"), "x").await;
    }
    assert!(store.watch("/a/", 0).is_ok());
    // But never beyond twice the bytes.
    let big = "x".repeat(50_000);
    for number in 0..6 {
        create(store, &format!("/big/{number}"), &big).await;
    }
    assert!(matches!(store.watch("/c/", 50).err(), Some(Error::Compacted { .. })));
    assert!(store.watch("/c/", 54).is_ok());
}
