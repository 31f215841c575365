//! A bare copy of a remote repository, fetched when its references move.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write,
    os::unix::fs::OpenOptionsExt,
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

use super::{checked_revision, describe, location::redacted, open_with, transport};
use crate::{Error, trust::Trust};

/// A remote that does not answer within this time is given up; it is asked again later.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a remote repository wants to see.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// For https.
    Password {
        /// User name.
        username: String,
        /// Password or token.
        password: String,
    },
    /// For ssh: a private key in OpenSSH or PEM format, without a passphrase.
    SshKey(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => {
                f.debug_struct("Password").field("username", username).finish_non_exhaustive()
            }
            Self::SshKey(_) => f.write_str("SshKey"),
        }
    }
}

/// A remote repository and its copy.
#[derive(Clone, Debug)]
pub struct Mirror {
    url: String,
    path: PathBuf,
    /// Host keys, learned at the first contact and checked from then on.
    known_hosts: PathBuf,
    credentials: Option<Credentials>,
    /// A transfer that makes the copy larger is given up.
    max_bytes: u64,
    /// Whether http redirects are followed.
    redirects: bool,
    trust: Trust,
}

/// Copies of sources may be this large.
const MAX_BYTES: u64 = 8 << 30;

/// Branches, tags and `HEAD` of a remote.
type References = BTreeMap<String, ObjectId>;

// === impl Mirror ===

