//! [`Runtime`]: the container runtime on this machine.

mod adoption;
mod containers;
mod mounts;
mod sandbox;
mod service;
mod stop;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::fcntl::{Flock, FlockArg};
use tokio::{sync::broadcast, task::JoinSet};

use crate::{
    Config, Error, RuntimeEvent,
    cgroup::Hierarchies,
    error::IoContext,
    images::store::ImageStore,
    pod::Pod,
    program,
    spec::{Host, capabilities::Capabilities},
};

/// Events that may wait for a receiver.
const EVENTS: usize = 1024;

/// Runs pods and containers on this machine. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    images: Arc<ImageStore>,
    hierarchies: Hierarchies,
    host: Host,
    /// The program that is run as shim.
    program: OwnedFd,
    pods: Mutex<BTreeMap<String, Arc<Pod>>>,
    /// One change to a pod at a time.
    changing: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    events: broadcast::Sender<RuntimeEvent>,
    followers: Mutex<JoinSet<()>>,
    /// Held while the runtime owns the directory.
    _lock: Flock<File>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic happens while these are held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtime {
    /// Opens the runtime's directory and adopts the pods that run. Must be called within a tokio runtime,
    /// once for each directory at a time.
    pub fn open(config: Config) -> Result<Self, Error> {
        let text = config.root.to_string_lossy();
        if !config.root.is_absolute() || text.contains([',', ':', '\\']) {
            return Err(Error::InvalidInput {
                message: format!("the directory {text:?} must be absolute, without ',', ':' and '\\'"),
            });
        }
        let parent = &config.cgroup_parent;
        let valid = parent.starts_with('/')
            && parent.len() > 1
            && parent.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
        if !valid {
            return Err(Error::InvalidInput {
                message: format!("the cgroup {parent:?} must be an absolute path below the root"),
            });
        }
        for directory in [config.root.join("pods"), config.run_dir.clone()] {
            fs::create_dir_all(&directory).context(|| format!("making {}", directory.display()))?;
        }
        for directory in [&config.root, &config.run_dir] {
            fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o711))
                .context(|| format!("protecting {}", directory.display()))?;
        }
        let path = config.root.join("lock");
        let file = File::create(&path).context(|| format!("opening {}", path.display()))?;
        let lock_file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| error)
            .context(|| format!("{} is in use by another process", config.root.display()))?;
        let hierarchies = Hierarchies::discover()?;
        let inner = Inner {
            program: program::open(&config.shim)?,
            images: Arc::new(ImageStore::open(&config.root.join("images"), config.limits.clone())?),
            host: host(&hierarchies)?,
            hierarchies,
            pods: Mutex::default(),
            changing: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            followers: Mutex::default(),
            _lock: lock_file,
            config,
        };
        inner.adopt()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|error| Error::InvalidInput { message: format!("the operation was interrupted: {error}") })?
    }

    async fn change(&self, pod: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let mutex = {
            let mut changing = lock(&self.inner.changing);
            // What nobody waits for is of no use any more.
            changing.retain(|_, mutex| Arc::strong_count(mutex) > 1);
            Arc::clone(changing.entry(pod.to_owned()).or_default())
        };
        mutex.lock_owned().await
    }
}

/// What the host lets containers have.
fn host(hierarchies: &Hierarchies) -> Result<Host, Error> {
    let status = fs::read_to_string("/proc/self/status").context(|| "reading our own status")?;
    let bits = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).ok()
    };
    let bounding = Capabilities::from_bits(bits("CapBnd").unwrap_or(0));
    let may_lower = Capabilities::from_bits(bits("CapEff").unwrap_or(0)).contains("SYS_RESOURCE");
    let own =
        fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|score| score.trim().parse().ok()).unwrap_or(0);
    Ok(Host { bounding, least_oom_score_adj: if may_lower { -1000 } else { own }, unified: hierarchies.is_unified() })
}

fn check_uid(uid: &str) -> Result<(), Error> {
    let valid =
        !uid.is_empty() && uid.len() <= 64 && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if valid {
        Ok(())
    } else {
        Err(Error::InvalidInput { message: format!("pod uid {uid:?} may only have letters, digits and '-'") })
    }
}

impl Inner {
    fn pod_directory(&self, uid: &str) -> PathBuf {
        self.config.root.join("pods").join(uid)
    }

    fn socket(&self, uid: &str) -> PathBuf {
        self.config.run_dir.join(format!("{uid}.sock"))
    }

    fn known(&self, uid: &str) -> Option<Arc<Pod>> {
        lock(&self.pods).get(uid).cloned()
    }

    fn require(&self, uid: &str) -> Result<Arc<Pod>, Error> {
        self.known(uid).ok_or_else(|| Error::NotFound { what: "pod", id: uid.to_owned() })
    }
}
