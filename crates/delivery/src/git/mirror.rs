//! A bare copy of a remote repository, fetched when its references move.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gix::{
    ObjectId,
    bstr::ByteSlice,
    protocol::handshake::Ref,
    remote::{Direction, ref_map},
};
use sha2::{Digest, Sha256};

use super::{checked_revision, describe, location::redacted, open};
use crate::Error;

/// A remote that does not answer within this time is given up; it is asked again later.
const DEADLINE: Duration = Duration::from_secs(120);

/// User and password (or token) for one repository.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A remote repository and its copy.
#[derive(Clone, Debug)]
pub struct Mirror {
    url: String,
    path: PathBuf,
    credentials: Option<Credentials>,
}

/// Branches, tags and `HEAD` of a remote.
type References = BTreeMap<String, ObjectId>;

// === impl Mirror ===

impl Mirror {
    /// The mirror of `url` below `directory`; nothing is fetched yet.
    pub fn new(directory: &Path, url: &str, credentials: Option<Credentials>) -> Self {
        let name: String = Sha256::digest(url.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { url: url.to_owned(), path: directory.join(name), credentials }
    }

    /// Asks the remote which commit `revision` is, fetches it if it is new, and returns the copy to read it from.
    pub fn resolve(&self, revision: &str) -> Result<(gix::Repository, ObjectId), Error> {
        let revision = checked_revision(&self.url, revision)?;
        let repository = self.open_or_init()?;
        let interrupt = Arc::new(AtomicBool::new(false));
        let _watchdog = Watchdog::start(interrupt.clone());
        // A full hash that is already here cannot have changed its meaning.
        if let Ok(id) = ObjectId::from_hex(revision.as_bytes())
            && repository.has_object(id)
        {
            return Ok((repository, id));
        }
        let references = self.fetch(&repository, revision, &interrupt)?;
        let id = find(&references, revision)
            .or_else(|| super::resolve_local(&repository, &self.url, revision).ok())
            .ok_or_else(|| {
                self.failure(format!("revision {revision:?} does not exist: give a branch, a tag or a commit"))
            })?;
        let id = super::resolve_local(&repository, &self.url, &id.to_string())?;
        Ok((repository, id))
    }

    fn open_or_init(&self) -> Result<gix::Repository, Error> {
        if self.path.join("HEAD").exists() {
            if let Ok(repository) = open(&self.path, &self.url) {
                return Ok(repository);
            }
            // A copy that a crash left half-made has nothing that the remote does not have.
            std::fs::remove_dir_all(&self.path).map_err(|error| self.failure(error.to_string()))?;
        }
        std::fs::create_dir_all(&self.path).map_err(|error| self.failure(error.to_string()))?;
        gix::init_bare(&self.path).map_err(|error| self.failure(describe(&error)))?;
        open(&self.path, &self.url)
    }

    /// One connection: the list of references, and their objects unless what is wanted is already here.
    fn fetch(&self, repository: &gix::Repository, revision: &str, interrupt: &AtomicBool) -> Result<References, Error> {
        let failure = |error: gix::Error| self.failure(describe(&error));
        let remote = repository
            .remote_at_without_url_rewrite(self.url.as_str())
            .and_then(|remote| {
                remote.with_refspecs(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"], Direction::Fetch)
            })
            .map_err(failure)?;
        let mut connection = remote.connect(Direction::Fetch).map_err(failure)?;
        let credentials = self.credentials.clone();
        // Without credentials of our own the answer is "none": no helper program of the machine is ever asked.
        connection.set_credentials(move |action| match (action, &credentials) {
            (gix::credentials::helper::Action::Get(context), Some(credentials)) => {
                Ok(Some(gix::credentials::protocol::Outcome {
                    identity: gix::sec::identity::Account {
                        username: credentials.username.clone(),
                        password: credentials.password.clone(),
                        oauth_refresh_token: None,
                    },
                    next: context.into(),
                }))
            }
            _ => Ok(None),
        });
        let prepared =
            connection.prepare_fetch(gix::progress::Discard, ref_map::Options::default()).map_err(failure)?;
        let references = references(&prepared.ref_map().remote_refs);
        if find(&references, revision).is_some_and(|id| repository.has_object(id)) {
            return Ok(references);
        }
        prepared.receive(gix::progress::Discard, interrupt).map_err(failure)?;
        Ok(references)
    }

    fn failure(&self, message: String) -> Error {
        Error::Repository { url: redacted(&self.url), message: message.replace(&self.url, &redacted(&self.url)) }
    }
}

fn references(refs: &[Ref]) -> References {
    refs.iter()
        .filter_map(|reference| {
            let (name, target, _) = reference.unpack();
            Some((name.to_str().ok()?.to_owned(), target?.to_owned()))
        })
        .collect()
}

/// A branch wins over a tag of the same name, as in Git.
fn find(references: &References, revision: &str) -> Option<ObjectId> {
    ["", "refs/heads/", "refs/tags/"].iter().find_map(|prefix| references.get(&format!("{prefix}{revision}")).copied())
}

/// Interrupts a transfer that takes too long.
struct Watchdog {
    done: Arc<(std::sync::Mutex<bool>, std::sync::Condvar)>,
}

impl Watchdog {
    fn start(interrupt: Arc<AtomicBool>) -> Self {
        let done = Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
        let shared = done.clone();
        std::thread::spawn(move || {
            let (lock, wake) = &*shared;
            let finished = lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let waited = wake.wait_timeout_while(finished, DEADLINE, |finished| !*finished);
            if waited.is_ok_and(|(finished, _)| !*finished) {
                interrupt.store(true, Ordering::Relaxed);
            }
        });
        Self { done }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.done.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        self.done.1.notify_all();
    }
}
