//! A value computed from a part of the store, made anew when that part has changed: always as new as the store, and no work
//! when nothing happens.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use lotse_store::{ListOptions, Store, Watch};

type Compute<T> = fn(&dyn Store, &str) -> T;

/// The watch and what was true when it began; nothing before the first use.
type State<T> = Option<(Box<dyn Watch>, Arc<T>)>;

/// The value and the watch that says when it is out of date.
pub(crate) struct Projection<T> {
    prefix: &'static str,
    compute: Compute<T>,
    state: Mutex<State<T>>,
}

impl<T> Projection<T> {
    /// A value over the keys with this prefix.
    pub(crate) fn new(prefix: &'static str, compute: Compute<T>) -> Self {
        Self { prefix, compute, state: Mutex::new(None) }
    }

    /// The value of now.
    pub(crate) fn get(&self, store: &dyn Store) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((watch, value)) = &mut *state {
            let mut changed = false;
            loop {
                match watch.next().now_or_never() {
                    Some(Ok(_)) => changed = true,
                    Some(Err(_)) => break,
                    None if changed => break,
                    None => return value.clone(),
                }
            }
        }
        // The watch begins before the reading: what happens in between is seen twice rather than not at all.
        let watch = store.watch(self.prefix, store.revision());
        let value = Arc::new((self.compute)(store, self.prefix));
        *state = watch.ok().map(|watch| (watch, value.clone()));
        value
    }
}

/// Every object under a prefix, those that cannot be read left out.
pub(crate) fn objects(store: &dyn Store, prefix: &str) -> Vec<serde_json::Value> {
    let Ok(list) = store.list(prefix, ListOptions::default()) else { return Vec::new() };
    list.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect()
}
