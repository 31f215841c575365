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
    readers: Readers,
}

/// Who reads below which directory.
type Readers = Arc<Mutex<HashMap<PathBuf, HashSet<Key>>>>;

// === impl FileEvents ===

impl FileEvents {
    /// Calls `changed` for every Application whose source may be different now.
    pub(crate) fn new(changed: impl Fn(Key) + Send + Sync + 'static) -> Self {
        let readers = Readers::default();
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
        let readers = self.readers.clone();
        let readers = || readers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watcher) = &mut self.watcher else { return false };
        // The watcher's thread answers only between two events, and an event waits for the lock: it must not be held meanwhile.
        for root in roots {
            let known = readers().contains_key(&root);
            if !known && watcher.watch(&root, RecursiveMode::NonRecursive).is_err() {
                return false;
            }
            readers().entry(root).or_default().insert(key.clone());
        }
        true
    }

    /// Stops telling `key`; paths that nobody reads any more are no longer watched.
    pub(crate) fn forget(&mut self, key: &Key) {
        let mut unread = Vec::new();
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).retain(|root, keys| {
            keys.remove(key);
            if keys.is_empty() {
                unread.push(root.clone());
            }
            !keys.is_empty()
        });
        if let Some(watcher) = &mut self.watcher {
            for root in unread {
                // The directory may be gone, and its watch with it.
                let _ = watcher.unwatch(&root);
            }
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::{sync::atomic::AtomicBool, sync::atomic::Ordering, time::Duration};

    use super::*;

    #[test]
    fn watching_and_forgetting_never_wait_for_events_that_wait_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let (sender, done) = std::sync::mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (root, writing) = (directory.path().to_owned(), stop.clone());
        let writer = std::thread::spawn(move || {
            let mut number = 0;
            while !writing.load(Ordering::Relaxed) {
                number += 1;
                let _ = std::fs::write(root.join(format!("file-{}", number % 50)), number.to_string());
            }
        });
        let url = directory.path().display().to_string();
        std::thread::spawn(move || {
            let mut events = FileEvents::new(|_| {});
            for number in 0..500 {
                let name = format!("app-{}", number % 3);
                let key = Key { namespace: Some("argocd".to_owned()), name };
                assert!(events.watch(&key, &url, true));
                events.forget(&key);
            }
            sender.send(()).unwrap();
        });
        let outcome = done.recv_timeout(Duration::from_secs(30));
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        assert!(outcome.is_ok(), "the watcher and its user wait for each other");
    }
}
