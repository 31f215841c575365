//! The file: what survives, who may open it, what is refused, and how large it becomes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use lotse_store::{Error, Expect, FileError, ListOptions, SqliteOptions, SqliteStore, Store};
use support::{chain, create, delete, put, remove, run, update};

const MB: u64 = 1 << 20;

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default()).unwrap()
}

fn refused(path: &Path) -> FileError {
    match SqliteStore::open(path, SqliteOptions::default()).err().expect("must be refused") {
        Error::Backend { operation: "open", source } => *source.downcast::<FileError>().unwrap(),
        error => panic!("{error}"),
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    (directory, path)
}

fn files(directory: &Path) -> u64 {
    std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn restart_keeps_acknowledged_writes_and_goes_on_counting() {
    let (_directory, path) = place();
    run(async {
        let store = open(&path);
        create(&store, "/a/1", "one").await;
        create(&store, "/a/2", "two").await;
        update(&store, "/a/1", "three").await;
        remove(&store, "/a/2").await;
        let before = store.list("", ListOptions::default()).unwrap();
        drop(store);
        let store = open(&path);
        let after = store.list("", ListOptions::default()).unwrap();
        assert_eq!((after.revision, after.entries), (before.revision, before.entries));
        assert_eq!(store.get("/a/1").unwrap().created, 1);
        assert!(matches!(store.watch("/a/", 3).err(), Some(Error::Compacted { requested: 3, oldest: 4 })));
        assert!(store.watch("/a/", 4).is_ok());
        assert_eq!(create(&store, "/a/2", "new").await.revision, 5);
    });
}

#[test]
fn revisions_never_repeat_after_everything_was_deleted_and_compacted() {
    let (_directory, path) = place();
    let options = SqliteOptions { slack_bytes: 0, ..SqliteOptions::default() };
    run(async {
        let mut expected = 0;
        for _ in 0..3 {
            let store = SqliteStore::open(&path, options.clone()).unwrap();
            assert_eq!(store.revision(), expected);
            for number in 0..20 {
                create(&store, &format!("/a/{number}"), "x").await;
                expected = remove(&store, &format!("/a/{number}")).await.revision;
            }
            let rows = || -> i64 {
                let connection = rusqlite::Connection::open(&path).unwrap();
                connection.query_row("SELECT count(*) FROM revisions", [], |row| row.get(0)).unwrap()
            };
            let deadline = Instant::now() + Duration::from_secs(10);
            while rows() > 1 {
                assert!(Instant::now() < deadline, "{} rows are left", rows());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            store.close();
        }
        let store = open(&path);
        assert_eq!((store.revision(), store.count("")), (120, 0));
    });
}

#[test]
fn only_the_owner_can_read_the_files() {
    let (directory, path) = place();
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    run(async {
        let store = open(&path);
        create(&store, "/a/1", "one").await;
        store.snapshot(&directory.path().join("copy.db")).unwrap();
        let mut names = Vec::new();
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
            names.push(file.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["copy.db", "store.db", "store.db-lock", "store.db-shm", "store.db-wal"]);
    });
}

#[test]
fn a_store_in_use_is_refused_and_stays_usable() {
    let (_directory, path) = place();
    run(async {
        let store = open(&path);
        create(&store, "/a/1", "one").await;
        let error = refused(&path);
        assert!(matches!(error, FileError::InUse { .. }));
        assert!(error.to_string().contains("store.db is in use"), "{error}");
        create(&store, "/a/2", "two").await;
        store.close();
        assert_eq!(open(&path).count(""), 2);
    });
}

#[test]
fn what_is_not_a_store_is_refused_with_the_reason() {
    let (directory, path) = place();
    std::fs::write(&path, "this is no database at all. ".repeat(1000)).unwrap();
    assert!(matches!(refused(&path), FileError::Damaged { .. }));

    let foreign = directory.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(refused(&foreign), FileError::Foreign { .. }));

    let newer = directory.path().join("newer.db");
    drop(open(&newer));
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refused(&newer);
    assert!(matches!(error, FileError::Newer { found: 99, known: 1, .. }));
    assert!(error.to_string().contains("format 99"), "{error}");

    assert!(matches!(refused(&directory.path().join("no/such/store.db")), FileError::File { .. }));
}

#[test]
fn a_damaged_file_is_refused_not_half_read() {
    let (_directory, path) = place();
    run(async {
        let store = open(&path);
        for number in 0..500 {
            create(&store, &format!("/a/{number}"), &"x".repeat(1000)).await;
        }
    });
    let whole = std::fs::read(&path).unwrap();
    let mut holes = whole.clone();
    holes[20 * 4096..60 * 4096].fill(0xa5);
    let text = String::from_utf8_lossy(&whole[..]).into_owned();
    assert!(text.contains("/a/499"));
    for damaged in [whole[..whole.len() / 2].to_vec(), whole[..4096 * 3 + 17].to_vec(), holes] {
        std::fs::write(&path, damaged).unwrap();
        let error = refused(&path);
        assert!(matches!(error, FileError::Damaged { .. }), "{}", chain(&error));
        assert!(error.to_string().contains("restore it from a snapshot"));
    }
    std::fs::write(&path, whole).unwrap();
    assert_eq!(open(&path).count(""), 500);
}

#[test]
fn a_snapshot_under_load_is_a_store_of_one_moment() {
    let (directory, path) = place();
    let copy = directory.path().join("copy.db");
    run(async {
        let store = Arc::new(open(&path));
        for number in 0..2000 {
            tokio::spawn(store.commit(put(&format!("/a/{number}"), Expect::Absent, "x".repeat(1000))));
        }
        let writer = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in 0..1500 {
                    let key = format!("/b/{number}");
                    create(&*store, &key, "y").await;
                }
            })
        };
        while store.count("/b/") < 50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let revision = tokio::task::block_in_place(|| store.snapshot(&copy)).unwrap();
        writer.await.unwrap();
        let again = store.snapshot(&copy).unwrap_err();
        assert!(matches!(again, Error::Backend { operation: "snapshot", .. }));
        let mut expected = store.list("", ListOptions { at: Some(revision), ..ListOptions::default() }).unwrap();
        let restored = open(&copy);
        assert_eq!(restored.revision(), revision);
        assert_eq!(restored.list("", ListOptions::default()).unwrap().entries, std::mem::take(&mut expected.entries));
        assert_eq!(create(&restored, "/c", "z").await.revision, revision + 1);
        store.close();
        assert!(matches!(store.snapshot(&directory.path().join("late.db")), Err(Error::Closed)));
    });
}

