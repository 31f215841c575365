//! The durable store: one SQLite file, one process, one writer.

mod file;
mod journal;
mod snapshot;

use std::path::{Path, PathBuf};

pub use file::FileError;

use crate::{
    Error, History, Revision, Statistics,
    engine::{Engine, store_by_engine},
};

/// How a [`SqliteStore`] behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// What watches and lists at an older revision can reach. It starts empty at every opening.
    pub history: History,
    /// Writes that may wait at once; further callers wait for a slot.
    pub queue: usize,
    /// Space in bytes that superseded revisions and free pages may take before they are removed, however little is
    /// alive. Beyond it, a quarter of what is alive.
    pub slack_bytes: u64,
    /// The database does not grow beyond this many bytes (without the write-ahead log, some 4 MiB); writes then fail
    /// until something is deleted. `None` leaves it to the disk.
    pub max_bytes: Option<u64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { history: History::default(), queue: 1024, slack_bytes: 2 << 20, max_bytes: None }
    }
}

/// A store in a SQLite file.
///
/// A write is acknowledged after its transaction has been synchronised to disk. When the disk refuses, the write fails
/// and stays invisible, reads go on, and later writes work again as soon as the disk does. As with every database, a
/// write that failed in the very synchronisation may turn out to have happened if the machine stops before the next
/// successful write.
pub struct SqliteStore {
    engine: Engine,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens or creates the store at `path`; its directory must exist. The file gets mode 0600. Two more files appear
    /// next to it while it is open (`-wal`, `-shm`) and one stays (`-lock`).
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] with a [`FileError`] as source when the file is in use, damaged, not a store, or made by a
    /// newer version.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, Error> {
        let failed = |source: FileError| Error::Backend { operation: "open", source: Box::new(source) };
        let opened = file::open(path, &options).map_err(failed)?;
        let engine = Engine::start(opened.recovered, Box::new(opened.journal), options.history, options.queue)?;
        Ok(Self { engine, path: path.to_owned() })
    }

    /// Figures about the store.
    pub fn statistics(&self) -> Statistics {
        self.engine.statistics()
    }

    /// Writes a copy of the newest state to a new file, while the store goes on working; gives the revision that the
    /// copy has. The copy is a store of its own. Blocks for as long as copying the file takes.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] when `to` exists or cannot be written, [`Error::Closed`].
    pub fn snapshot(&self, to: &Path) -> Result<Revision, Error> {
        if self.engine.is_closed() {
            return Err(Error::Closed);
        }
        snapshot::take(&self.path, to)
            .map_err(|source| Error::Backend { operation: "snapshot", source: Box::new(source) })
    }

    /// Carries out what was submitted, refuses everything after it, and closes the file. Reads go on; watches end
    /// with [`Error::Closed`] after the last event. Blocks until the file is closed. Dropping the store does the same.
    pub fn close(&self) {
        self.engine.close();
    }
}

store_by_engine!(SqliteStore);
