//! Revisioned object store: the one place where cluster state is kept.
//!
//! A store maps keys to opaque bytes. Every write gets the next revision of one sequence, is durable before it is
//! acknowledged or visible, and can be watched without gaps or duplicates from any revision that is still in the
//! history window. The store knows nothing of Kubernetes.
//!
//! The whole newest state and the window are in memory (`state`), one thread orders all writes and commits them in
//! groups (`writer`), and a [`Journal`] makes a group durable. [`SqliteStore`] and [`MemoryStore`] differ in the journal
//! only; reads never wait for a disk.

mod engine;
mod journal;
mod memory;
mod queue;
mod sqlite;
mod state;
mod watch;
mod writer;

pub use engine::Statistics;
pub use journal::{Journal, JournalError};
pub use memory::MemoryStore;
pub use sqlite::{FileError, SqliteOptions, SqliteStore};
pub use state::History;

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;

/// Position in the one sequence of all writes; the first write gets 1, an empty store is at 0.
pub type Revision = u64;

/// One stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The full key.
    pub key: Arc<str>,
    /// What the writer's encoder returned; shared, never copied.
    pub value: Bytes,
    /// Revision of the last write.
    pub revision: Revision,
    /// Revision at which the object was created.
    pub created: Revision,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It did not exist before.
    Created,
    /// It existed and has a new value.
    Updated,
    /// It exists no more; the entry holds its final value as encoded by the deleter.
    Deleted,
}

/// One write as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The object after the write; `entry.revision` is the revision of this event.
    pub entry: Entry,
    /// The object before the write; watchers with selectors need it to see objects leave their selection.
    pub previous: Option<Entry>,
}

/// The state that a write requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key must not exist.
    Absent,
    /// The key must exist with exactly this revision.
    Revision(Revision),
    /// The key must exist.
    Present,
}

/// Produces the bytes to store once the revision of the write is known. Runs on the writer thread: it must be quick
/// (splice a number into bytes that are ready) and must not panic.
pub type Encode = Box<dyn FnOnce(Revision) -> Bytes + Send>;

/// A write.
pub enum Change {
    /// Creates or replaces.
    Put {
        /// The full key.
        key: Arc<str>,
        /// What must hold.
        expect: Expect,
        /// The new value.
        encode: Encode,
    },
    /// Removes.
    Delete {
        /// The full key.
        key: Arc<str>,
        /// What must hold; `Absent` is never satisfied.
        expect: Expect,
        /// The final value, for watchers.
        encode: Encode,
    },
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListOptions<'a> {
    /// The state as of this revision instead of the newest; [`Error::Compacted`] when it is out of the window,
    /// [`Error::Future`] when it has not happened.
    pub at: Option<Revision>,
    /// Only keys greater than this one (the continuation).
    pub after: Option<&'a str>,
    /// At most this many entries.
    pub limit: Option<usize>,
}

/// Entries of one moment, in key order.
#[derive(Clone, Debug)]
pub struct List {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The moment.
    pub revision: Revision,
    /// How many more entries match after the last one returned.
    pub remaining: usize,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The expectation of a write did not hold. `actual` is the current revision of the key, `None` if absent.
    #[error("{key} is not in the expected state")]
    Conflict {
        /// The full key.
        key: Arc<str>,
        /// Current revision, `None` if the key does not exist.
        actual: Option<Revision>,
    },
    /// The revision has left the history window: list again.
    #[error("revision {requested} is compacted, the oldest available is {oldest}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// What is still there.
        oldest: Revision,
    },
    /// The revision has not happened yet.
    #[error("revision {requested} is in the future, the newest is {newest}")]
    Future {
        /// What was asked for.
        requested: Revision,
        /// The newest revision.
        newest: Revision,
    },
    /// The disk or the database refused; nothing of the write is visible.
    #[error("store {operation} failed")]
    Backend {
        /// What was attempted.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// A boxed future, so that the trait can be used as `dyn Store`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The store's verbs. Every backend passes the same behaviour suite.
pub trait Store: Send + Sync + 'static {
    /// The newest visible revision.
    fn revision(&self) -> Revision;

    /// The newest state of one key.
    fn get(&self, key: &str) -> Option<Entry>;

    /// The entries whose keys start with `prefix`, in key order.
    fn list(&self, prefix: &str, options: ListOptions<'_>) -> Result<List, Error>;

    /// How many keys start with `prefix`.
    fn count(&self, prefix: &str) -> usize;

    /// Writes. When the future resolves with `Ok`, the write is on disk and visible to `get`, `list` and watchers.
    /// Dropping the future does not undo a write that was submitted.
    fn commit(&self, change: Change) -> BoxFuture<'static, Result<Entry, Error>>;

    /// Every event with a key under `prefix` and a revision greater than `after`, in order.
    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, Error>;
}

/// A running watch. It holds no queue of its own: it reads the shared history window, and a watcher that falls behind
/// the window gets [`Error::Compacted`] and must list again.
pub trait Watch: Send {
    /// The next event. Cancel-safe. Pending while nothing happens.
    fn next(&mut self) -> BoxFuture<'_, Result<Arc<Event>, Error>>;

    /// Every matching event up to and including this revision has been returned by `next`; what a bookmark may say.
    fn position(&self) -> Revision;
}
