//! The seam between node and runtime: plain data and one trait.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Error;

/// A boxed future, so that the trait can be used as `dyn ContainerRuntime`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// `metadata.uid` of a pod: the identity of a sandbox. Checked on construction by the runtime (letters, digits, `-`).
pub type PodUid = String;

/// Identity of one container instance; every restart makes a new one. Chosen by the runtime, 64 hex digits.
pub type ContainerId = String;

/// What a pod's sandbox needs before any container runs.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct PodSpec {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Host name inside (UTS namespace); unused with `host_network`.
    pub hostname: String,
    /// Network namespace made by the `network` crate; `None` means the host's.
    pub network_namespace: Option<PathBuf>,
    /// Use the host's PID namespace.
    pub host_pid: bool,
    /// Use the host's IPC namespace.
    pub host_ipc: bool,
    /// One PID namespace for all containers.
    pub share_process_namespace: bool,
    /// Namespaced sysctls, already checked against the allow-list.
    pub sysctls: BTreeMap<String, String>,
    /// Quality of service class, which decides the place in the cgroup tree.
    pub qos: QosClass,
    /// Sum of the containers' limits for the pod's own cgroup; `None` leaves it unlimited.
    pub resources: Resources,
}

/// Kubernetes' quality of service classes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum QosClass {
    /// Limits equal requests for every container.
    Guaranteed,
    /// Some request or limit.
    Burstable,
    /// None at all.
    BestEffort,
}

/// cgroup settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Resources {
    /// From the CPU request, in thousandths of a core.
    pub cpu_request_millis: Option<u64>,
    /// From the CPU limit, in thousandths of a core.
    pub cpu_limit_millis: Option<u64>,
    /// From the memory limit, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Most processes in the container.
    pub pids_limit: Option<u64>,
    /// `oom_score_adj`; clamped to what the kernel lets us set.
    pub oom_score_adj: i32,
}

/// One container instance.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ContainerSpec {
    /// `spec.containers[].name`.
    pub name: String,
    /// Restart count of this instance; part of the log file's name.
    pub attempt: u32,
    /// Image id (from [`Image::id`]).
    pub image: String,
    /// Replaces the image's `Entrypoint`; when set and `args` is empty the image's `Cmd` is dropped too.
    pub command: Vec<String>,
    /// Replaces the image's `Cmd`.
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Complete environment from the pod spec, on top of the image's own.
    pub env: Vec<(String, String)>,
    /// Mounts in the order in which they are to be made.
    pub mounts: Vec<Mount>,
    /// User, groups, capabilities and so on.
    pub security: Security,
    /// cgroup limits.
    pub resources: Resources,
    /// Keep standard input open.
    pub stdin: bool,
    /// The first client that attaches to standard input ends it when it goes (`stdinOnce`).
    pub stdin_once: bool,
    /// Allocate a terminal.
    pub tty: bool,
    /// Overrides the image's stop signal, e.g. `SIGINT`.
    pub stop_signal: Option<String>,
    /// Name of a running container of the pod whose processes this one sees (`targetContainerName` of ephemeral containers).
    #[serde(default)]
    pub process_namespace_of: Option<String>,
    /// Absolute host path of the CRI-format log file; its directory exists.
    pub log_path: PathBuf,
    /// Free to use by the node (e.g. a hash of the container's spec); returned unchanged in [`ContainerStatus`].
    pub labels: BTreeMap<String, String>,
}

/// A bind mount (or tmpfs) inside a container.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Mount {
    /// Path inside the container.
    pub destination: PathBuf,
    /// What is mounted.
    pub source: MountSource,
    /// Read only.
    pub read_only: bool,
}

/// What a [`Mount`] shows.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum MountSource {
    /// A file or directory of the host. `sub_path` is resolved beneath it without following links that leave it
    /// (CVE-2021-25741) and is created as a directory when missing.
    Bind {
        /// Absolute host path.
        path: PathBuf,
        /// `volumeMounts[].subPath`.
        sub_path: Option<PathBuf>,
        /// `Bidirectional` or `HostToContainer` propagation.
        propagation: Propagation,
    },
    /// Memory; `None` is half of the machine's.
    Tmpfs {
        /// Most bytes.
        size_bytes: Option<u64>,
    },
}

