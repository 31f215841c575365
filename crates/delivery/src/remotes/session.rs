//! Fetching for one render: its limits, its credentials, and what it has come to depend on.

use std::{
    cell::{Cell, OnceCell, RefCell},
    time::{Duration, Instant},
};

use reqwest::StatusCode;

use super::{
    CredentialsOf, Origin, Remotes,
    http::{self, Get, Got, Web},
    keep::{Facts, Keep, hex_sha256},
    lock, remember, remembered,
};
use crate::{
    Error,
    git::{Credentials, redacted},
};

/// Things that one render may want from elsewhere.
const MAX_NEEDS: usize = 64;
/// Bytes that one render may fetch over http.
const MAX_BYTES: u64 = 256 << 20;
/// How long one render may fetch.
const MAX_TIME: Duration = Duration::from_secs(300);
/// A document that is longer and does not say whether it changed is asked for more seldom.
const LARGE_BYTES: usize = 1 << 20;
/// How seldom.
const LARGE_INTERVAL: Duration = Duration::from_secs(300);

/// Fetching for one render of a source.
pub struct Session {
    pub(super) remotes: Remotes,
    pub(super) origin: Origin,
    credentials: CredentialsOf,
    web: OnceCell<Web>,
    ends: Instant,
    needs: Cell<usize>,
    bytes: Cell<u64>,
    pins: RefCell<Vec<Pin>>,
}

/// Something that a render depends on and whose meaning can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub(super) question: Question,
    pub(super) answer: String,
}

/// What can be asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Which commit a reference is.
    Commit { repository: String, reference: String },
    /// What a URL says: its hash.
    Document { url: String },
    /// Which version of a chart meets a constraint.
    Chart { repository: String, name: String, constraint: String },
}

// === impl Session ===

impl Session {
    pub(super) fn new(remotes: Remotes, origin: Origin, credentials: CredentialsOf) -> Self {
        Self {
            remotes,
            origin,
            credentials,
            web: OnceCell::new(),
            ends: Instant::now() + MAX_TIME,
            needs: Cell::new(0),
            bytes: Cell::new(0),
            pins: RefCell::default(),
        }
    }

    /// What the render depends on and has to be asked again.
    pub fn pins(&self) -> Vec<Pin> {
        self.pins.borrow().clone()
    }

