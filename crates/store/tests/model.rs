//! Random operations against a model that is too simple to be wrong: the complete log.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use lotse_store::{
    Entry, Error, Event, EventKind, Expect, History, ListOptions, MemoryStore, Revision, SqliteOptions, SqliteStore,
    Store, Watch,
};
use proptest::prelude::*;
use support::{delete, drain, put, run};

const WINDOW: usize = 12;
const KEYS: [&str; 7] = ["/a", "/a/1", "/a/2", "/a/21", "/ab/1", "/b/1", "/b/2"];
const PREFIXES: [&str; 6] = ["", "/", "/a", "/a/", "/b/", "/c"];

#[derive(Clone, Copy, Debug)]
enum Wanted {
    Absent,
    Present,
    Actual,
    Wrong,
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, Wanted, usize),
    Delete(usize, Wanted),
    Get(usize),
    /// Pages of one revision, this far back, with writes in between impossible: each page is compared.
    List {
        prefix: usize,
        back: u64,
        limit: usize,
    },
    Watch {
        prefix: usize,
        back: u64,
    },
    /// Reads on with the watch that has been open all the time.
    ReadOn,
    Reopen,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![2 => Just(Wanted::Absent), 2 => Just(Wanted::Present), 2 => Just(Wanted::Actual), 1 => Just(Wanted::Wrong)]
}

fn step() -> impl Strategy<Value = Step> {
    let prefix = 0..PREFIXES.len();
    prop_oneof![
        10 => (0..KEYS.len(), wanted(), 0..3000usize).prop_map(|(key, wanted, size)| Step::Put(key, wanted, size)),
        5 => (0..KEYS.len(), wanted()).prop_map(|(key, wanted)| Step::Delete(key, wanted)),
        2 => (0..KEYS.len()).prop_map(Step::Get),
        4 => (prefix.clone(), 0..20u64, 1..5usize).prop_map(|(prefix, back, limit)| Step::List { prefix, back, limit }),
        4 => (prefix, 0..20u64).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        2 => Just(Step::ReadOn),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    log: Vec<Event>,
    started: Revision,
}

impl Model {
    fn revision(&self) -> Revision {
        self.log.len() as Revision
    }

    fn oldest(&self) -> Revision {
        self.started.max(self.revision().saturating_sub(WINDOW as u64))
    }

    fn at(&self, revision: Revision) -> BTreeMap<String, Entry> {
        let mut state = BTreeMap::new();
        for event in &self.log[..revision as usize] {
            if event.kind == EventKind::Deleted {
                state.remove(&*event.entry.key);
            } else {
                state.insert(event.entry.key.to_string(), event.entry.clone());
            }
        }
        state
    }

    fn get(&self, key: &str) -> Option<Entry> {
        self.at(self.revision()).remove(key)
    }

    fn since(&self, prefix: &str, after: Revision) -> Vec<Event> {
        let matching = self.log[after as usize..].iter().filter(|event| event.entry.key.starts_with(prefix));
        matching.cloned().collect()
    }

    fn expect(&self, key: &str, wanted: Wanted) -> (Expect, bool) {
        let actual = self.get(key).map(|entry| entry.revision);
        match wanted {
            Wanted::Absent => (Expect::Absent, actual.is_none()),
            Wanted::Present => (Expect::Present, actual.is_some()),
            Wanted::Actual => (Expect::Revision(actual.unwrap_or(0)), actual.is_some()),
            Wanted::Wrong => (Expect::Revision(actual.unwrap_or(0) + 1), false),
        }
    }
}

struct Subject<'a> {
    store: Option<Box<dyn Store>>,
    path: Option<&'a Path>,
}

const HISTORY: History = History { max_events: WINDOW, max_bytes: 1 << 30, min_age: Duration::ZERO };

impl Subject<'_> {
    fn open(&mut self) {
        self.store = None;
        self.store = Some(match self.path {
            Some(path) => {
                // No slack: compaction runs all the time.
                let options = SqliteOptions { history: HISTORY, slack_bytes: 0, ..SqliteOptions::default() };
                Box::new(SqliteStore::open(path, options).unwrap())
            }
            None => Box::new(MemoryStore::new(HISTORY).unwrap()),
        });
    }

    fn store(&self) -> &dyn Store {
        self.store.as_deref().unwrap()
    }
}

