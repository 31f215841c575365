//! Volumes: each type is a small file with one implementation of [`VolumeType`].
//!
//! A volume of the pod lives in `<root>/pods/<uid>/volumes/<name>`, or elsewhere for the types that only point at
//! something (hostPath, claims). Taking volumes away needs no type: it unmounts what is mounted there and removes the
//! rest, so it works for pods whose object is long gone.

mod atomic_writer;
pub(crate) mod beneath;
mod claim;
mod config_map;
mod content;
mod downward_api;
mod empty_dir;
mod host_path;
mod mounts;
mod ownership;
mod projected;
mod secret;
pub(crate) mod token;

use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Pod, Volume};

pub(crate) use self::{
    mounts::{KernelMounts, Mounts},
    token::Tokens,
};
use crate::{
    containers::fields::{Addresses, Capacity},
    error::{Context as _, Error, Result},
    sources::Sources,
};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A volume that is ready to be bound into containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Absolute path on the host.
    pub(crate) path: PathBuf,
    /// Containers never write to it, whatever their mount says.
    pub(crate) read_only: bool,
    /// Its content is to be refreshed after this time although no object changes (tokens).
    pub(crate) renew: Option<Duration>,
}

/// What a volume may look at while it is set up.
pub(crate) struct Context<'a> {
    pub(crate) pod: &'a Pod,
    /// `spec.volumes[].name`.
    pub(crate) name: &'a str,
    /// The volume's own directory, `<root>/pods/<uid>/volumes/<name>`; exists.
    pub(crate) dir: PathBuf,
    pub(crate) sources: &'a dyn Sources,
    pub(crate) mounts: &'a dyn Mounts,
    pub(crate) tokens: &'a Tokens,
    pub(crate) addresses: &'a Addresses,
    pub(crate) capacity: Capacity,
    /// The pod's sandbox exists, so containers may be using the volume already.
    pub(crate) again: bool,
}

// === impl Context ===

impl Context<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn fs_group(&self) -> Option<u32> {
        let context = self.pod.spec.as_ref()?.security_context.as_ref()?;
        context.fs_group.and_then(|group| u32::try_from(group).ok())
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::volume(self.name, message)
    }
}

/// One volume type.
pub(crate) trait VolumeType: Send + Sync {
    /// Makes the volume ready, or brings its content up to date: it is called again whenever an object changed that the
    /// pod refers to, after [`Mounted::renew`], and after every restart of the daemon.
    fn set_up<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted>>;
}

/// Picks the type of a volume by the source field that is set. A volume without any is an `emptyDir`, as in Kubernetes.
fn type_of(volume: &Volume) -> Result<Box<dyn VolumeType>> {
    let candidates: [Option<Box<dyn VolumeType>>; 7] = [
        config_map::of(volume),
        secret::of(volume),
        projected::of(volume),
        downward_api::of(volume),
        empty_dir::of(volume),
        host_path::of(volume),
        claim::of(volume),
    ];
    if let Some(found) = candidates.into_iter().flatten().next() {
        return Ok(found);
    }
    let fields = serde_json::to_value(volume).ok();
    let fields = fields.as_ref().and_then(serde_json::Value::as_object);
    match fields.into_iter().flatten().map(|(key, _)| key).find(|key| *key != "name") {
        None => Ok(empty_dir::plain()),
        Some(kind) => Err(Error::volume(&volume.name, format!("volume type {kind} is not supported by this node"))),
    }
}

/// What [`set_up_all`] needs besides the pod.
pub(crate) struct Environment<'a> {
    pub(crate) pod_dir: PathBuf,
    pub(crate) sources: &'a dyn Sources,
    pub(crate) mounts: &'a dyn Mounts,
    pub(crate) tokens: &'a Tokens,
    pub(crate) addresses: &'a Addresses,
    pub(crate) capacity: Capacity,
    /// The pod's sandbox exists already.
    pub(crate) again: bool,
}

/// Sets up every volume of the pod; the first failure is returned after the others were tried.
pub(crate) async fn set_up_all(pod: &Pod, environment: &Environment<'_>) -> Result<BTreeMap<String, Mounted>> {
    let mut result = BTreeMap::new();
    let mut failure = None;
    let root = environment.pod_dir.join("volumes");
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        match set_up(pod, volume, &root, environment).await {
            Ok(mounted) => {
                result.insert(volume.name.clone(), mounted);
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(result), Err)
}

async fn set_up(pod: &Pod, volume: &Volume, root: &Path, environment: &Environment<'_>) -> Result<Mounted> {
    // The name becomes a directory's: only DNS labels, whatever the API server let pass.
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if volume.name.is_empty() || volume.name.len() > 63 || !volume.name.chars().all(label) {
        return Err(Error::volume(&volume.name, "the volume's name must be a DNS label"));
    }
    let dir = root.join(&volume.name);
    create_dir(&dir)?;
    let context = Context {
        pod,
        name: &volume.name,
        dir,
        sources: environment.sources,
        mounts: environment.mounts,
        tokens: environment.tokens,
        addresses: environment.addresses,
        capacity: environment.capacity,
        again: environment.again,
    };
    type_of(volume)?.set_up(&context).await
}

/// Creates a directory with its parents, searchable by everybody (containers run as any user) but listed by root only.
pub(crate) fn create_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .context(|| format!("cannot create directory {}", dir.display()))
}

/// Unmounts and removes everything below `pod_dir` and the directory itself. Succeeds when it does not exist.
///
/// Never follows a link and never enters another file system: a mount that cannot be taken away is an error rather than
/// a reason to delete what is in it.
pub(crate) fn tear_down(pod_dir: &Path, mounts: &dyn Mounts) -> Result<()> {
    let volumes = pod_dir.join("volumes");
    let entries = match std::fs::read_dir(&volumes) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).context(|| format!("cannot list {}", volumes.display())),
    };
    for path in entries {
        if mounts.is_mounted(&path)? {
            mounts.unmount(&path)?;
        }
    }
    beneath::remove_tree(pod_dir)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
