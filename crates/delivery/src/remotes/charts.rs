//! Charts of chart repositories (http and https) and of OCI registries.

use std::sync::Arc;

use lotse_render::{
    MemoryTree,
    helm::{is_exact_version, unpack},
};
use reqwest::Url;

use super::{
    http,
    index::{self, Index},
    keep::{Facts, hex_sha256},
    lock, oci,
    session::{Question, Session, key, refuse_status},
};
use crate::{Error, git::redacted};

/// Longer archives are refused.
const MAX_BYTES: u64 = 64 << 20;

/// A chart from elsewhere.
#[derive(Clone, Debug)]
pub struct FetchedChart {
    /// The version that was chosen.
    pub version: String,
    /// The packed chart.
    pub packed: Vec<u8>,
}

/// A version, and where it is.
pub(super) struct Choice {
    pub(super) version: String,
    /// In a chart repository: the archive's URL and its hash.
    archive: Option<(Url, Option<String>)>,
}

// === impl Choice ===

impl Choice {
    /// What changes when something else is meant.
    pub(super) fn fingerprint(&self) -> String {
        let digest = self.archive.as_ref().and_then(|(_, digest)| digest.as_deref());
        format!("{} {}", self.version, digest.unwrap_or_default())
    }
}

// === impl FetchedChart ===

impl FetchedChart {
    /// The files of the chart.
    pub fn tree(&self, name: &str) -> Result<MemoryTree, Error> {
        Ok(unpack(&format!("{name}-{}.tgz", self.version), &self.packed)?)
    }
}

// === impl Session ===

impl Session {
    /// A chart of a repository (`https://…`, `oci://…`) in the newest version that meets a constraint; an empty one means the
    /// newest that is no prerelease.
    pub fn chart(&self, repository: &str, name: &str, constraint: &str) -> Result<FetchedChart, Error> {
        self.need(repository)?;
        let authorization = self.chart_authorization(repository);
        if is_exact_version(constraint) {
            let known = key(&["chart", repository, name, constraint], authorization.as_deref());
            if let Some((facts, packed)) = self.keep().read(&known) {
                return Ok(FetchedChart { version: facts.version, packed });
            }
            let choice = self.choose(repository, name, constraint)?;
            return self.fetch(repository, name, &choice, &known);
        }
        let choice = self.choose(repository, name, constraint)?;
        let question = Question::Chart {
            repository: repository.to_owned(),
            name: name.to_owned(),
            constraint: constraint.to_owned(),
        };
        self.pin(question, choice.fingerprint());
        let known = key(&["chart", repository, name, &choice.fingerprint()], authorization.as_deref());
        match self.keep().read(&known) {
            Some((facts, packed)) => Ok(FetchedChart { version: facts.version, packed }),
            None => self.fetch(repository, name, &choice, &known),
        }
    }

    /// A packed chart by its own URL: `https://….tgz`, or `oci://registry/path/name` with a version.
    pub fn chart_at(&self, url: &str, constraint: &str) -> Result<FetchedChart, Error> {
        if let Some((repository, name)) = url.strip_prefix("oci://").and_then(|path| path.rsplit_once('/')) {
            return self.chart(&format!("oci://{repository}"), name, constraint);
        }
        self.need(url)?;
        let (hash, packed) = self.document(url, MAX_BYTES)?;
        self.pin(Question::Document { url: url.to_owned() }, hash.clone());
        Ok(FetchedChart { version: hash, packed })
    }

    /// Which version meets a constraint.
    pub(super) fn choose(&self, repository: &str, name: &str, constraint: &str) -> Result<Choice, Error> {
        let failed = |message: String| Error::Repository { url: redacted(repository), message };
        check_name(name).map_err(failed)?;
        if repository.starts_with("oci://") {
            if is_exact_version(constraint) {
                return Ok(Choice { version: constraint.to_owned(), archive: None });
            }
            return Ok(Choice { version: oci::newest(self, repository, name, constraint)?, archive: None });
        }
        if !repository.starts_with("https://") && !repository.starts_with("http://") {
            return Err(failed(match repository.starts_with('@') || repository.starts_with("alias:") {
                true => "is a name of a repository that only one person's Helm knows; write its URL".to_owned(),
                false => "is no chart repository: use https://… or oci://…".to_owned(),
            }));
        }
        let index = self.index(repository)?;
        let published = index.choose(name, constraint).map_err(failed)?;
        let location = published.location(repository).map_err(failed)?;
        Ok(Choice { version: published.version.clone(), archive: Some((location, published.sha256())) })
    }

