//! Git repositories: where they are, which commit a revision means, what a commit contains.
//!
//! Nothing is checked out: a commit is read as a [`Tree`](lotse_render::Tree) straight from the object database, so hooks,
//! filters, submodules and links of a hostile repository have nothing to act on. All functions block; call them from a
//! blocking thread.

mod location;
mod mirror;
mod transport;
mod tree;

use std::path::PathBuf;

use gix::ObjectId;

pub use location::Location;
pub(crate) use location::redacted;
pub use mirror::{Credentials, Mirror};
pub use tree::{CommitTree, DirectoryTree};

use crate::Error;

/// A commit that a revision stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Full hash.
    pub id: String,
    /// First line of the message.
    pub subject: String,
    /// Author's name.
    pub author: String,
}

/// The files of a repository at a revision. Copies of remote repositories are kept in `copies`.
pub fn tree_at(location: &str, revision: &str, copies: &std::path::Path) -> Result<CommitTree, Error> {
    match Location::parse(location)? {
        Location::Plain(path) => Err(Error::Repository {
            url: path.display().to_string(),
            message: "is no Git repository, so it has no revisions".to_owned(),
        }),
        Location::Local(path) => {
            let repository = open(&path, location)?;
            let id = resolve_local(&repository, location, revision)?;
            CommitTree::new(&repository, location, id)
        }
        Location::Remote(remote) => {
            let (repository, id) = Mirror::new(copies, &remote, None).resolve(revision)?;
            CommitTree::new(&repository, location, id)
        }
    }
}

/// Opens a repository without reading any configuration but its own.
pub(crate) fn open(path: &std::path::Path, url: &str) -> Result<gix::Repository, Error> {
    open_with(path, url, &[])
}

/// As [`open`], with settings (`core.sshCommand=…`) that win over the repository's own.
fn open_with(path: &std::path::Path, url: &str, settings: &[String]) -> Result<gix::Repository, Error> {
    let options = gix::open::Options::isolated().config_overrides(settings.iter().map(String::as_str));
    gix::open_opts(path, options).map_err(|error| Error::Repository { url: url.to_owned(), message: describe(&error) })
}

/// What `revision` means in a local repository: a branch, a tag, `HEAD` or (the beginning of) a commit hash.
pub(crate) fn resolve_local(repository: &gix::Repository, url: &str, revision: &str) -> Result<ObjectId, Error> {
    let revision = checked_revision(url, revision)?;
    let unknown = || Error::Repository {
        url: url.to_owned(),
        message: format!("revision {revision:?} does not exist: give a branch, a tag or a commit"),
    };
    let object = repository
        .rev_parse_single(revision)
        .map_err(|_| unknown())?
        .object()
        .map_err(|_| unknown())?
        .peel_to_commit()
        .map_err(|_| unknown())?;
    Ok(object.id)
}

/// Revisions are names or hashes, never expressions that walk history or options of a command.
fn checked_revision<'a>(url: &str, revision: &'a str) -> Result<&'a str, Error> {
    let revision = if revision.is_empty() { "HEAD" } else { revision };
    let plain = |character: char| character.is_alphanumeric() || "/._-+@".contains(character);
    if revision.len() > 255 || revision.starts_with('-') || !revision.chars().all(plain) || revision.contains("@{") {
        return Err(Error::Repository {
            url: url.to_owned(),
            message: format!("revision {revision:?} is not a branch, a tag or a commit"),
        });
    }
    Ok(revision)
}

/// Reads the header of a commit.
pub(crate) fn commit(repository: &gix::Repository, url: &str, id: ObjectId) -> Result<Commit, Error> {
    let failure = |error: &dyn std::error::Error| Error::Repository { url: url.to_owned(), message: describe(error) };
    let commit = repository.find_commit(id).map_err(|error| failure(&error))?;
    let message = commit.message().map_err(|error| failure(&error))?;
    let author = commit.author().map_err(|error| failure(&error))?;
    Ok(Commit {
        id: id.to_string(),
        subject: message.title.to_string().trim().chars().take(200).collect(),
        author: author.name.to_string(),
    })
}

/// Where a local repository keeps what changes with a commit, for file events: its `.git` directory.
pub fn git_directory(path: &std::path::Path) -> Option<PathBuf> {
    let repository = gix::open_opts(path, gix::open::Options::isolated()).ok()?;
    Some(repository.common_dir().to_owned())
}

/// An error with its sources in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string().replace('\n', " ");
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text.replace('\n', " "));
        }
        source = inner.source();
    }
    text
}
