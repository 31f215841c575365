//! State, queue and writer thread put together: a whole store but for its journal.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use crate::{
    BoxFuture, Change, Entry, Error, History, Journal, List, ListOptions, Revision, Watch, queue::Queue, state::State,
    watch::WindowWatch, writer,
};

/// Figures about a store, cheap enough to be read at every scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The newest revision.
    pub revision: Revision,
    /// The oldest revision at which the state can still be listed.
    pub oldest: Revision,
    /// How many keys exist.
    pub keys: usize,
    /// Sum of all keys and newest values, in bytes.
    pub bytes: u64,
    /// Events in the history window.
    pub history_events: usize,
    /// What the history window is charged with, in bytes; values shared with the newest state included.
    pub history_bytes: usize,
}

/// What callers, watchers and the writer thread share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    state: RwLock<State>,
    /// The writer thread has published its last event.
    ended: AtomicBool,
}

impl Shared {
    // Nothing panics while it holds the lock for writing, so a poisoned lock still guards a consistent state.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) {
        self.queue.abandon();
        self.ended.store(true, Ordering::Release);
        let watchers = self.read().watchers();
        watchers.iter().for_each(|changed| changed.notify_waiters());
    }
}

/// A store without its backend's own operations.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a journal holds when a store starts on it.
#[derive(Default)]
pub(crate) struct Recovered {
    pub(crate) entries: BTreeMap<Arc<str>, Entry>,
    pub(crate) revision: Revision,
}

impl Engine {
    pub(crate) fn start(
        recovered: Recovered,
        mut journal: Box<dyn Journal>,
        history: History,
        queue: usize,
    ) -> Result<Self, Error> {
        let state = State::new(recovered.entries, recovered.revision, history);
        let shared =
            Arc::new(Shared { queue: Queue::new(queue), state: RwLock::new(state), ended: AtomicBool::new(false) });
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer::run(&writer, &mut *journal))
            .map_err(|source| Error::Backend { operation: "start of the writer thread", source: source.into() })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let state = self.shared.read();
        let (history_events, history_bytes) = state.window();
        Statistics {
            revision: state.revision(),
            oldest: state.oldest(),
            keys: state.keys(),
            bytes: state.bytes(),
            history_events,
            history_bytes,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.queue.is_closed()
    }

    /// Refuses new writes, carries out those submitted, and waits until the journal is closed.
    pub(crate) fn close(&self) {
        self.shared.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may be dropped by a write's encoder, which runs on the writer thread itself.
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the writer thread of the store ended by a panic");
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.shared.read().revision()
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.shared.read().get(key).cloned()
    }

    pub(crate) fn list(&self, prefix: &str, options: ListOptions<'_>) -> Result<List, Error> {
        self.shared.read().list(prefix, options)
    }

    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.shared.read().count(prefix)
    }

    pub(crate) fn commit(&self, change: Change) -> BoxFuture<'static, Result<Entry, Error>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.queue.submit(change).await })
    }

    pub(crate) fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, Error> {
        let subscription = self.shared.write().subscribe(prefix, after)?;
        Ok(Box::new(WindowWatch { shared: Arc::clone(&self.shared), subscription, position: after }))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Implements [`crate::Store`] by an `engine` field.
macro_rules! store_by_engine {
    ($store:ty) => {
        impl $crate::Store for $store {
            fn revision(&self) -> $crate::Revision {
                self.engine.revision()
            }

            fn get(&self, key: &str) -> Option<$crate::Entry> {
                self.engine.get(key)
            }

            fn list(&self, prefix: &str, options: $crate::ListOptions<'_>) -> Result<$crate::List, $crate::Error> {
                self.engine.list(prefix, options)
            }

            fn count(&self, prefix: &str) -> usize {
                self.engine.count(prefix)
            }

            fn commit(
                &self,
                change: $crate::Change,
            ) -> $crate::BoxFuture<'static, Result<$crate::Entry, $crate::Error>> {
                self.engine.commit(change)
            }

            fn watch(&self, prefix: &str, after: $crate::Revision) -> Result<Box<dyn $crate::Watch>, $crate::Error> {
                self.engine.watch(prefix, after)
            }
        }
    };
}

pub(crate) use store_by_engine;