/// `volumeMounts[].mountPropagation`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub enum Propagation {
    /// `None`.
    #[default]
    Private,
    /// `HostToContainer`.
    HostToContainer,
    /// `Bidirectional`.
    Bidirectional,
}

/// The result of merging pod and container `securityContext`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Security {
    /// `runAsUser`; `None` means the image's user.
    pub run_as_user: Option<u32>,
    /// `runAsGroup`; `None` means the image's group, or the user's primary group in the image's `/etc/passwd`.
    pub run_as_group: Option<u32>,
    /// Refuse to start if the final uid is 0, whatever the image says.
    pub run_as_non_root: bool,
    /// `supplementalGroups` and `fsGroup`.
    pub supplemental_groups: Vec<u32>,
    /// All capabilities and devices, nothing masked.
    pub privileged: bool,
    /// `capabilities.add`, e.g. `NET_ADMIN`, or `ALL`.
    pub capabilities_add: Vec<String>,
    /// `capabilities.drop`, e.g. `ALL`.
    pub capabilities_drop: Vec<String>,
    /// `readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
}

/// What is known of a pod that has a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct PodStatus {
    /// The spec that it was started with.
    pub spec: PodSpec,
    /// False once the shim has died or the machine was rebooted; such a pod can only be removed.
    pub alive: bool,
    /// Process id of the shim.
    pub shim_pid: Option<u32>,
    /// All container instances that have not been removed, oldest first.
    pub containers: Vec<ContainerStatus>,
}

/// What is known of a container instance.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ContainerStatus {
    /// Its id.
    pub id: ContainerId,
    /// The spec's name.
    pub name: String,
    /// The spec's attempt.
    pub attempt: u32,
    /// The spec's image.
    pub image: String,
    /// The spec's labels.
    pub labels: BTreeMap<String, String>,
    /// The spec's log path.
    pub log_path: PathBuf,
    /// Running or how it ended.
    pub state: ContainerState,
}

/// The state of a container instance.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum ContainerState {
    /// The process runs.
    Running {
        /// Process id on the host.
        pid: u32,
        /// When it was started.
        started: Timestamp,
    },
    /// The process has ended.
    Exited {
        /// Exit code; 128 + signal when killed by one.
        code: i32,
        /// The signal that killed it.
        signal: Option<i32>,
        /// The kernel killed it for memory.
        out_of_memory: bool,
        /// When it was started.
        started: Timestamp,
        /// When it ended.
        finished: Timestamp,
    },
}

/// Something happened that the node did not ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A container has ended; its status says how.
    ContainerExited {
        /// The pod.
        pod: PodUid,
        /// The container.
        container: ContainerId,
    },
    /// The pod's shim is gone, and every container with it.
    PodLost {
        /// The pod.
        pod: PodUid,
    },
}

/// A command to run inside a running container.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Keep standard input open.
    pub stdin: bool,
    /// Allocate a terminal; standard error then arrives on standard output.
    pub tty: bool,
}

/// The open ends of a running command, or of a container that is attached to.
///
/// Dropping it closes the streams; a command that was started by exec and still runs is killed.
pub struct Session {
    /// Standard input, if it was asked for.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Standard output (and standard error with a terminal).
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Standard error, without a terminal.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Sets the size of the terminal (columns, rows).
    pub resize: Option<Box<dyn Fn(u16, u16) + Send + Sync>>,
    /// Resolves with the exit code. For attach: with the container's.
    pub exit: BoxFuture<'static, Result<i32, Error>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("tty", &self.resize.is_some()).finish_non_exhaustive()
    }
}

/// Resource use of a container, from its cgroup.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ContainerStats {
    /// CPU time used since the start, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory in use without reclaimable page cache (the kubelet's "working set"), in bytes.
    pub memory_working_set_bytes: u64,
    /// Processes.
    pub pids: u64,
}

