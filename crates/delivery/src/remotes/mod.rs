//! What sources want from elsewhere: bases of kustomizations in other repositories, files behind URLs, charts of chart
//! repositories and OCI registries.
//!
//! Rendering is pure and only says what is missing; a [`Session`] fetches it, keeps it, and lets the render begin again. What
//! can change its meaning (branches, files, constraints on versions) is asked for again after the poll interval; what cannot
//! (commits, versions of charts) is kept for good. All functions block; call them from a blocking thread.
//!
//! URLs come from repositories and are hostile: see [`address`] for what is never asked, and `docs/deliver.md` for the limits.

pub(crate) mod address;
mod charts;
mod dependencies;
mod git;
mod http;
mod index;
mod keep;
mod kustomize;
mod oci;
mod session;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gix::ObjectId;

pub use charts::FetchedChart;
pub use session::{Pin, Session};

use crate::{git::Credentials, trust::Trust};
use index::Index;
use keep::Keep;

/// Which credentials there are for a URL.
pub type CredentialsOf = Arc<dyn Fn(&str) -> Option<Credentials> + Send + Sync>;

/// Where a source itself is, which decides what it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On this machine: it may name repositories on this machine.
    Local,
    /// On another machine: it may name other machines only.
    Elsewhere,
}

/// How fetching works, the same for all sessions. Cloning is cheap and shares what is known.
#[derive(Clone)]
pub struct Remotes {
    shared: Arc<Shared>,
}

struct Shared {
    /// Where copies of repositories live.
    directory: PathBuf,
    keep: Keep,
    /// How old an answer about something that can change may be.
    poll: Duration,
    offline: bool,
    /// Whether ssh may use the keys of whoever runs this.
    own_ssh: bool,
    trust: Trust,
    /// Documents by key: when the server was asked, and the hash of what it said.
    documents: Mutex<HashMap<String, Answer<String>>>,
    /// Read indexes of chart repositories by key: the hash of the document, and what it says.
    indexes: Mutex<HashMap<String, (String, Arc<Index>)>>,
    /// Tags of OCI repositories by key.
    tags: Mutex<HashMap<String, Answer<Arc<Vec<String>>>>>,
    /// Commits by key of repository and reference.
    commits: Mutex<HashMap<String, Answer<ObjectId>>>,
    /// One fetch at a time for each copy.
    fetching: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

/// What a server said, and until when that counts.
#[derive(Clone)]
struct Answer<T> {
    url: String,
    until: Instant,
    said: T,
}

/// More answers are not remembered at a time.
const MAX_ANSWERS: usize = 2048;

// === impl Remotes ===

impl Remotes {
    /// Fetching into `directory`; what can change is asked for at most every `poll`.
    pub fn new(directory: PathBuf, poll: Duration) -> Self {
        let shared = Shared {
            keep: Keep::new(directory.join("kept")),
            directory,
            poll,
            offline: false,
            own_ssh: false,
            trust: Trust::default(),
            documents: Mutex::default(),
            indexes: Mutex::default(),
            tags: Mutex::default(),
            commits: Mutex::default(),
            fetching: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// For a person's own command: ssh may use that person's keys, and with `offline` nobody is asked: what earlier runs have
    /// kept has to do.
    pub fn for_command(directory: PathBuf, offline: bool) -> Self {
        let mut remotes = Self::new(directory, Duration::from_secs(60));
        if let Some(shared) = Arc::get_mut(&mut remotes.shared) {
            shared.offline = offline;
            shared.own_ssh = true;
        }
        remotes
    }

    /// Whom to trust besides the machine's own authorities.
    pub fn trust(&self) -> &Trust {
        &self.shared.trust
    }

    /// Fetching for one render of a source.
    pub fn session(&self, origin: Origin, credentials: CredentialsOf) -> Session {
        Session::new(self.clone(), origin, credentials)
    }

    /// Forgets what was said about `url`, so that it is asked for again.
    pub fn refresh(&self, url: &str) {
        self.retain(|of| of != url && !of.starts_with(&format!("{}/", url.trim_end_matches('/'))));
    }

    /// Forgets everything that can change.
    pub fn refresh_all(&self) {
        self.retain(|_| false);
    }

    fn retain(&self, keep: impl Fn(&str) -> bool) {
        lock(&self.shared.documents).retain(|_, answer| keep(&answer.url));
        lock(&self.shared.tags).retain(|_, answer| keep(&answer.url));
        lock(&self.shared.commits).retain(|_, answer| keep(&answer.url));
    }
}

/// What is remembered under a key, while it counts.
fn remembered<T: Clone>(answers: &Mutex<HashMap<String, Answer<T>>>, key: &str) -> Option<T> {
    lock(answers).get(key).filter(|answer| answer.until > Instant::now()).map(|answer| answer.said.clone())
}

/// Remembers what was said; the map never grows without end.
fn remember<T>(answers: &Mutex<HashMap<String, Answer<T>>>, key: &str, url: &str, said: T, counts: Duration) {
    let mut answers = lock(answers);
    if answers.len() >= MAX_ANSWERS {
        let now = Instant::now();
        answers.retain(|_, answer| answer.until > now);
        if answers.len() >= MAX_ANSWERS {
            answers.clear();
        }
    }
    answers.insert(key.to_owned(), Answer { url: url.to_owned(), until: Instant::now() + counts, said });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
