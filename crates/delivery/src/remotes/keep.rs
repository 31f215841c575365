//! What has been fetched, on disk: complete or not there, whatever happens in between.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Once more is kept, the longest unused goes.
const MAX_BYTES: u64 = 2 << 30;
const MAX_FILES: usize = 4096;

/// A directory of fetched things, each under a key.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    directory: PathBuf,
}

/// What is known of a kept thing.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Facts {
    /// SHA-256 of the content, in hex.
    pub(super) sha256: String,
    /// A chart's version.
    pub(super) version: String,
    /// The server's `ETag`.
    pub(super) etag: Option<String>,
    /// The server's `Last-Modified`.
    pub(super) last_modified: Option<String>,
}

// === impl Keep ===

impl Keep {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// What is kept under a key; anything that is not exactly what was written is not there.
    pub(super) fn read(&self, key: &str) -> Option<(Facts, Vec<u8>)> {
        let path = self.path(key);
        let mut content = fs::read(&path).ok()?;
        let end = memchr(&content)?;
        let facts: Facts = serde_json::from_slice(content.get(..end)?).ok()?;
        let body = content.split_off(end + 1);
        if hex_sha256(&body) != facts.sha256 {
            return None;
        }
        // What is used stays.
        if let Ok(file) = fs::File::open(&path) {
            let _ = file.set_modified(std::time::SystemTime::now());
        }
        Some((facts, body))
    }

    /// Keeps content under a key. The facts' hash is the content's.
    pub(super) fn write(&self, key: &str, facts: &Facts, body: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        self.make_room(body.len() as u64);
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        serde_json::to_writer(&mut file, facts)?;
        file.write_all(b"\n")?;
        file.write_all(body)?;
        file.as_file().sync_all()?;
        file.persist(self.path(key)).map_err(|error| error.error)?;
        Ok(())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.directory.join(hex_sha256(key.as_bytes()))
    }

    /// Removes what has not been used for the longest time until there is room.
    fn make_room(&self, wanted: u64) {
        let mut files = listing(&self.directory);
        files.sort_unstable_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut bytes = wanted;
        for (position, (_, size, path)) in files.iter().enumerate() {
            bytes = bytes.saturating_add(*size);
            if bytes > MAX_BYTES || position >= MAX_FILES {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn listing(directory: &Path) -> Vec<(std::time::SystemTime, u64, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        })
        .collect()
}

fn memchr(content: &[u8]) -> Option<usize> {
    content.iter().take(64 << 10).position(|byte| *byte == b'\n')
}

/// SHA-256 in hex.
pub(super) fn hex_sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn what_is_damaged_on_disk_is_not_there() {
        let directory = tempfile::TempDir::new().unwrap();
        let keep = Keep::new(directory.path().join("kept"));
        let facts = Facts { sha256: hex_sha256(b"content\nof it"), version: "1.2.3".to_owned(), ..Facts::default() };
        keep.write("../../escape", &facts, b"content\nof it").unwrap();
        assert_eq!(keep.read("../../escape"), Some((facts, b"content\nof it".to_vec())));
        assert_eq!(keep.read("other"), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a key is no path");
        let path = keep.path("../../escape");
        let content = fs::read(&path).unwrap();
        fs::write(&path, &content[..content.len() - 1]).unwrap();
        assert_eq!(keep.read("../../escape"), None);
    }
}
