//! [`Runtime`]: the container runtime on this machine.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, BufRead, BufReader},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use nix::{
    fcntl::{Flock, FlockArg, OFlag},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::Mode,
};
use tokio::{sync::broadcast, task::JoinSet};

use crate::{
    BoxFuture, Config, ContainerRuntime, ContainerSpec, ContainerState, ContainerStats, ContainerStatus, Error,
    ExecSpec, Image, Mount, MountSource, PodSpec, PodStatus, PullCredentials, RuntimeEvent, Session,
    beneath::{Root, descriptor_path},
    cgroup::{self, Hierarchies},
    durable,
    error::IoContext,
    images::{self, import, store::ImageStore},
    pod::{self, Container, Pod, Record},
    program, session,
    shim::{
        Arguments, READY,
        protocol::{Request, Response, ShimIdentity, StartOptions},
    },
    snapshot::{self, Overlay},
    spec::{self, Host, capabilities::Capabilities, user},
};

/// Longest time for a shim to come up.
const SHIM_DEADLINE: Duration = Duration::from_secs(20);
/// Longest time between SIGKILL and the end of a container.
const KILL_DEADLINE: Duration = Duration::from_secs(30);
/// Events that may wait for a receiver.
const EVENTS: usize = 1024;
/// Longest path of a socket (`sun_path` without its end).
const SOCKET_PATH: usize = 107;
/// Size of a pod's `/dev/shm`, as with containerd.
const SHARED_MEMORY: &str = "mode=1777,size=65536k";

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

    async fn signal(&self, pod: &Arc<Pod>, id: &str, signal: i32, all: bool) -> Result<(), Error> {
        let (pod, id) = (Arc::clone(pod), id.to_owned());
        self.blocking(move |_| match pod.signal(&id, signal, all) {
            // A shim that is gone has taken its containers along, which is reported elsewhere.
            Err(_) if !pod.is_alive() => Ok(()),
            other => other,
        })
        .await
    }

    async fn stop(&self, pod: &Arc<Pod>, id: &str, grace: Duration) -> Result<(), Error> {
        let Some(container) = pod.container(id) else { return Ok(()) };
        if !matches!(container.state, ContainerState::Running { .. }) {
            return Ok(());
        }
        if !grace.is_zero() {
            let signal = stop_signal(&container.record.spec)?;
            self.signal(pod, id, signal, false).await?;
            if pod.wait_exited(id, grace).await {
                return Ok(());
            }
        }
        self.signal(pod, id, nix::libc::SIGKILL, true).await?;
        if pod.wait_exited(id, KILL_DEADLINE).await {
            return Ok(());
        }
        Err(Error::Deadline { what: format!("killing container {id}"), seconds: KILL_DEADLINE.as_secs() })
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

/// The number of a container's stop signal. The image's own is already in the spec on disk.
fn stop_signal(spec: &ContainerSpec) -> Result<i32, Error> {
    let Some(name) = spec.stop_signal.as_deref().filter(|name| !name.is_empty()) else { return Ok(nix::libc::SIGTERM) };
    let upper = name.to_ascii_uppercase();
    let invalid = || Error::start(format!("stop signal {name:?} is not a signal of Linux"));
    if let Ok(number) = upper.parse::<i32>() {
        return nix::sys::signal::Signal::try_from(number).map(|signal| signal as i32).map_err(|_| invalid());
    }
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse::<nix::sys::signal::Signal>().map(|signal| signal as i32).map_err(|_| invalid())
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

    /// Finds the pods on disk, connects to those that live and clears away what was never finished.
    fn adopt(&self) -> Result<(), Error> {
        let pods = self.config.root.join("pods");
        for entry in fs::read_dir(&pods).context(|| format!("listing {}", pods.display()))? {
            let entry = entry.context(|| format!("listing {}", pods.display()))?;
            let name = entry.file_name();
            let Some(uid) = name.to_str().filter(|uid| check_uid(uid).is_ok()) else { continue };
            let loaded =
                pod::load(&entry.path(), self.socket(uid), |spec| cgroup::pod_path(&self.config.cgroup_parent, spec));
            let pod = match loaded {
                Ok(Some(pod)) => Arc::new(pod),
                Ok(None) => {
                    snapshot::remove_tree(&entry.path())?;
                    continue;
                }
                Err(error) => {
                    tracing::error!(pod = uid, error = %error.chain(), "a pod's state cannot be read; it is left alone");
                    continue;
                }
            };
            if !pod.is_alive() {
                pod.lose(&self.hierarchies)?;
            }
            let known: Vec<String> = pod.containers().into_iter().map(|container| container.record.id).collect();
            for directory in fs::read_dir(pod.directory.join("containers")).into_iter().flatten().flatten() {
                if !directory.file_name().to_str().is_some_and(|id| known.iter().any(|known| known == id)) {
                    if let Some(id) = directory.file_name().to_str() {
                        self.hierarchies.kill(&pod.container_cgroup(id))?;
                    }
                    snapshot::remove_tree(&directory.path())?;
                }
            }
            for container in pod.containers() {
                if let Err(error) = self.images.lease(&container.record.image) {
                    tracing::warn!(container = container.record.id, error = %error, "a container's image is not in the store");
                }
            }
            self.follow(&pod);
            lock(&self.pods).insert(uid.to_owned(), pod);
        }
        Ok(())
    }

    fn follow(&self, pod: &Arc<Pod>) {
        if !pod.is_alive() {
            return;
        }
        let (pod, hierarchies, events) = (Arc::clone(pod), self.hierarchies.clone(), self.events.clone());
        let mut followers = lock(&self.followers);
        while followers.try_join_next().is_some() {}
        followers.spawn(async move { pod.follow(hierarchies, &events).await });
    }

    fn start_pod(&self, spec: &PodSpec) -> Result<Arc<Pod>, Error> {
        let directory = self.pod_directory(&spec.uid);
        let socket = self.socket(&spec.uid);
        if socket.as_os_str().len() > SOCKET_PATH {
            return Err(Error::InvalidInput {
                message: format!("the socket path {} is too long; choose a shorter run directory", socket.display()),
            });
        }
        let cgroup = cgroup::pod_path(&self.config.cgroup_parent, spec);
        match self.make_sandbox(spec, &directory, &socket, &cgroup) {
            Ok(shim) => Ok(Arc::new(Pod::new(spec.clone(), directory, socket, cgroup, Some(shim), Vec::new()))),
            Err(error) => {
                let _ = self.hierarchies.kill(&cgroup);
                let _ = self.hierarchies.remove(&cgroup);
                let _ = snapshot::remove_tree(&directory);
                Err(error)
            }
        }
    }

    fn make_sandbox(
        &self,
        spec: &PodSpec,
        directory: &Path,
        socket: &Path,
        cgroup: &str,
    ) -> Result<ShimIdentity, Error> {
        snapshot::remove_tree(directory)?;
        for directory in [directory, &directory.join("containers"), &directory.join("shm")] {
            fs::create_dir(directory).context(|| format!("making {}", directory.display()))?;
        }
        durable::write(&directory.join("hostname"), format!("{}\n", spec.hostname).as_bytes())?;
        fs::set_permissions(directory.join("hostname"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .context(|| "making the hostname file readable")?;
        durable::write_json(&directory.join("pod.json"), spec)?;
        if !spec.host_ipc {
            snapshot::tmpfs(&directory.join("shm"), SHARED_MEMORY)?;
        }
        self.hierarchies.create(cgroup, &spec.resources)?;
        let arguments = Arguments {
            directory: directory.to_owned(),
            socket: socket.to_owned(),
            cgroup: format!("{}/shims", self.config.cgroup_parent),
        };
        self.spawn_shim(&arguments).map_err(|message| Error::Shim { pod: spec.uid.clone(), message })?;
        durable::read_json(&directory.join("shim.json"))?
            .ok_or_else(|| Error::Shim { pod: spec.uid.clone(), message: "it has left no shim.json".into() })
    }

    fn spawn_shim(&self, arguments: &Arguments) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        let mut words = self.config.shim.iter();
        let mut command = Command::new(descriptor_path(&self.program));
        if let Some(name) = words.next() {
            command.arg0(name);
        }
        let mut child = command
            .args(words)
            .args(arguments.to_arguments())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let output = child.stdout.take().ok_or("it has no output")?;
        // The started process only forks, so this is short.
        let status = child.wait().map_err(failed)?;
        let mut waiting = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(SHIM_DEADLINE).unwrap_or(PollTimeout::MAX);
        if poll(&mut waiting, limit).map_err(|error| failed(error.into()))? == 0 {
            return Err(format!("it was not ready after {} s", SHIM_DEADLINE.as_secs()));
        }
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(failed)?;
        match line.trim() {
            READY => Ok(()),
            "" => Err(format!("it has ended without a word ({status})")),
            message => Err(message.to_owned()),
        }
    }

    fn start_container(&self, pod: &Arc<Pod>, spec: &ContainerSpec) -> Result<ContainerStatus, Error> {
        if !pod.is_alive() {
            return Err(Error::start("the pod's sandbox is lost; remove the pod and start it again"));
        }
        let (image, leased) = self.images.lease(&spec.image)?;
        let id = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let directory = pod.container_directory(&id);
        let mut spec = spec.clone();
        if spec.stop_signal.is_none() {
            spec.stop_signal.clone_from(&leased.config.stop_signal);
        }
        let record = Record { id: id.clone(), spec, image: image.clone(), created: Timestamp::now() };
        let started = self.prepare(pod, &record, &leased, &directory).and_then(|()| {
            match pod.request(&Request::Start { id: id.clone() })?.0 {
                Response::Started { pid, started } => Ok(ContainerState::Running { pid, started }),
                Response::Failed { message } => Err(Error::start(message)),
                _ => Err(Error::Shim { pod: pod.spec.uid.clone(), message: "it has answered something else".into() }),
            }
        });
        match started {
            Ok(state) => {
                let container = Container { record, state };
                let status = container.status();
                pod.add(container);
                // It may have ended before it was known; the shim's notice then found nobody.
                if directory.join("exit.json").exists() && pod.record_exit(&id) {
                    let _ =
                        self.events.send(RuntimeEvent::ContainerExited { pod: pod.spec.uid.clone(), container: id });
                }
                Ok(status)
            }
            Err(error) => {
                let _ = self.hierarchies.kill(&pod.container_cgroup(&id));
                if let Err(error) = snapshot::remove_tree(&directory) {
                    tracing::warn!(container = id, error = %error.chain(), "what is left of a container could not be removed");
                }
                self.images.release(&image);
                Err(error)
            }
        }
    }

    /// Makes a container's directory: root file system, configuration, what the shim needs.
    fn prepare(
        &self,
        pod: &Pod,
        record: &Record,
        leased: &images::store::Leased,
        directory: &Path,
    ) -> Result<(), Error> {
        let spec = &record.spec;
        stop_signal(spec)?;
        let [rootfs, upper, work, binds] = ["rootfs", "upper", "work", "binds"].map(|name| directory.join(name));
        for directory in [directory, &rootfs, &upper, &work, &binds] {
            fs::create_dir(directory).context(|| format!("making {}", directory.display()))?;
        }
        durable::write_json(&directory.join("container.json"), record)?;
        Overlay { layers: leased.layers.clone(), lower: leased.lower.clone(), upper, work }.mount(&rootfs)?;
        let root = Root::open(&rootfs).context(|| "opening the root file system")?;
        let user = user::resolve(
            leased.config.user.as_deref().unwrap_or_default(),
            &user::Accounts::read(&root)?,
            &spec.security,
        )?;
        let working_directory = spec::working_directory(spec, &leased.config)?;
        root.make_directories(Path::new(&working_directory)).map_err(|error| {
            Error::start(format!("workingDir {working_directory:?} cannot be made: {}", error.desc()))
        })?;
        let mut mounts = Vec::new();
        for (number, mount) in spec.mounts.iter().enumerate() {
            mounts.push((mount.clone(), source(mount, &binds.join(number.to_string()))?));
        }
        let hostname = Path::new("/etc/hostname");
        if pod.spec.network_namespace.is_some() && !mounts.iter().any(|(mount, _)| mount.destination == hostname) {
            let path = pod.directory.join("hostname");
            let bind = MountSource::Bind { path: path.clone(), sub_path: None, propagation: Default::default() };
            mounts.push((
                Mount { destination: hostname.to_owned(), source: bind, read_only: spec.security.read_only_root },
                path,
            ));
        }
        let cgroup = pod.container_cgroup(&record.id);
        let host_shared_memory = PathBuf::from("/dev/shm");
        let own_shared_memory = pod.directory.join("shm");
        let config = spec::build(&spec::Input {
            pod: &pod.spec,
            container: spec,
            image: &leased.config,
            user: &user,
            host: self.host,
            rootfs: &rootfs,
            cgroup: &cgroup,
            shared_memory: if pod.spec.host_ipc { &host_shared_memory } else { &own_shared_memory },
            mounts: &mounts,
            pid_namespace: pod
                .shim
                .as_ref()
                .and_then(|shim| shim.pause)
                .map(|pause| format!("/proc/{pause}/ns/pid").into()),
        })?;
        let options = StartOptions { log_path: spec.log_path.clone(), stdin: spec.stdin, tty: spec.tty, cgroup };
        // Not synced: without started.json, which is, these are cleared away after a crash.
        for (name, text) in [
            ("config.json", config.to_string()),
            ("start.json", serde_json::to_string(&options).map_err(io::Error::from).context(|| "encoding start.json")?),
        ] {
            let path = directory.join(name);
            fs::write(&path, text).context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    fn remove_container(&self, pod: &Pod, id: &str) -> Result<(), Error> {
        let Some(container) = pod.container(id) else { return Ok(()) };
        if matches!(container.state, ContainerState::Running { .. }) {
            return Err(Error::InvalidInput { message: format!("container {id} still runs; stop it first") });
        }
        let cgroup = pod.container_cgroup(id);
        self.hierarchies.kill(&cgroup)?;
        self.hierarchies.remove(&cgroup)?;
        let _ = fs::remove_dir_all(pod.directory.join("oci").join(id));
        snapshot::remove_tree(&pod.container_directory(id))?;
        self.images.release(&container.record.image);
        pod.forget(id);
        Ok(())
    }

    /// Removes what is left of a pod whose processes are to go.
    fn remove_pod(&self, pod: &Pod) -> Result<(), Error> {
        pod.kill_shim();
        pod.lose(&self.hierarchies)?;
        self.hierarchies.remove(&pod.cgroup)?;
        if let Some((class, _)) = pod.cgroup.rsplit_once('/')
            && class != self.config.cgroup_parent
        {
            self.hierarchies.remove_if_empty(class);
        }
        snapshot::remove_tree(&pod.directory)?;
        let _ = fs::remove_file(&pod.socket);
        for container in pod.containers() {
            self.images.release(&container.record.image);
        }
        let mut pods = lock(&self.pods);
        pods.remove(&pod.spec.uid);
        if pods.is_empty() {
            // The last one leaves nothing of ours behind in the cgroup tree.
            let shims = format!("{}/shims", self.config.cgroup_parent);
            for _ in 0..100 {
                if self.hierarchies.processes(&shims).is_empty() {
                    break;
                }
                cgroup::wait(Duration::from_millis(2));
            }
            for path in [&shims, &self.config.cgroup_parent] {
                self.hierarchies.remove_if_empty(path);
            }
        }
        Ok(())
    }
}

/// Finds what a mount shows. A `subPath` is resolved by the kernel beneath its volume and bound by descriptor to a place of
/// ours, so that nobody can change afterwards what it leads to (CVE-2021-25741).
fn source(mount: &Mount, place: &Path) -> Result<PathBuf, Error> {
    let MountSource::Bind { path, sub_path, .. } = &mount.source else { return Ok(PathBuf::new()) };
    if !mount.destination.is_absolute() {
        return Err(Error::start(format!("mount path {} must be absolute", mount.destination.display())));
    }
    let missing = |error: nix::Error| Error::start(format!("mount source {}: {}", path.display(), error.desc()));
    let Some(sub_path) = sub_path.as_ref().filter(|sub_path| !sub_path.as_os_str().is_empty()) else {
        fs::metadata(path).map_err(|error| Error::start(format!("mount source {}: {error}", path.display())))?;
        return Ok(path.clone());
    };
    let root = Root::open(path).map_err(missing)?;
    let refuse = |error: nix::Error| {
        Error::start(format!(
            "subPath {:?} of {}: {}",
            sub_path,
            path.display(),
            match error {
                nix::Error::EXDEV => "it leads outside of the volume",
                other => other.desc(),
            }
        ))
    };
    if sub_path.is_absolute() || sub_path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(refuse(nix::Error::EXDEV));
    }
    let found = match root.open_beneath(sub_path, OFlag::O_PATH) {
        Err(nix::Error::ENOENT) => {
            root.make_directories_beneath(sub_path, Mode::from_bits_truncate(0o750)).map_err(refuse)?
        }
        other => other.map_err(refuse)?,
    };
    let is_directory = nix::sys::stat::fstat(&found).map_err(refuse)?.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
    let made = if is_directory { fs::create_dir(place) } else { File::create_new(place).map(|_| ()) };
    made.context(|| format!("making {}", place.display()))?;
    snapshot::bind(&descriptor_path(&found), place)?;
    Ok(place.to_owned())
}

impl ContainerRuntime for Runtime {
    fn start_pod<'a>(&'a self, pod: &'a PodSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            check_uid(&pod.uid)?;
            let guard = self.change(&pod.uid).await;
            if let Some(known) = self.inner.known(&pod.uid) {
                if known.is_alive() {
                    return Ok(());
                }
                return Err(Error::Shim {
                    pod: pod.uid.clone(),
                    message: "the sandbox is lost; remove the pod first".into(),
                });
            }
            let spec = pod.clone();
            self.blocking(move |inner| {
                // Held until the end, even if nobody waits for it any more.
                let _guard = guard;
                let pod = inner.start_pod(&spec)?;
                lock(&inner.pods).insert(spec.uid.clone(), Arc::clone(&pod));
                inner.follow(&pod);
                Ok(())
            })
            .await
        })
    }

    fn remove_pod<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let guard = self.change(pod).await;
            let Some(known) = self.inner.known(pod) else { return Ok(()) };
            // The shim writes the logs to their end if it may see the containers end.
            if known.is_alive() {
                for container in known.containers() {
                    if let Err(error) = self.stop(&known, &container.record.id, Duration::ZERO).await {
                        tracing::warn!(pod, error = %error.chain(), "a container of a pod that is removed could not be stopped");
                    }
                }
            }
            self.blocking(move |inner| {
                let _guard = guard;
                inner.remove_pod(&known)
            })
            .await
        })
    }

    fn pods(&self) -> Vec<PodStatus> {
        lock(&self.inner.pods).values().map(|pod| pod.status()).collect()
    }

    fn pod(&self, pod: &str) -> Option<PodStatus> {
        self.inner.known(pod).map(|pod| pod.status())
    }

    fn start_container<'a>(
        &'a self,
        pod: &'a str,
        container: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<ContainerStatus, Error>> {
        Box::pin(async move {
            let guard = self.change(pod).await;
            let known = self.inner.require(pod)?;
            let same = |status: &&ContainerStatus| status.name == container.name && status.attempt == container.attempt;
            if let Some(status) = known.status().containers.iter().find(same) {
                return Ok(status.clone());
            }
            let container = container.clone();
            self.blocking(move |inner| {
                let _guard = guard;
                inner.start_container(&known, &container)
            })
            .await
        })
    }

    fn stop_container<'a>(
        &'a self,
        pod: &'a str,
        container: &'a str,
        grace: Duration,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let Some(known) = self.inner.known(pod) else { return Ok(()) };
            self.stop(&known, container, grace).await
        })
    }

    fn remove_container<'a>(&'a self, pod: &'a str, container: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let guard = self.change(pod).await;
            let Some(known) = self.inner.known(pod) else { return Ok(()) };
            let id = container.to_owned();
            self.blocking(move |inner| {
                let _guard = guard;
                inner.remove_container(&known, &id)
            })
            .await
        })
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.inner.events.subscribe()
    }

    fn exec<'a>(
        &'a self,
        pod: &'a str,
        container: &'a str,
        command: &'a ExecSpec,
    ) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async move {
            let known = self.inner.require(pod)?;
            running(&known, container)?;
            let (id, command) = (container.to_owned(), command.clone());
            let (response, descriptors, stream) = self
                .blocking(move |_| {
                    let config: serde_json::Value =
                        durable::read_json(&known.container_directory(&id).join("config.json"))?
                            .ok_or_else(|| Error::NotFound { what: "container", id: id.clone() })?;
                    let process = spec::exec_process(&config, &command.command, command.tty)?;
                    known.request(&Request::Exec { id, process, stdin: command.stdin, tty: command.tty })
                })
                .await?;
            match response {
                Response::Failed { message } => Err(Error::start(message)),
                streams => session::open(stream, &streams, descriptors),
            }
        })
    }

    fn attach<'a>(&'a self, pod: &'a str, container: &'a str) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async move {
            let known = self.inner.require(pod)?;
            running(&known, container)?;
            let id = container.to_owned();
            let (response, descriptors, stream) =
                self.blocking(move |_| known.request(&Request::Attach { id })).await?;
            match response {
                Response::Failed { message } => Err(Error::start(message)),
                streams => session::open(stream, &streams, descriptors),
            }
        })
    }

    fn stats<'a>(&'a self, pod: &'a str, container: &'a str) -> BoxFuture<'a, Result<ContainerStats, Error>> {
        Box::pin(async move {
            let known = self.inner.require(pod)?;
            running(&known, container)?;
            let path = known.container_cgroup(container);
            self.inner
                .hierarchies
                .stats(&path)
                .ok_or_else(|| Error::NotFound { what: "running container", id: container.to_owned() })
        })
    }

    fn image(&self, reference: &str) -> Option<Image> {
        self.inner.images.find(reference)
    }

    fn images(&self) -> Vec<Image> {
        self.inner.images.list()
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        credentials: &'a [PullCredentials],
    ) -> BoxFuture<'a, Result<Image, Error>> {
        Box::pin(images::pull::pull(&self.inner.images, reference, credentials))
    }

    fn import<'a>(
        &'a self,
        archive: &'a Path,
        name: Option<&'a str>,
        config: Option<serde_json::Value>,
    ) -> BoxFuture<'a, Result<Vec<Image>, Error>> {
        let (archive, name) = (archive.to_owned(), name.map(str::to_owned));
        Box::pin(self.blocking(move |inner| import::import(&inner.images, &archive, name.as_deref(), config)))
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        let reference = reference.to_owned();
        Box::pin(self.blocking(move |inner| inner.images.remove(&reference)))
    }
}

fn running(pod: &Pod, id: &str) -> Result<(), Error> {
    match pod.container(id).map(|container| container.state) {
        Some(ContainerState::Running { .. }) => Ok(()),
        _ => Err(Error::NotFound { what: "running container", id: id.to_owned() }),
    }
}
