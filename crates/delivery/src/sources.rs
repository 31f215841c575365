//! From `spec.source` to objects at a revision.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lotse_render::{Manifest, SourceType, Tree};
use sha2::{Digest as _, Sha256};

use crate::{
    Error,
    application::Source,
    git::{self, Commit, CommitTree, DirectoryTree, Location, Mirror},
    remotes::{CredentialsOf, Origin, Pin, Remotes, Session},
    tools::{self, Context},
    trust::Trust,
};

/// `targetRevision` that means the files of a working tree as they are, committed or not.
pub const WORKTREE: &str = "WORKTREE";

/// Most rendered revisions that are kept.
const CACHED: usize = 64;

/// What a source says at one revision.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The commit; for a plain directory a hash of its content in the place of the id.
    pub commit: Commit,
    /// The objects.
    pub manifests: Arc<Vec<Manifest>>,
    /// Which tool the directory is written for.
    pub source_type: SourceType,
    /// What it depends on elsewhere that can change: asked again before this is used again.
    pins: Vec<Pin>,
}

// === impl Rendered ===

impl Rendered {
    /// Whether something elsewhere, besides the source's own repository, can make it another.
    pub fn depends_on_others(&self) -> bool {
        !self.pins.is_empty()
    }
}

/// Reads sources. Cloning is cheap and shares the caches.
#[derive(Clone)]
pub struct Sources {
    inner: Arc<Inner>,
}

struct Inner {
    /// Where copies of remote repositories live.
    mirrors: PathBuf,
    /// How old the answer of a remote may be.
    poll: Duration,
    /// Rendered revisions by source and commit.
    rendered: Mutex<HashMap<String, (Instant, Rendered)>>,
    /// Last answers of remotes: URL and revision to commit.
    resolved: Mutex<HashMap<(String, String), (Instant, gix::ObjectId)>>,
    /// One fetch at a time for each URL.
    fetching: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    /// One maker of the seed.
    seeding: Mutex<()>,
    /// What sources want from elsewhere.
    remotes: Remotes,
}

// === impl Sources ===

