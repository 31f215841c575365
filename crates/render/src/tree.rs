//! Where files come from.

use std::{borrow::Cow, collections::BTreeMap};

use crate::Error;

/// A repository at one revision, a directory or a chart archive: paths to bytes.
///
/// Paths are relative, separated by `/`, without `.` and `..`, and the root is the empty string ([`normalize`] makes them so).
/// An implementation must never follow a link out of its root.
pub trait Tree: Send + Sync {
    /// The content of a file.
    fn read(&self, path: &str) -> Result<Cow<'_, [u8]>, Error>;

    /// The paths of all files below a directory, sorted by bytes. Links to directories are not descended into.
    fn files(&self, directory: &str) -> Result<Vec<String>, Error>;

    /// Whether there is a file at `path`.
    fn exists(&self, path: &str) -> bool;

    /// Whether there is a directory at `path`.
    fn is_directory(&self, path: &str) -> bool;
}

/// A tree in memory, e.g. a commit read from Git without being written to disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    files: BTreeMap<String, Vec<u8>>,
}

// === impl MemoryTree ===

impl MemoryTree {
    /// Adds a file; the path is normalised and may not leave the root.
    pub fn insert(&mut self, path: &str, content: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.files.insert(normalize(path)?, content.into());
        Ok(())
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no file at all.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

impl Tree for MemoryTree {
    fn read(&self, path: &str) -> Result<Cow<'_, [u8]>, Error> {
        match self.files.get(path) {
            Some(content) => Ok(Cow::Borrowed(content)),
            None => Err(Error::NotFound { path: path.to_owned(), what: "file" }),
        }
    }

    fn files(&self, directory: &str) -> Result<Vec<String>, Error> {
        if !self.is_directory(directory) {
            return Err(Error::NotFound { path: directory.to_owned(), what: "directory" });
        }
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        Ok(self
            .files
            .range(prefix.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&prefix))
            .cloned()
            .collect())
    }

    fn exists(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    fn is_directory(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        path.is_empty() || self.files.range(prefix.clone()..).next().is_some_and(|(next, _)| next.starts_with(&prefix))
    }
}

/// Brings a path into the form that trees use. `..` is resolved lexically; leaving the root is an error, and so are
/// absolute paths and control characters.
pub fn normalize(path: &str) -> Result<String, Error> {
    let refuse = |problem| Err(Error::Path { path: path.to_owned(), problem });
    if path.starts_with('/') {
        return refuse("is absolute; paths are relative to the repository's root");
    }
    if path.chars().any(char::is_control) {
        return refuse("has a control character");
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return refuse("leaves the repository");
                }
            }
            name => parts.push(name),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn paths_are_normalised_and_never_leave_the_root() {
        for (path, expected) in [("", Some("")), (".", Some("")), ("a//b/./c/", Some("a/b/c")), ("a/../b", Some("b"))] {
            assert_eq!(normalize(path).ok().as_deref(), expected, "{path}");
        }
        for path in ["/etc", "..", "a/../../b", "a\0b", "a\nb"] {
            assert!(normalize(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_directory_lists_its_files_and_not_those_of_a_sibling_with_the_same_prefix() {
        let mut tree = MemoryTree::default();
        for path in ["app/a.yaml", "app/sub/b.yaml", "app-two/c.yaml", "root.yaml"] {
            tree.insert(path, "").unwrap();
        }
        assert_eq!(tree.files("app").unwrap(), ["app/a.yaml", "app/sub/b.yaml"]);
        assert_eq!(tree.files("").unwrap().len(), 4);
        assert!(tree.is_directory("app/sub") && !tree.is_directory("ap"));
        assert!(tree.files("nothing").is_err());
    }
}