    /// The index of a chart repository; read again only when it has changed.
    fn index(&self, repository: &str) -> Result<Arc<Index>, Error> {
        let failed = |message: String| Error::Repository { url: redacted(repository), message };
        let url = index_url(repository).map_err(failed)?;
        let authorization = self.chart_authorization(repository);
        let known = key(&["index", &url], authorization.as_deref());
        let indexes = &self.remotes.shared.indexes;
        let read = |hash: &str| lock(indexes).get(&known).filter(|(of, _)| of == hash).map(|(_, index)| index.clone());
        if let Some(index) = self.recent(&url, authorization.as_deref()).and_then(|hash| read(&hash)) {
            return Ok(index);
        }
        let (hash, content) = self.document_as(&url, authorization, index::MAX_BYTES)?;
        if let Some(index) = read(&hash) {
            return Ok(index);
        }
        let index = Arc::new(Index::parse(&content).map_err(failed)?);
        let mut all = lock(indexes);
        if all.len() >= 64 {
            all.clear();
        }
        all.insert(known, (hash, index.clone()));
        Ok(index)
    }

    /// Downloads a chosen version, checks its hash and keeps it.
    fn fetch(&self, repository: &str, name: &str, choice: &Choice, known: &str) -> Result<FetchedChart, Error> {
        let failed = |message: String| Error::Repository { url: redacted(repository), message };
        let packed = match &choice.archive {
            None => oci::pull(self, repository, name, &choice.version, MAX_BYTES)?,
            Some((url, digest)) => {
                // What one may read of the repository is no secret of another host's.
                let same = Url::parse(repository).is_ok_and(|repository| repository.origin() == url.origin());
                let authorization = self.chart_authorization(repository).filter(|_| same);
                let got = self.get(&self.request(url.as_str(), authorization, MAX_BYTES))?;
                refuse_status(url.as_str(), got.status)?;
                let found = hex_sha256(&got.body);
                if digest.as_ref().is_some_and(|digest| *digest != found) {
                    return Err(failed(format!(
                        "{name} {}: the archive is not the one of the index: its SHA-256 is {found}",
                        choice.version
                    )));
                }
                got.body
            }
        };
        // Nothing is kept that cannot be unpacked.
        let chart = FetchedChart { version: choice.version.clone(), packed };
        chart.tree(name)?;
        let facts = Facts { sha256: hex_sha256(&chart.packed), version: choice.version.clone(), ..Facts::default() };
        self.write(known, &facts, &chart.packed)?;
        Ok(chart)
    }

    /// What a chart repository wants to see, from its Secret or its URL.
    pub(super) fn chart_authorization(&self, repository: &str) -> Option<String> {
        let of_url = || {
            let mut url = Url::parse(repository).ok()?;
            http::take_user(&mut url)
        };
        http::authorization(self.credentials(repository).as_ref()).or_else(of_url)
    }
}

/// The name of a chart is one word of a URL or a path of them, and nothing else.
fn check_name(name: &str) -> Result<(), String> {
    let is_word = |word: &str| {
        !word.is_empty()
            && word != "."
            && word != ".."
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match name.split('/').all(is_word) {
        true => Ok(()),
        false => Err(format!("{name:?} is no name of a chart")),
    }
}

fn index_url(repository: &str) -> Result<String, String> {
    let mut url = Url::parse(repository).map_err(|error| format!("is no URL: {error}"))?;
    let path = format!("{}/index.yaml", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url.into())
}