impl Sources {
    /// Sources whose remote copies live in `mirrors`; a remote is asked at most every `poll`.
    pub fn new(mirrors: PathBuf, poll: Duration) -> Self {
        let inner = Inner {
            remotes: Remotes::new(mirrors.join("remotes"), poll),
            mirrors,
            poll,
            rendered: Mutex::default(),
            resolved: Mutex::default(),
            fetching: Mutex::default(),
            seeding: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whom remotes are trusted by besides the machine's own authorities.
    pub fn trust(&self) -> &Trust {
        self.inner.remotes.trust()
    }

    /// How often remotes are asked.
    pub fn poll(&self) -> Duration {
        self.inner.poll
    }

    /// Forgets what remotes have said, so that the next call asks again.
    pub fn refresh(&self, url: &str) {
        lock(&self.inner.resolved).retain(|(of, _), _| of != url);
        self.inner.remotes.refresh(url);
    }

    /// Forgets what was said about everything that sources want from elsewhere.
    pub fn refresh_remotes(&self) {
        self.inner.remotes.refresh_all();
    }

    /// The objects of `source`, at `revision` instead of its own when that is given.
    pub async fn render(
        &self,
        source: &Source,
        revision: Option<&str>,
        credentials: CredentialsOf,
        context: Context,
    ) -> Result<Rendered, Error> {
        let (inner, mut source) = (self.inner.clone(), source.clone());
        if let Some(revision) = revision {
            revision.clone_into(&mut source.target_revision);
        }
        tokio::task::spawn_blocking(move || inner.render(&source, credentials, &context)).await.map_err(|panic| {
            Error::Repository {
                url: "(source)".to_owned(),
                message: format!("reading it failed unexpectedly: {panic}"),
            }
        })?
    }
}

// === impl Inner ===

impl Inner {
    fn render(&self, source: &Source, credentials: CredentialsOf, context: &Context) -> Result<Rendered, Error> {
        if let Some(chart) = source.chart.as_ref().filter(|chart| !chart.is_empty()) {
            return self.render_chart(chart, source, credentials, context);
        }
        let url = source.repo_url.as_str();
        let location = Location::parse(url)?;
        let origin = if matches!(location, Location::Remote(_)) { Origin::Elsewhere } else { Origin::Local };
        let session = &self.remotes.session(origin, credentials.clone());
        match location {
            Location::Plain(path) => self.render_directory(&path, source, context, session),
            Location::Local(path) if source.target_revision == WORKTREE => {
                self.render_directory(&path, source, context, session)
            }
            Location::Local(path) => {
                let repository = git::open(&path, url)?;
                let id = git::resolve_local(&repository, url, &source.target_revision)?;
                self.render_commit(&repository, source, id, context, session)
            }
            Location::Remote(remote) => {
                let mirror = Mirror::new(&self.mirrors, &remote, credentials(&remote)).trusting(self.remotes.trust());
                let (repository, id) = self.resolve_remote(&mirror, source)?;
                self.render_commit(&repository, source, id, context, session)
            }
        }
    }

    /// A chart of a chart repository or an OCI registry, which has no commits: its version takes their place.
    fn render_chart(
        &self,
        chart: &str,
        source: &Source,
        credentials: CredentialsOf,
        context: &Context,
    ) -> Result<Rendered, Error> {
        if source.directory.is_some() || source.kustomize.is_some() {
            return Err(Error::InvalidSpec {
                field: "spec.source.chart",
                message: "a chart is rendered by Helm: remove directory and kustomize".to_owned(),
            });
        }
        // Argo CD writes OCI registries without a scheme.
        let repository = match source.repo_url.contains("://") {
            true => source.repo_url.clone(),
            false => format!("oci://{}", source.repo_url),
        };
        let session = &self.remotes.session(Origin::Elsewhere, credentials);
        let fetched = session.chart(&repository, chart, &source.target_revision)?;
        // Its files are those of the archive, whatever else the source says.
        let source = &Source { path: String::new(), ..source.clone() };
        let hash: String = Sha256::digest(&fetched.packed).iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("{hash} {}", cache_key(source, context));
        if let Some(rendered) = self.cached(&key, session)? {
            return Ok(rendered);
        }
        let subject = format!("{chart} {}", fetched.version);
        let commit = Commit { id: fetched.version.clone(), subject, author: String::new() };
        self.render_tree(&fetched.tree(chart)?, source, commit, key, context, session)
    }

    fn resolve_remote(&self, mirror: &Mirror, source: &Source) -> Result<(gix::Repository, gix::ObjectId), Error> {
        let key = (source.repo_url.clone(), source.target_revision.clone());
        let gate = lock(&self.fetching).entry(source.repo_url.clone()).or_default().clone();
        let _turn = lock(&gate);
        let known = lock(&self.resolved).get(&key).copied();
        if let Some((at, id)) = known
            && at.elapsed() < self.poll
            && let Ok((repository, id)) = mirror.resolve(&id.to_string())
        {
            return Ok((repository, id));
        }
        let (repository, id) = mirror.resolve(&source.target_revision)?;
        lock(&self.resolved).insert(key, (Instant::now(), id));
        Ok((repository, id))
    }

    fn render_commit(
        &self,
        repository: &gix::Repository,
        source: &Source,
        id: gix::ObjectId,
        context: &Context,
        session: &Session,
    ) -> Result<Rendered, Error> {
        let key = format!("{id} {}", cache_key(source, context));
        if let Some(rendered) = self.cached(&key, session)? {
            return Ok(rendered);
        }
        let tree = CommitTree::new(repository, &source.repo_url, id)?;
        let commit = git::commit(repository, &source.repo_url, id)?;
        self.render_tree(&tree, source, commit, key, context, session)
    }

    fn render_directory(
        &self,
        path: &std::path::Path,
        source: &Source,
        context: &Context,
        session: &Session,
    ) -> Result<Rendered, Error> {
        let tree = DirectoryTree::new(path)?;
        let directory = lotse_render::normalize(&source.path)?;
        let whole = tools::source_type(&tree, source)? != SourceType::Directory;
        // Kustomizations and charts read what lies beside them.
        let id = tree.fingerprint(if whole { "" } else { &directory })?;
        let key = format!("{id} {}", cache_key(source, context));
        if let Some(rendered) = self.cached(&key, session)? {
            return Ok(rendered);
        }
        let commit = Commit { id, subject: "working directory".to_owned(), author: String::new() };
        self.render_tree(&tree, source, commit, key, context, session)
    }

    fn render_tree(
        &self,
        tree: &dyn Tree,
        source: &Source,
        commit: Commit,
        key: String,
        context: &Context,
        session: &Session,
    ) -> Result<Rendered, Error> {
        let source_type = tools::source_type(tree, source)?;
        let secret = match source_type {
            SourceType::Directory => [0; 32],
            SourceType::Kustomize | SourceType::Helm => self.secret()?,
        };
        let manifests = Arc::new(tools::render(tree, source, source_type, context, &secret, session)?);
        let rendered = Rendered { commit, manifests, source_type, pins: session.pins() };
        let mut cache = lock(&self.rendered);
        if cache.len() >= CACHED
            && let Some(oldest) = cache.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone())
        {
            cache.remove(&oldest);
        }
        cache.insert(key, (Instant::now(), rendered.clone()));
        Ok(rendered)
    }

    /// What random functions of charts are drawn from: made once, kept beside the copies of repositories.
    fn secret(&self) -> Result<[u8; 32], Error> {
        let path = self.mirrors.join("render-seed");
        let failed = |what: &str, error: &dyn std::fmt::Display| Error::Repository {
            url: path.display().to_string(),
            message: format!("the seed of charts' random functions cannot be {what}: {error}"),
        };
        let _turn = lock(&self.seeding);
        match std::fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| failed("read", &"it is not 32 bytes long; delete it")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut seed = [0; 32];
                let mut random = std::fs::File::open("/dev/urandom").map_err(|error| failed("made", &error))?;
                random.read_exact(&mut seed).map_err(|error| failed("made", &error))?;
                std::fs::create_dir_all(&self.mirrors).map_err(|error| failed("written", &error))?;
                // Whole or not at all: a torn seed would end all rendering, a lost one would change every password.
                let mut file =
                    tempfile::NamedTempFile::new_in(&self.mirrors).map_err(|error| failed("written", &error))?;
                file.write_all(&seed)
                    .and_then(|()| file.as_file().sync_all())
                    .map_err(|error| failed("written", &error))?;
                file.persist_noclobber(&path).map_err(|error| failed("written", &error.error))?;
                std::fs::File::open(&self.mirrors)
                    .and_then(|directory| directory.sync_all())
                    .map_err(|error| failed("written", &error))?;
                Ok(seed)
            }
            Err(error) => Err(failed("read", &error)),
        }
    }

    /// What was rendered before, if everything that it depends on elsewhere still means the same.
    fn cached(&self, key: &str, session: &Session) -> Result<Option<Rendered>, Error> {
        let known = lock(&self.rendered).get_mut(key).map(|(used, rendered)| {
            *used = Instant::now();
            rendered.clone()
        });
        match known {
            Some(rendered) if session.still(&rendered.pins)? => Ok(Some(rendered)),
            _ => Ok(None),
        }
    }
}

/// Everything besides the commit that decides what is rendered. A repository is part of it: two of them may share a commit
/// but not what one may read of the other.
fn cache_key(source: &Source, context: &Context) -> String {
    let text = serde_json::to_vec(&(source, context)).unwrap_or_default();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
