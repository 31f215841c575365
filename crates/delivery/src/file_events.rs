//! Commits in local repositories and changes in plain directories, noticed by file events.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lotse_client::Key;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::git::{self, Location};

/// Most directories of a plain source that are watched.
const MAX_DIRECTORIES: usize = 10_000;

/// Tells which Applications read from a path that changed.
pub(crate) struct FileEvents {
    watcher: Option<RecommendedWatcher>,
    readers: Arc<Mutex<HashMap<PathBuf, HashSet<Key>>>>,
}

// === impl FileEvents ===

impl FileEvents {
    /// Calls `changed` for every Application whose source may be different now.
    pub(crate) fn new(changed: impl Fn(Key) + Send + Sync + 'static) -> Self {
        let readers: Arc<Mutex<HashMap<PathBuf, HashSet<Key>>>> = Arc::default();
        let shared = readers.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if event.kind.is_access()
                || event.paths.iter().all(|path| path.extension().is_some_and(|end| end == "lock"))
            {
                return;
            }
            let readers = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let keys: HashSet<&Key> = readers
                .iter()
                .filter(|(root, _)| event.paths.iter().any(|path| path.starts_with(root)))
                .flat_map(|(_, keys)| keys)
                .collect();
            keys.into_iter().cloned().for_each(&changed);
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|error| tracing::warn!(%error, "no file events: local repositories are polled instead"))
            .ok();
        Self { watcher, readers }
    }

    /// Whether events arrive for this source; otherwise it must be polled.
    pub(crate) fn watch(&mut self, key: &Key, url: &str, worktree: bool) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let roots = match Location::parse(url) {
            Ok(Location::Plain(path)) => directories(&path),
            Ok(Location::Local(path)) if worktree => directories(&path),
            Ok(Location::Local(path)) => match git::git_directory(&path) {
                // Branches are files below `refs` or lines of `packed-refs`; `HEAD` changes with a checkout.
                Some(directory) => {
                    let mut roots = directories(&directory.join("refs"));
                    roots.push(directory);
                    roots
                }
                None => return false,
            },
            _ => return false,
        };
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        for root in roots {
            let known = readers.contains_key(&root);
            if !known && watcher.watch(&root, RecursiveMode::NonRecursive).is_err() {
                return false;
            }
            readers.entry(root).or_default().insert(key.clone());
        }
        true
    }

    /// Stops telling `key`; paths that nobody reads any more are no longer watched.
    pub(crate) fn forget(&mut self, key: &Key) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|root, keys| {
            keys.remove(key);
            if keys.is_empty()
                && let Some(watcher) = &mut self.watcher
            {
                // The directory may be gone, and its watch with it.
                let _ = watcher.unwatch(root);
            }
            !keys.is_empty()
        });
    }
}

/// `root` and the directories below it, without `.git`.
fn directories(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        for entry in entries.flatten() {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && entry.file_name() != ".git" && found.len() < MAX_DIRECTORIES {
                found.push(entry.path());
            }
        }
    }
    found
}
