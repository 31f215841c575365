//! What lists and maps take while they exist, so that a render can end before the memory does.

use std::cell::Cell;

use super::value::Value;

/// Bytes that a list or a map is reckoned at, while it exists.
pub(super) struct Held(Cell<usize>);

/// What a list, an element, a map and an entry with a short key take.
pub(super) const LIST_BYTES: usize = 64;
pub(super) const ELEMENT_BYTES: usize = size_of::<Value>();
pub(super) const MAP_BYTES: usize = 96;
pub(super) const ENTRY_BYTES: usize = 112;

thread_local! {
    /// The sum over all lists and maps of this thread, which renders one chart.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that all lists and maps of this render take at the moment, without the texts in them.
pub(super) fn held() -> usize {
    HELD.get()
}

// === impl Held ===

impl Held {
    pub(super) fn new(bytes: usize) -> Held {
        HELD.set(HELD.get().saturating_add(bytes));
        Held(Cell::new(bytes))
    }

    pub(super) fn set(&self, bytes: usize) {
        HELD.set(HELD.get().saturating_sub(self.0.replace(bytes)).saturating_add(bytes));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}
