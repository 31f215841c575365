//! A store that forgets everything when it is dropped: for tests and for what needs no disk.

use crate::{
    Error, History, Journal, JournalError, Statistics,
    engine::{Engine, Recovered, store_by_engine},
};

/// Writes that may wait for the writer at once.
const QUEUE: usize = 1024;

/// A store in memory, or on a journal of the caller's own.
pub struct MemoryStore {
    engine: Engine,
}

impl MemoryStore {
    /// An empty store.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] when no thread can be started.
    pub fn new(history: History) -> Result<Self, Error> {
        Self::with_journal(Box::new(Nothing), history)
    }

    /// An empty store whose writes are acknowledged and visible once `journal` has accepted them.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] when no thread can be started.
    pub fn with_journal(journal: Box<dyn Journal>, history: History) -> Result<Self, Error> {
        Ok(Self { engine: Engine::start(Recovered::default(), journal, history, QUEUE)? })
    }

    /// Figures about the store.
    pub fn statistics(&self) -> Statistics {
        self.engine.statistics()
    }

    /// Carries out what was submitted and refuses everything after it. Reads go on; watches end with
    /// [`Error::Closed`] after the last event. Blocks until the writer has finished.
    pub fn close(&self) {
        self.engine.close();
    }
}

store_by_engine!(MemoryStore);

struct Nothing;

impl Journal for Nothing {
    fn append(&mut self, _: &[std::sync::Arc<crate::Event>]) -> Result<(), JournalError> {
        Ok(())
    }
}
