//! What the store's tests share.
#![allow(dead_code, missing_docs)]

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use lotse_store::{Change, Entry, Error, Event, Expect, Revision, Store, Watch};

pub(crate) fn put(key: &str, expect: Expect, value: impl Into<Bytes>) -> Change {
    let value = value.into();
    Change::Put { key: key.into(), expect, encode: Box::new(move |_| value) }
}

pub(crate) fn delete(key: &str, expect: Expect) -> Change {
    Change::Delete { key: key.into(), expect, encode: Box::new(|revision| Bytes::from(format!("gone at {revision}"))) }
}

pub(crate) async fn create(store: &dyn Store, key: &str, value: &str) -> Entry {
    store.commit(put(key, Expect::Absent, value.to_owned())).await.unwrap()
}

pub(crate) async fn update(store: &dyn Store, key: &str, value: &str) -> Entry {
    store.commit(put(key, Expect::Present, value.to_owned())).await.unwrap()
}

pub(crate) async fn remove(store: &dyn Store, key: &str) -> Entry {
    store.commit(delete(key, Expect::Present)).await.unwrap()
}

/// The next event; a watch that stays silent fails the test.
pub(crate) async fn next(watch: &mut dyn Watch) -> Result<Arc<Event>, Error> {
    tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("the watch stays silent")
}

/// Everything that is there already.
pub(crate) async fn drain(watch: &mut dyn Watch) -> Result<Vec<Arc<Event>>, Error> {
    let mut events = Vec::new();
    loop {
        tokio::select! {
            biased;
            event = watch.next() => events.push(event?),
            () = std::future::ready(()) => return Ok(events),
        }
    }
}

pub(crate) fn revisions(events: &[Arc<Event>]) -> Vec<Revision> {
    events.iter().map(|event| event.entry.revision).collect()
}

pub(crate) fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.key).collect()
}

pub(crate) fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// The chain of causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