/// An image in the local store.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Image {
    /// `sha256:…` of the image's configuration.
    pub id: String,
    /// Names that point at it, fully qualified (`docker.io/library/postgres:15-alpine`, `localhost:30002/a/b:v1`).
    pub names: Vec<String>,
    /// `name@sha256:…` references under which it was pulled.
    pub digests: Vec<String>,
    /// Unpacked size in bytes.
    pub size_bytes: u64,
    /// When it was imported or pulled.
    pub added: Timestamp,
    /// Where it came from first.
    pub origin: ImageOrigin,
    /// The user of the configuration, e.g. `1000:1000`, empty for root.
    pub user: String,
}

/// Where an image came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ImageOrigin {
    /// A file: once removed, nothing brings it back by itself.
    #[default]
    Imported,
    /// A registry, which still has it.
    Pulled,
}

/// Credentials for one pull.
#[derive(Clone, PartialEq, Eq)]
pub struct PullCredentials {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for PullCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullCredentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What the node asks of a container runtime.
///
/// All methods are idempotent, all have deadlines of their own, and everything that they acknowledge survives the death of
/// the daemon: the next [`ContainerRuntime::pods`] after a restart reports it.
pub trait ContainerRuntime: Send + Sync + 'static {
    /// Makes the sandbox (shim, namespaces, cgroup) unless it exists.
    fn start_pod<'a>(&'a self, pod: &'a PodSpec) -> BoxFuture<'a, Result<(), Error>>;

    /// Kills whatever runs in the pod and removes every trace of it except log files. Removing an unknown pod succeeds.
    fn remove_pod<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<(), Error>>;

    /// All pods with sandboxes, adopted ones included.
    fn pods(&self) -> Vec<PodStatus>;

    /// One pod.
    fn pod(&self, pod: &str) -> Option<PodStatus>;

    /// Creates and starts a container; returns once its process runs. A command that does not exist, a user that cannot
    /// be resolved and the like are [`Error::StartContainer`] with a sentence for the user.
    fn start_container<'a>(
        &'a self,
        pod: &'a str,
        container: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<ContainerStatus, Error>>;

    /// Sends the stop signal, waits up to `grace`, then kills. Returns when the container has exited.
    fn stop_container<'a>(
        &'a self,
        pod: &'a str,
        container: &'a str,
        grace: Duration,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Forgets an exited container and frees its root file system. The log stays.
    fn remove_container<'a>(&'a self, pod: &'a str, container: &'a str) -> BoxFuture<'a, Result<(), Error>>;

    /// Events since the call. A receiver that lags looks at [`ContainerRuntime::pods`] again.
    fn events(&self) -> tokio::sync::broadcast::Receiver<RuntimeEvent>;

    /// Runs a command in a container.
    fn exec<'a>(
        &'a self,
        pod: &'a str,
        container: &'a str,
        command: &'a ExecSpec,
    ) -> BoxFuture<'a, Result<Session, Error>>;

    /// Connects to a running container's own streams (live output from now on), to its standard input only when wanted.
    fn attach<'a>(&'a self, pod: &'a str, container: &'a str, stdin: bool) -> BoxFuture<'a, Result<Session, Error>>;

    /// Resource use of a running container.
    fn stats<'a>(&'a self, pod: &'a str, container: &'a str) -> BoxFuture<'a, Result<ContainerStats, Error>>;

    /// The image called `reference` (any spelling: `postgres:15`, a digest, an id), if it is in the store.
    fn image(&self, reference: &str) -> Option<Image>;

    /// All images.
    fn images(&self) -> Vec<Image>;

    /// Pulls from a registry (tries each of `credentials`, then none) unless the same digest is there.
    fn pull<'a>(
        &'a self,
        reference: &'a str,
        credentials: &'a [PullCredentials],
    ) -> BoxFuture<'a, Result<Image, Error>>;

    /// Imports a file: an OCI image layout tar, a `docker save` tar, or (with `name`) a plain root file system tar; each
    /// may be compressed with gzip or zstd. `name` names or renames the image. `config` gives a root file system its
    /// `Entrypoint`, `Cmd`, `Env`, `User`, `WorkingDir` (OCI image configuration's `config` object).
    fn import<'a>(
        &'a self,
        archive: &'a Path,
        name: Option<&'a str>,
        config: Option<serde_json::Value>,
    ) -> BoxFuture<'a, Result<Vec<Image>, Error>>;

    /// Removes a name or an id; layers that nothing refers to are deleted. An image in use is an error.
    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<(), Error>>;
}