impl Mirror {
    /// The mirror of `url` below `directory`; nothing is fetched yet.
    pub fn new(directory: &Path, url: &str, credentials: Option<Credentials>) -> Self {
        let name: String = Sha256::digest(url.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self {
            url: url.to_owned(),
            path: directory.join(name),
            known_hosts: directory.join("known_hosts"),
            credentials,
            max_bytes: MAX_BYTES,
            redirects: true,
            trust: Trust::default(),
        }
    }

    /// The same, trusting more than the machine does.
    #[must_use]
    pub(crate) fn trusting(self, trust: &Trust) -> Self {
        Self { trust: trust.clone(), ..self }
    }

    /// The same with a limit for the size of the copy, and without following redirects.
    #[must_use]
    pub(crate) fn limited(self, max_bytes: u64) -> Self {
        Self { max_bytes, redirects: false, ..self }
    }

    /// The same copy of a repository that has moved.
    #[must_use]
    pub(crate) fn at(&self, url: &str, credentials: Option<Credentials>) -> Self {
        Self { url: url.to_owned(), credentials, ..self.clone() }
    }

    /// What a revision means in the copy as it is; nobody is asked.
    pub(crate) fn resolve_kept(&self, revision: &str) -> Result<(gix::Repository, ObjectId), Error> {
        let repository = open_with(&self.path, &self.url, &[])?;
        let id = super::resolve_local(&repository, &self.url, revision)?;
        Ok((repository, id))
    }

    /// Asks the remote which commit `revision` is, fetches it if it is new, and returns the copy to read it from.
    pub fn resolve(&self, revision: &str) -> Result<(gix::Repository, ObjectId), Error> {
        let revision = checked_revision(&self.url, revision)?;
        let repository = self.open_or_init()?;
        let interrupt = Arc::new(AtomicBool::new(false));
        let watchdog = Watchdog::start(interrupt.clone(), self.path.join("objects/pack"), self.max_bytes);
        // A full hash that is already here cannot have changed its meaning.
        if let Ok(id) = ObjectId::from_hex(revision.as_bytes())
            && repository.has_object(id)
        {
            return Ok((repository, id));
        }
        let fetched = self.fetch(&repository, revision, &interrupt);
        if let Some(reason) = watchdog.reason() {
            return Err(self.failure(reason));
        }
        let references = fetched?;
        let id = find(&references, revision)
            .or_else(|| super::resolve_local(&repository, &self.url, revision).ok())
            .ok_or_else(|| {
                self.failure(format!("revision {revision:?} does not exist: give a branch, a tag or a commit"))
            })?;
        let id = super::resolve_local(&repository, &self.url, &id.to_string())?;
        Ok((repository, id))
    }

    fn open_or_init(&self) -> Result<gix::Repository, Error> {
        let settings = [format!("core.sshCommand={}", self.ssh_command()?)];
        if self.path.join("HEAD").exists() {
            if let Ok(repository) = open_with(&self.path, &self.url, &settings) {
                return Ok(repository);
            }
            // A copy that a crash left half-made has nothing that the remote does not have.
            std::fs::remove_dir_all(&self.path).map_err(|error| self.failure(error.to_string()))?;
        }
        std::fs::create_dir_all(&self.path).map_err(|error| self.failure(error.to_string()))?;
        gix::init_bare(&self.path).map_err(|error| self.failure(describe(&error)))?;
        open_with(&self.path, &self.url, &settings)
    }

    /// How ssh is called: it never asks anybody anything, and with a key of our own it uses nothing of root's.
    fn ssh_command(&self) -> Result<String, Error> {
        let mut command = "ssh -o BatchMode=yes -o ConnectTimeout=15".to_owned();
        if let Some(Credentials::SshKey(key)) = &self.credentials {
            let path = self.path.with_extension("key");
            write_private(&path, key).map_err(|error| self.failure(format!("the ssh key cannot be kept: {error}")))?;
            command.push_str(&format!(
                " -F none -o IdentitiesOnly=yes -o IdentityFile={} -o UserKnownHostsFile={} -o StrictHostKeyChecking=accept-new",
                quoted(&path),
                quoted(&self.known_hosts),
            ));
        }
        Ok(command)
    }

    /// One connection: the list of references, and their objects unless what is wanted is already here.
    fn fetch(&self, repository: &gix::Repository, revision: &str, interrupt: &AtomicBool) -> Result<References, Error> {
        let failure = |error: gix::Error| self.failure(describe(&error));
        let remote = repository
            .remote_at_without_url_rewrite(self.url.as_str())
            .and_then(|remote| {
                remote
                    .with_refspecs(["HEAD", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"], Direction::Fetch)
            })
            .map_err(failure)?;
        let mut connection = remote.connect(Direction::Fetch).map_err(failure)?;
        if let Some(options) = transport::options(repository, &self.url, self.redirects, &self.trust)
            .map_err(|message| self.failure(message))?
        {
            connection = connection.with_transport_options(options);
        }
        let credentials = self.credentials.clone();
        // Without credentials of our own the answer is "none": no helper program of the machine is ever asked.
        connection.set_credentials(move |action| match (action, &credentials) {
            (gix::credentials::helper::Action::Get(context), Some(Credentials::Password { username, password })) => {
                Ok(Some(gix::credentials::protocol::Outcome {
                    identity: gix::sec::identity::Account {
                        username: username.clone(),
                        password: password.clone(),
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

/// A path as one word of a shell command.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// A file that only its owner may read, as ssh demands of keys.
fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
    let _ = std::fs::remove_file(path);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.trim_end().as_bytes())?;
    file.write_all(b"\n")
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

/// Interrupts a transfer that takes too long or too much.
struct Watchdog {
    state: Arc<(std::sync::Mutex<State>, std::sync::Condvar)>,
}

#[derive(Default)]
struct State {
    done: bool,
    /// Why it was interrupted.
    reason: Option<String>,
}

/// How often the size of the copy is looked at.
const LOOK: Duration = Duration::from_millis(500);

impl Watchdog {
    fn start(interrupt: Arc<AtomicBool>, packs: PathBuf, max_bytes: u64) -> Self {
        let state = Arc::new((std::sync::Mutex::new(State::default()), std::sync::Condvar::new()));
        let shared = state.clone();
        std::thread::spawn(move || {
            let (lock, wake) = &*shared;
            let begun = std::time::Instant::now();
            let mut state = lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            while !state.done && state.reason.is_none() {
                let waited = wake.wait_timeout(state, LOOK);
                state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
                if begun.elapsed() > DEADLINE {
                    state.reason = Some(format!("it was not complete after {} s", DEADLINE.as_secs()));
                } else if !state.done && size(&packs) > max_bytes {
                    state.reason = Some(format!("it is larger than {} MiB", max_bytes >> 20));
                }
            }
            if state.reason.is_some() {
                interrupt.store(true, Ordering::Relaxed);
            }
        });
        Self { state }
    }

    fn reason(&self) -> Option<String> {
        self.state.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).reason.clone()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.state.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).done = true;
        self.state.1.notify_all();
    }
}

/// Bytes of the files in a directory.
fn size(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}