    /// Whether everything that a render depended on still means the same.
    pub fn still(&self, pins: &[Pin]) -> Result<bool, Error> {
        for pin in pins {
            let now = match &pin.question {
                Question::Commit { repository, reference } => self.commit(repository, reference)?.1.to_string(),
                Question::Document { url } => {
                    let authorization = http::authorization(self.credentials(url).as_ref());
                    match self.recent(url, authorization.as_deref()) {
                        Some(hash) => hash,
                        None => self.document_as(url, authorization, MAX_BYTES)?.0,
                    }
                }
                Question::Chart { repository, name, constraint } => {
                    self.choose(repository, name, constraint)?.fingerprint()
                }
            };
            if now != pin.answer {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn pin(&self, question: Question, answer: String) {
        let pin = Pin { question, answer };
        let mut pins = self.pins.borrow_mut();
        if !pins.contains(&pin) {
            pins.push(pin);
        }
    }

    pub(super) fn credentials(&self, url: &str) -> Option<Credentials> {
        let trimmed = url.trim_end_matches('/');
        let bare = trimmed.strip_prefix("oci://").unwrap_or(trimmed);
        [url, trimmed, bare].into_iter().find_map(|form| (self.credentials)(form))
    }

    /// Counts one more thing that is wanted.
    pub(super) fn need(&self, what: &str) -> Result<(), Error> {
        self.needs.set(self.needs.get() + 1);
        if self.needs.get() > MAX_NEEDS {
            let message = format!("one source may want {MAX_NEEDS} things from elsewhere, this is one more");
            return Err(Error::Repository { url: redacted(what), message });
        }
        Ok(())
    }

    pub(super) fn keep(&self) -> &Keep {
        &self.remotes.shared.keep
    }

    /// Refuses to ask anybody when that is not wanted.
    pub(super) fn online(&self, what: &str) -> Result<(), Error> {
        if self.remotes.shared.offline {
            let message = "has not been kept by an earlier run, and --offline asks nobody; run once without it";
            return Err(Error::Repository { url: redacted(what), message: message.to_owned() });
        }
        Ok(())
    }

    pub(super) fn is_offline(&self) -> bool {
        self.remotes.shared.offline
    }

    pub(super) fn poll(&self) -> Duration {
        self.remotes.shared.poll
    }

    pub(super) fn web(&self) -> Result<&Web, Error> {
        if let Some(web) = self.web.get() {
            return Ok(web);
        }
        let made = Web::new(self.remotes.shared.trust.clone())?;
        Ok(self.web.get_or_init(|| made))
    }

    /// A request of this session, not yet sent.
    pub(super) fn request<'a>(&self, url: &'a str, authorization: Option<String>, limit: u64) -> Get<'a> {
        let limit = limit.min(MAX_BYTES.saturating_sub(self.bytes.get()));
        Get { url, authorization, headers: Vec::new(), limit, deadline: self.ends }
    }

    /// Sends a request and counts what came.
    pub(super) fn get(&self, request: &Get<'_>) -> Result<Got, Error> {
        self.online(request.url)?;
        let got = self.web()?.get(request)?;
        self.bytes.set(self.bytes.get().saturating_add(got.body.len() as u64));
        Ok(got)
    }

    /// The content of a URL that can change, and its hash; asked for when the last answer is too old.
    pub(super) fn document(&self, url: &str, limit: u64) -> Result<(String, Vec<u8>), Error> {
        self.document_as(url, http::authorization(self.credentials(url).as_ref()), limit)
    }

    /// The same with these credentials.
    pub(super) fn document_as(
        &self,
        url: &str,
        authorization: Option<String>,
        limit: u64,
    ) -> Result<(String, Vec<u8>), Error> {
        let key = key(&["document", url], authorization.as_deref());
        let answers = &self.remotes.shared.documents;
        let kept = self.keep().read(&key);
        if let Some((facts, body)) = kept.clone()
            && (self.is_offline() || remembered(answers, &key).is_some_and(|hash| hash == facts.sha256))
        {
            return Ok((facts.sha256, body));
        }
        let mut request = self.request(url, authorization, limit);
        let facts = kept.as_ref().map(|(facts, _)| facts);
        if let Some(etag) = facts.and_then(|facts| facts.etag.clone()) {
            request.headers.push(("if-none-match", etag));
        } else if let Some(date) = facts.and_then(|facts| facts.last_modified.clone()) {
            request.headers.push(("if-modified-since", date));
        }
        let got = self.get(&request)?;
        if got.status == StatusCode::NOT_MODIFIED
            && let Some((facts, body)) = kept
        {
            remember(answers, &key, url, facts.sha256.clone(), self.poll());
            return Ok((facts.sha256, body));
        }
        refuse_status(url, got.status)?;
        let (etag, last_modified) = (got.header("etag"), got.header("last-modified"));
        let silent = etag.is_none() && last_modified.is_none();
        let facts = Facts { sha256: hex_sha256(&got.body), etag, last_modified, ..Facts::default() };
        self.write(&key, &facts, &got.body)?;
        let interval = if silent && got.body.len() > LARGE_BYTES { LARGE_INTERVAL } else { Duration::ZERO };
        remember(answers, &key, url, facts.sha256.clone(), self.poll().max(interval));
        Ok((facts.sha256, got.body))
    }

    /// The hash of what a URL said, if that was not too long ago.
    pub(super) fn recent(&self, url: &str, authorization: Option<&str>) -> Option<String> {
        remembered(&self.remotes.shared.documents, &key(&["document", url], authorization))
    }

    pub(super) fn write(&self, key: &str, facts: &Facts, body: &[u8]) -> Result<(), Error> {
        self.keep().write(key, facts, body).map_err(|error| Error::Repository {
            url: self.remotes.shared.directory.display().to_string(),
            message: format!("what was fetched cannot be kept: {error}"),
        })
    }

    /// Waits until nobody else works on a copy.
    pub(super) fn gate(&self, key: &str) -> std::sync::Arc<std::sync::Mutex<()>> {
        lock(&self.remotes.shared.fetching).entry(key.to_owned()).or_default().clone()
    }
}

/// A key of what is kept. Who was authorised is part of it: nobody else sees it.
pub(super) fn key(parts: &[&str], authorization: Option<&str>) -> String {
    let who = authorization.map(|secret| hex_sha256(secret.as_bytes())).unwrap_or_default();
    format!("{parts:?} {who}")
}

/// What a status other than 200 means to people.
pub(super) fn refuse_status(url: &str, status: StatusCode) -> Result<(), Error> {
    let message = match status {
        StatusCode::OK => return Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
            "the server refuses access ({status}); for an Application, put username and password into a Secret with the label argocd.argoproj.io/secret-type: repository (docs/deliver.md)"
        ),
        StatusCode::NOT_FOUND => "there is nothing there (404 Not Found); check the URL".to_owned(),
        status => format!("the server answers {status}"),
    };
    Err(Error::Repository { url: redacted(url), message })
}
