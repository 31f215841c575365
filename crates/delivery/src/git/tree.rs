//! A commit, or a plain directory, as a tree of files.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use gix::{ObjectId, ThreadSafeRepository};
use lotse_render::{Error as RenderError, Tree, normalize};
use sha2::{Digest, Sha256};

use super::describe;
use crate::Error;

/// Larger trees are refused: they are not configuration.
const MAX_FILES: usize = 200_000;
/// Larger files are refused.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Longer chains of links are refused.
const MAX_LINKS: usize = 8;

/// The files of one commit, read on demand from the object database.
pub struct CommitTree {
    repository: ThreadSafeRepository,
    entries: BTreeMap<String, Blob>,
}

#[derive(Clone, Copy)]
struct Blob {
    id: ObjectId,
    link: bool,
}

// === impl CommitTree ===

impl CommitTree {
    /// Lists the commit's files. Submodules are left out; names that are not UTF-8 or that a working tree could not hold
    /// safely are refused.
    pub fn new(repository: &gix::Repository, url: &str, commit: ObjectId) -> Result<Self, Error> {
        let failure = |message: String| Error::Repository { url: url.to_owned(), message };
        let tree = repository
            .find_commit(commit)
            .and_then(|commit| commit.tree())
            .map_err(|error| failure(describe(&error)))?;
        let files = tree.traverse().breadthfirst.files().map_err(|error| failure(describe(&error)))?;
        if files.len() > MAX_FILES {
            return Err(failure(format!("has {} files, the limit is {MAX_FILES}", files.len())));
        }
        let mut entries = BTreeMap::new();
        for file in files {
            let link = file.mode.is_link();
            if !link && !file.mode.is_blob() {
                continue;
            }
            let path = std::str::from_utf8(&file.filepath)
                .map_err(|_| failure(format!("has a file name that is not UTF-8: {}", file.filepath)))?;
            if normalize(path).ok().as_deref() != Some(path) {
                return Err(failure(format!("has a file name that is not allowed: {path:?}")));
            }
            entries.insert(path.to_owned(), Blob { id: file.oid, link });
        }
        Ok(Self { repository: repository.clone().into_sync(), entries })
    }

    fn blob(&self, path: &str, id: ObjectId) -> Result<Vec<u8>, RenderError> {
        let failure = |message: String| RenderError::Read { path: path.to_owned(), message };
        let repository = self.repository.to_thread_local();
        let header = repository.find_header(id).map_err(|error| failure(describe(&error)))?;
        if header.size() > MAX_FILE_BYTES {
            return Err(RenderError::Limit { path: path.to_owned(), what: "size in bytes", limit: MAX_FILE_BYTES });
        }
        let mut blob = repository.find_blob(id).map_err(|error| failure(describe(&error)))?;
        Ok(std::mem::take(&mut blob.data))
    }

    /// Follows links within the tree.
    fn locate(&self, path: &str) -> Result<(String, Blob), RenderError> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Some(blob) = self.entries.get(&path) else {
                return Err(RenderError::NotFound { path, what: "file" });
            };
            if !blob.link {
                return Ok((path, *blob));
            }
            let target = self.blob(&path, blob.id)?;
            let target = String::from_utf8(target).map_err(|_| RenderError::Path {
                path: path.clone(),
                problem: "is a link whose target is not UTF-8",
            })?;
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            if target.starts_with('/') {
                return Err(RenderError::Path { path, problem: "is a link that leaves the repository" });
            }
            path = normalize(format!("{directory}/{target}").trim_start_matches('/')).map_err(|_| {
                RenderError::Path { path: path.clone(), problem: "is a link that leaves the repository" }
            })?;
        }
        Err(RenderError::Path { path, problem: "is a chain of links that is too long" })
    }
}