async fn check(mut subject: Subject<'_>, steps: Vec<Step>) -> Result<(), TestCaseError> {
    subject.open();
    let mut model = Model::default();
    let mut open: (Box<dyn Watch>, Revision) = (subject.store().watch("/a/", 0).unwrap(), 0);
    for step in steps {
        let store = subject.store();
        match step {
            Step::Put(key, wanted, size) => {
                let (expect, holds) = model.expect(KEYS[key], wanted);
                let value = Bytes::from(vec![model.revision() as u8; size]);
                let previous = model.get(KEYS[key]);
                let result = store.commit(put(KEYS[key], expect, value.clone())).await;
                prop_assert_eq!(result.is_ok(), holds);
                if let Ok(entry) = result {
                    let revision = model.revision() + 1;
                    let created = previous.as_ref().map_or(revision, |entry| entry.created);
                    prop_assert_eq!(&entry, &Entry { key: KEYS[key].into(), value, revision, created });
                    let kind = if previous.is_some() { EventKind::Updated } else { EventKind::Created };
                    model.log.push(Event { kind, entry, previous });
                }
            }
            Step::Delete(key, wanted) => {
                let (expect, holds) = model.expect(KEYS[key], wanted);
                let previous = model.get(KEYS[key]);
                let result = store.commit(delete(KEYS[key], expect)).await;
                prop_assert_eq!(result.is_ok(), holds && previous.is_some());
                if let Ok(entry) = result {
                    prop_assert_eq!(entry.revision, model.revision() + 1);
                    model.log.push(Event { kind: EventKind::Deleted, entry, previous });
                }
            }
            Step::Get(key) => prop_assert_eq!(store.get(KEYS[key]), model.get(KEYS[key])),
            Step::List { prefix, back, limit } => list(store, &model, PREFIXES[prefix], back, limit)?,
            Step::Watch { prefix, back } => {
                let after = model.revision().saturating_sub(back);
                match store.watch(PREFIXES[prefix], after) {
                    Ok(mut watch) => {
                        compare(&drain(&mut *watch).await.unwrap(), &model.since(PREFIXES[prefix], after))?
                    }
                    Err(Error::Compacted { .. }) => prop_assert!(after < model.oldest()),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::ReadOn => {
                let (watch, after) = &mut open;
                let expected = model.since("/a/", *after);
                match drain(&mut **watch).await {
                    Ok(events) => {
                        compare(&events, &expected)?;
                        prop_assert_eq!(watch.position(), model.revision());
                    }
                    // Only if something was really missed.
                    Err(Error::Compacted { .. }) => {
                        prop_assert!(expected.first().is_some_and(|event| event.entry.revision <= model.oldest()));
                        *watch = store.watch("/a/", model.revision()).unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
                *after = model.revision();
            }
            Step::Reopen => {
                if subject.path.is_some() {
                    subject.open();
                    model.started = model.revision();
                    open = (subject.store().watch("/a/", model.revision()).unwrap(), model.revision());
                }
            }
        }
        prop_assert_eq!(subject.store().revision(), model.revision());
    }
    Ok(())
}

fn compare(events: &[std::sync::Arc<Event>], expected: &[Event]) -> Result<(), TestCaseError> {
    prop_assert_eq!(events.len(), expected.len());
    for (event, expected) in events.iter().zip(expected) {
        prop_assert_eq!(&**event, expected);
    }
    Ok(())
}

fn list(store: &dyn Store, model: &Model, prefix: &str, back: u64, limit: usize) -> Result<(), TestCaseError> {
    let at = model.revision().saturating_sub(back);
    let expected: Vec<Entry> = model.at(at).into_values().filter(|entry| entry.key.starts_with(prefix)).collect();
    let mut seen: Vec<Entry> = Vec::new();
    loop {
        let after = seen.last().map(|entry| entry.key.to_string());
        match store.list(prefix, ListOptions { at: Some(at), after: after.as_deref(), limit: Some(limit) }) {
            Ok(page) => {
                prop_assert_eq!(page.revision, at);
                seen.extend(page.entries);
                prop_assert_eq!(page.remaining, expected.len() - seen.len());
                if page.remaining == 0 {
                    break;
                }
            }
            Err(Error::Compacted { .. }) => {
                prop_assert!(at < model.oldest());
                return Ok(());
            }
            Err(error) => panic!("{error}"),
        }
    }
    prop_assert!(at >= model.oldest());
    prop_assert_eq!(seen, expected);
    prop_assert_eq!(
        store.count(prefix),
        model.at(model.revision()).keys().filter(|key| key.starts_with(prefix)).count()
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_store_agrees_with_the_model(steps in prop::collection::vec(step(), 1..120)) {
        run(check(Subject { store: None, path: None }, steps))?;
    }

    #[test]
    fn sqlite_store_agrees_with_the_model(steps in prop::collection::vec(step(), 1..120)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        run(check(Subject { store: None, path: Some(&path) }, steps))?;
    }
}
