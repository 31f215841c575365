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
    git::{self, Commit, CommitTree, Credentials, DirectoryTree, Location, Mirror},
    tools::{self, Context},
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
}

// === impl Sources ===

impl Sources {
    /// Sources whose remote copies live in `mirrors`; a remote is asked at most every `poll`.
    pub fn new(mirrors: PathBuf, poll: Duration) -> Self {
        let inner = Inner {
            mirrors,
            poll,
            rendered: Mutex::default(),
            resolved: Mutex::default(),
            fetching: Mutex::default(),
            seeding: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How often remotes are asked.
    pub fn poll(&self) -> Duration {
        self.inner.poll
    }

    /// Forgets what remotes have said, so that the next call asks again.
    pub fn refresh(&self, url: &str) {
        lock(&self.inner.resolved).retain(|(of, _), _| of != url);
    }

    /// The objects of `source`, at `revision` instead of its own when that is given.
    pub async fn render(
        &self,
        source: &Source,
        revision: Option<&str>,
        credentials: Option<Credentials>,
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
    fn render(&self, source: &Source, credentials: Option<Credentials>, context: &Context) -> Result<Rendered, Error> {
        if source.chart.is_some() {
            return Err(Error::InvalidSpec {
                field: "spec.source.chart",
                message: "charts from Helm repositories are not supported yet; keep the chart in Git and use spec.source.path".to_owned(),
            });
        }
        let url = source.repo_url.as_str();
        match Location::parse(url)? {
            Location::Plain(path) => self.render_directory(&path, source, context),
            Location::Local(path) if source.target_revision == WORKTREE => {
                self.render_directory(&path, source, context)
            }
            Location::Local(path) => {
                let repository = git::open(&path, url)?;
                let id = git::resolve_local(&repository, url, &source.target_revision)?;
                self.render_commit(&repository, source, id, context)
            }
            Location::Remote(remote) => {
                let mirror = Mirror::new(&self.mirrors, &remote, credentials);
                let (repository, id) = self.resolve_remote(&mirror, source)?;
                self.render_commit(&repository, source, id, context)
            }
        }
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
    ) -> Result<Rendered, Error> {
        let key = format!("{id} {}", cache_key(source, context));
        if let Some(rendered) = self.cached(&key) {
            return Ok(rendered);
        }
        let tree = CommitTree::new(repository, &source.repo_url, id)?;
        let commit = git::commit(repository, &source.repo_url, id)?;
        self.render_tree(&tree, source, commit, key, context)
    }

    fn render_directory(&self, path: &std::path::Path, source: &Source, context: &Context) -> Result<Rendered, Error> {
        let tree = DirectoryTree::new(path)?;
        let directory = lotse_render::normalize(&source.path)?;
        let whole = tools::source_type(&tree, source)? != SourceType::Directory;
        // Kustomizations and charts read what lies beside them.
        let id = tree.fingerprint(if whole { "" } else { &directory })?;
        let key = format!("{id} {}", cache_key(source, context));
        if let Some(rendered) = self.cached(&key) {
            return Ok(rendered);
        }
        let commit = Commit { id, subject: "working directory".to_owned(), author: String::new() };
        self.render_tree(&tree, source, commit, key, context)
    }

    fn render_tree(
        &self,
        tree: &dyn Tree,
        source: &Source,
        commit: Commit,
        key: String,
        context: &Context,
    ) -> Result<Rendered, Error> {
        let source_type = tools::source_type(tree, source)?;
        let secret = match source_type {
            SourceType::Directory => [0; 32],
            SourceType::Kustomize | SourceType::Helm => self.secret()?,
        };
        let manifests = Arc::new(tools::render(tree, source, source_type, context, &secret)?);
        let rendered = Rendered { commit, manifests, source_type };
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

    fn cached(&self, key: &str) -> Option<Rendered> {
        let mut cache = lock(&self.rendered);
        let (used, rendered) = cache.get_mut(key)?;
        *used = Instant::now();
        Some(rendered.clone())
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