/// Writes many at once and waits for all.
async fn write_all(store: &SqliteStore, changes: impl Iterator<Item = lotse_store::Change>) {
    let writes: Vec<_> = changes.map(|change| tokio::spawn(store.commit(change))).collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
}

#[test]
fn files_stay_under_three_times_the_live_data_under_endless_updates() {
    // Sizes that fit pages well and badly.
    for (size, keys) in [(700, 6000), (2100, 3000), (5000, 1200)] {
        let (directory, path) = place();
        run(async {
            let store = open(&path);
            let value = |round: usize, key: usize| vec![round as u8; size + (key * 37) % 200];
            let key = |number: usize| format!("/a/{number:05}");
            write_all(&store, (0..keys).map(|n| put(&key(n), Expect::Absent, value(0, n)))).await;
            let mut largest = 0;
            for round in 1..25 {
                // A third is written often, the rest seldom: survivors are spread thinly over the file.
                let stride = if round % 8 == 0 { 1 } else { 3 };
                write_all(&store, (0..keys).step_by(stride).map(|n| put(&key(n), Expect::Present, value(round, n))))
                    .await;
                largest = largest.max(files(directory.path()));
            }
            let live = store.statistics().bytes;
            assert!(largest < 3 * live + 12 * MB, "{size}: {largest} bytes in files, {live} alive");
            store.close();
            let closed = files(directory.path());
            assert!(closed < 3 * live, "{size}: {closed} bytes in files after closing, {live} alive");
        });
    }
}

/// Loads rows of one size, deletes all but those kept, and waits until the file has shrunk.
async fn delete_most(size: usize, rows: usize, keeps: fn(usize) -> bool) {
    let (_directory, path) = place();
    let store = open(&path);
    let length = || std::fs::metadata(&path).unwrap().len();
    let key = |number: usize| format!("/a/{number:05}");
    write_all(&store, (0..rows).map(|n| put(&key(n), Expect::Absent, vec![1; size]))).await;
    let gone = || (0..rows).filter(|n| !keeps(*n));
    write_all(&store, gone().map(|n| delete(&key(n), Expect::Present))).await;
    let live = store.statistics().bytes;
    let deadline = Instant::now() + Duration::from_secs(30);
    while length() > 2 * live + 3 * MB {
        assert!(Instant::now() < deadline, "{size}: {} bytes in the file, {live} alive", length());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.close();
    let store = open(&path);
    assert_eq!(store.revision() as usize, rows + gone().count());
    assert_eq!(store.count(""), rows - gone().count());
    for n in (0..rows).filter(|n| keeps(*n)) {
        let entry = store.get(&key(n)).unwrap();
        assert_eq!((entry.value.len(), entry.created), (size, entry.revision));
    }
}

#[test]
fn deleting_most_gives_the_space_back() {
    run(delete_most(1500, 20_000, |n| n % 4 == 0));
}

/// Two of five rows in every page stay: too many for SQLite to merge the pages by itself.
#[test]
fn thinly_spread_survivors_are_packed() {
    run(delete_most(740, 40_000, |n| n % 5 < 2));
}

#[test]
fn a_store_at_its_limit_refuses_writes_and_recovers_by_deletion() {
    let (_directory, path) = place();
    let options = SqliteOptions { max_bytes: Some(2 * MB), ..SqliteOptions::default() };
    run(async {
        let store = SqliteStore::open(&path, options.clone()).unwrap();
        let mut written = 0;
        let error = loop {
            match store.commit(put(&format!("/a/{written:05}"), Expect::Absent, vec![1; 1500])).await {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 2000, "the limit has no effect");
        };
        assert!(matches!(error, Error::Backend { operation: "commit", .. }));
        assert!(chain(&error).contains("full"), "{}", chain(&error));
        let list = store.list("", ListOptions::default()).unwrap();
        assert_eq!((list.entries.len() as u64, list.revision), (written, written));
        for number in 0..written / 2 {
            store.commit(delete(&format!("/a/{number:05}"), Expect::Present)).await.unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while store.commit(put("/a/again", Expect::Absent, vec![2; 1500])).await.is_err() {
            assert!(Instant::now() < deadline, "the store does not recover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let before = store.list("", ListOptions::default()).unwrap();
        store.close();
        let store = SqliteStore::open(&path, options).unwrap();
        let after = store.list("", ListOptions::default()).unwrap();
        assert_eq!((after.revision, after.entries), (before.revision, before.entries));
    });
}

#[test]
fn memory_is_counted() {
    let (_directory, path) = place();
    run(async {
        let store = open(&path);
        create(&store, "/a/1", "12345").await;
        create(&store, "/a/2", "1").await;
        update(&store, "/a/1", "123").await;
        remove(&store, "/a/2").await;
        let statistics = store.statistics();
        assert_eq!((statistics.keys, statistics.bytes, statistics.revision), (1, 7, 4));
        assert_eq!((statistics.oldest, statistics.history_events), (0, 4));
    });
}