impl Tree for CommitTree {
    fn read(&self, path: &str) -> Result<Cow<'_, [u8]>, RenderError> {
        let (path, blob) = self.locate(path)?;
        self.blob(&path, blob.id).map(Cow::Owned)
    }

    fn files(&self, directory: &str) -> Result<Vec<String>, RenderError> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let files: Vec<String> = self
            .entries
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .map(|(path, _)| path.clone())
            .collect();
        if files.is_empty() && !directory.is_empty() {
            return Err(RenderError::NotFound { path: directory.to_owned(), what: "directory" });
        }
        Ok(files)
    }

    fn exists(&self, path: &str) -> bool {
        self.locate(path).is_ok()
    }

    fn is_directory(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        path.is_empty()
            || self.entries.range(prefix.clone()..).next().is_some_and(|(next, _)| next.starts_with(&prefix))
    }
}

/// A directory on disk, read as it is; links are not followed.
pub struct DirectoryTree {
    root: PathBuf,
    files: Vec<String>,
}

// === impl DirectoryTree ===

impl DirectoryTree {
    /// Lists the files below `root`, without `.git`.
    pub fn new(root: &Path) -> Result<Self, Error> {
        let failure = |path: &Path, error: std::io::Error| Error::Repository {
            url: path.display().to_string(),
            message: error.to_string(),
        };
        let mut files = Vec::new();
        let mut pending = vec![(root.to_owned(), String::new())];
        while let Some((directory, prefix)) = pending.pop() {
            for entry in fs::read_dir(&directory).map_err(|error| failure(&directory, error))? {
                let entry = entry.map_err(|error| failure(&directory, error))?;
                let kind = entry.file_type().map_err(|error| failure(&entry.path(), error))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
                if kind.is_dir() && name != ".git" {
                    pending.push((entry.path(), path));
                } else if kind.is_file() {
                    files.push(path);
                }
                if files.len() > MAX_FILES {
                    let message = format!("has more than {MAX_FILES} files");
                    return Err(Error::Repository { url: root.display().to_string(), message });
                }
            }
        }
        files.sort_unstable();
        Ok(Self { root: root.to_owned(), files })
    }

    /// A hash of names and contents below `directory`, which takes the place of a commit.
    pub fn fingerprint(&self, directory: &str) -> Result<String, RenderError> {
        let mut hash = Sha256::new();
        for path in self.files(directory)? {
            let content = self.read(&path)?;
            hash.update(path.as_bytes());
            hash.update([0]);
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(&content);
        }
        Ok(hash.finalize().iter().take(20).map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Tree for DirectoryTree {
    fn read(&self, path: &str) -> Result<Cow<'_, [u8]>, RenderError> {
        if self.files.binary_search_by(|file| file.as_str().cmp(path)).is_err() {
            return Err(RenderError::NotFound { path: path.to_owned(), what: "file" });
        }
        let failure = |error: std::io::Error| RenderError::Read { path: path.to_owned(), message: error.to_string() };
        let full = self.root.join(path);
        // A link may have taken the file's or a directory's place since the listing.
        let canonical = full.canonicalize().map_err(failure)?;
        if canonical != full {
            return Err(RenderError::Path { path: path.to_owned(), problem: "is or goes through a link" });
        }
        let mut content = Vec::new();
        let file = fs::File::open(&full).map_err(failure)?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(failure)?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(RenderError::Limit { path: path.to_owned(), what: "size in bytes", limit: MAX_FILE_BYTES });
        }
        Ok(Cow::Owned(content))
    }

    fn files(&self, directory: &str) -> Result<Vec<String>, RenderError> {
        if !self.is_directory(directory) {
            return Err(RenderError::NotFound { path: directory.to_owned(), what: "directory" });
        }
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        Ok(self.files.iter().filter(|file| file.starts_with(&prefix)).cloned().collect())
    }

    fn exists(&self, path: &str) -> bool {
        self.files.binary_search_by(|file| file.as_str().cmp(path)).is_ok()
    }

    fn is_directory(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        path.is_empty() || self.files.iter().any(|file| file.starts_with(&prefix))
    }
}
