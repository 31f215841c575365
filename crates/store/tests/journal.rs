//! What a journal that fails, panics or hangs does to a store: nothing that anybody sees.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
// The journals here are slow on purpose, on the writer thread.
#![allow(clippy::disallowed_methods)]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    time::Duration,
};

use lotse_store::{Error, Event, Expect, History, Journal, JournalError, ListOptions, MemoryStore, Store};
use support::{chain, create, drain, put, remove, revisions, run, update};

const WORKS: u8 = 0;
const FAILS: u8 = 1;
const PANICS: u8 = 2;

#[derive(Clone, Default)]
struct Faulty {
    mode: Arc<AtomicU8>,
    accepted: Arc<Mutex<Vec<Arc<Event>>>>,
}

impl Journal for Faulty {
    fn append(&mut self, events: &[Arc<Event>]) -> Result<(), JournalError> {
        match self.mode.load(Ordering::SeqCst) {
            FAILS => Err("no space left".into()),
            PANICS => panic!("the journal has a defect"),
            _ => {
                self.accepted.lock().unwrap().extend_from_slice(events);
                Ok(())
            }
        }
    }
}

#[test]
fn a_failed_commit_is_invisible_and_the_next_one_works() {
    run(async {
        let journal = Faulty::default();
        let store = MemoryStore::with_journal(Box::new(journal.clone()), History::default()).unwrap();
        create(&store, "/a/1", "one").await;
        create(&store, "/a/2", "two").await;
        let mut watch = store.watch("/", 0).unwrap();
        let before = store.list("", ListOptions::default()).unwrap();
        for mode in [FAILS, PANICS] {
            journal.mode.store(mode, Ordering::SeqCst);
            // One group or several: all of them must fail, those that build on each other too.
            let writes: Vec<_> = [
                put("/a/1", Expect::Revision(before.entries[0].revision), "changed"),
                put("/a/3", Expect::Absent, "new"),
                put("/a/4", Expect::Absent, "new"),
                support::delete("/a/2", Expect::Present),
            ]
            .into_iter()
            .map(|change| tokio::spawn(store.commit(change)))
            .collect();
            for write in writes {
                let error = write.await.unwrap().unwrap_err();
                assert!(matches!(error, Error::Backend { operation: "commit", .. }), "{error}");
                let text = chain(&error);
                assert!(text.contains("no space left") || text.contains("has a defect"), "{text}");
            }
            let after = store.list("", ListOptions::default()).unwrap();
            assert_eq!((after.revision, &after.entries), (before.revision, &before.entries));
            assert_eq!(store.get("/a/3"), None);
        }
        journal.mode.store(WORKS, Ordering::SeqCst);
        assert_eq!(create(&store, "/a/3", "three").await.revision, 3);
        update(&store, "/a/3", "four").await;
        remove(&store, "/a/1").await;
        let events = drain(&mut *watch).await.unwrap();
        assert_eq!(revisions(&events), [1, 2, 3, 4, 5]);
        assert_eq!(events, *journal.accepted.lock().unwrap(), "memory is what the journal holds");
    });
}

/// Says that it was entered and waits to be released.
struct Hanging {
    entered: mpsc::Sender<()>,
    released: mpsc::Receiver<()>,
}

impl Journal for Hanging {
    fn append(&mut self, _: &[Arc<Event>]) -> Result<(), JournalError> {
        self.entered.send(())?;
        self.released.recv()?;
        Ok(())
    }
}

#[test]
fn reads_do_not_wait_for_a_running_commit_and_do_not_see_it() {
    run(async {
        let (entered, entering) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let store = MemoryStore::with_journal(Box::new(Hanging { entered, released }), History::default()).unwrap();
        release.send(()).unwrap();
        create(&store, "/a/1", "one").await;
        entering.recv().unwrap();
        let write = tokio::spawn(store.commit(put("/a/1", Expect::Present, "two")));
        tokio::task::block_in_place(|| entering.recv().unwrap());
        let mut watch = store.watch("/", 0).unwrap();
        assert_eq!(&store.get("/a/1").unwrap().value[..], b"one");
        assert_eq!(store.list("/a/", ListOptions::default()).unwrap().entries.len(), 1);
        assert_eq!((store.count("/"), store.revision()), (1, 1));
        assert_eq!(revisions(&drain(&mut *watch).await.unwrap()), [1]);
        assert!(!write.is_finished());
        release.send(()).unwrap();
        write.await.unwrap().unwrap();
        assert_eq!(&store.get("/a/1").unwrap().value[..], b"two");
        assert_eq!(revisions(&drain(&mut *watch).await.unwrap()), [2]);
    });
}

#[test]
fn a_slow_journal_gathers_waiting_writes_into_one_group() {
    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<Vec<usize>>>);
    impl Journal for Slow {
        fn append(&mut self, events: &[Arc<Event>]) -> Result<(), JournalError> {
            std::thread::sleep(Duration::from_millis(20));
            self.0.lock().unwrap().push(events.len());
            Ok(())
        }
    }
    run(async {
        let journal = Slow::default();
        let store = MemoryStore::with_journal(Box::new(journal.clone()), History::default()).unwrap();
        let writes: Vec<_> = (0..100)
            .map(|number| tokio::spawn(store.commit(put(&format!("/a/{number}"), Expect::Absent, "x"))))
            .collect();
        for write in writes {
            write.await.unwrap().unwrap();
        }
        let groups = journal.0.lock().unwrap().clone();
        assert_eq!(groups.iter().sum::<usize>(), 100);
        assert!(groups.len() <= 10, "{groups:?}");
    });
}
