//! What makes writes durable; the only thing in which backends differ.

use std::sync::Arc;

use crate::Event;

/// Why a journal refused.
pub type JournalError = Box<dyn std::error::Error + Send + Sync>;

/// The durable log under a store. Only the writer thread calls it, so it may block.
pub trait Journal: Send + 'static {
    /// Makes the events durable, all or none; they come in revision order without gaps. After an error the same
    /// revisions are offered again with other content, so whatever reached the disk of the refused group must then
    /// be replaced.
    fn append(&mut self, events: &[Arc<Event>]) -> Result<(), JournalError>;

    /// Does one bounded step of housekeeping, if one is worth it, and says whether more is waiting. `idle` is false
    /// between two groups of a busy store: then only what must not be put off is done.
    fn maintain(&mut self, idle: bool) -> Result<bool, JournalError> {
        let _ = idle;
        Ok(false)
    }
}
