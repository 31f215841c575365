//! A Git repository to deliver from.

use std::{ffi::OsStr, path::Path};

use tempfile::TempDir;

use crate::run;

/// A repository with a working tree in a temporary directory.
pub struct Repository {
    directory: TempDir,
}

impl Repository {
    /// An empty repository on branch `main`.
    #[track_caller]
    pub fn new() -> Self {
        let directory = match TempDir::new() {
            Ok(directory) => directory,
            Err(error) => panic!("temporary directory: {error}"),
        };
        let repository = Self { directory };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// Its working tree.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file.
    #[track_caller]
    pub fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, text));
        if let Err(error) = written {
            panic!("{}: {error}", path.display());
        }
    }

    /// Reads a file.
    #[track_caller]
    pub fn read(&self, file: &str) -> String {
        match std::fs::read_to_string(self.path().join(file)) {
            Ok(text) => text,
            Err(error) => panic!("{file}: {error}"),
        }
    }

    /// Copies a directory of the project into the repository.
    #[track_caller]
    pub fn copy(&self, from: &Path, to: &str) {
        let target = self.path().join(to);
        run("mkdir", [OsStr::new("-p"), target.as_os_str()], "", &[]).ok();
        run("cp", [OsStr::new("-rT"), from.as_os_str(), target.as_os_str()], "", &[]).ok();
    }

    /// Commits everything.
    #[track_caller]
    pub fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
    }

    #[track_caller]
    fn git(&self, arguments: &[&str]) {
        let path = self.path().display().to_string();
        let all =
            ["-C", &path, "-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
        run("git", all.iter().chain(arguments), "", &[]).ok();
    }
}

impl Default for Repository {
    fn default() -> Self {
        Self::new()
    }
}
