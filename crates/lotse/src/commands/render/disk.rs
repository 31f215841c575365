//! Files on disk as a tree, read when they are asked for.

use std::{
    borrow::Cow,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use lotse_render::{Error, Tree};

/// Larger files are refused.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// More files are refused.
const MAX_FILES: usize = 200_000;

/// Everything below a directory; links that lead out of it are refused.
pub(super) struct DiskTree {
    root: PathBuf,
}

impl DiskTree {
    /// The tree that `path` belongs to, and its place in there: the Git working tree around it, else the whole file system, because
    /// kustomizations refer to their bases by `..`.
    pub(super) fn around(path: &Path) -> std::io::Result<(Self, String)> {
        let path = path.canonicalize()?;
        let root = path.ancestors().find(|above| above.join(".git").exists()).unwrap_or_else(|| Path::new("/"));
        let below = path.strip_prefix(root).unwrap_or(&path);
        Ok((Self { root: root.to_owned() }, below.to_string_lossy().into_owned()))
    }

    /// The directory that is the tree's root.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path really is; `None` when it does not exist or lies outside.
    fn locate(&self, path: &str) -> Option<PathBuf> {
        let full = self.root.join(path).canonicalize().ok()?;
        full.starts_with(&self.root).then_some(full)
    }

    fn collect(&self, directory: &Path, name: &str, found: &mut Vec<String>) -> std::io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let Some(own) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let path = if name.is_empty() { own.clone() } else { format!("{name}/{own}") };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if own != ".git" {
                    self.collect(&entry.path(), &path, found)?;
                }
            } else if kind.is_file() || (kind.is_symlink() && self.exists(&path)) {
                found.push(path);
            }
            if found.len() > MAX_FILES {
                return Err(std::io::Error::other(format!("has more than {MAX_FILES} files")));
            }
        }
        Ok(())
    }
}

impl Tree for DiskTree {
    fn read(&self, path: &str) -> Result<Cow<'_, [u8]>, Error> {
        let Some(full) = self.locate(path) else {
            return Err(Error::NotFound { path: path.to_owned(), what: "file" });
        };
        let failed = |error: std::io::Error| Error::Read { path: path.to_owned(), message: error.to_string() };
        let mut content = Vec::new();
        fs::File::open(full).map_err(failed)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(Error::Limit { path: path.to_owned(), what: "size of a file in bytes", limit: MAX_FILE_BYTES });
        }
        Ok(content.into())
    }

    fn files(&self, directory: &str) -> Result<Vec<String>, Error> {
        let Some(full) = self.locate(directory).filter(|full| full.is_dir()) else {
            return Err(Error::NotFound { path: directory.to_owned(), what: "directory" });
        };
        let mut found = Vec::new();
        let failed = |error: std::io::Error| Error::Read { path: directory.to_owned(), message: error.to_string() };
        self.collect(&full, directory, &mut found).map_err(failed)?;
        found.sort_unstable();
        Ok(found)
    }

    fn exists(&self, path: &str) -> bool {
        self.locate(path).is_some_and(|full| full.is_file())
    }

    fn is_directory(&self, path: &str) -> bool {
        self.locate(path).is_some_and(|full| full.is_dir())
    }
}
