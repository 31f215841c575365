//! The OCI runtime configuration of a container, as a pure function of what is asked for and of facts about the host.

pub(crate) mod capabilities;
mod devices;
pub(crate) mod user;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::{capabilities::Capabilities, user::User};
use crate::{
    ContainerSpec, Error, Mount, MountSource, PodSpec, Propagation, Resources, cgroup, images::manifest::ImageConfig,
};

/// `PATH` of containers whose image sets none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Hidden from containers, as with containerd.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Read only in containers, as with containerd.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the host allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    /// Our own bounding set.
    pub bounding: Capabilities,
    /// Least `oom_score_adj` that we may set.
    pub least_oom_score_adj: i32,
    /// Only cgroup version 2.
    pub unified: bool,
}

/// Everything that goes into a configuration.
pub(crate) struct Input<'a> {
    pub pod: &'a PodSpec,
    pub container: &'a ContainerSpec,
    pub image: &'a ImageConfig,
    pub user: &'a User,
    pub host: Host,
    pub rootfs: &'a Path,
    pub cgroup: &'a str,
    /// The pod's `/dev/shm`.
    pub shared_memory: &'a Path,
    /// Mounts with their sources found.
    pub mounts: &'a [(Mount, PathBuf)],
    /// PID namespace to join; `None` makes a new one.
    pub pid_namespace: Option<PathBuf>,
    /// The container's own cgroup in each hierarchy of version 1, by the directory's name.
    pub cgroup_directories: &'a [(String, PathBuf)],
}

/// Builds `config.json`. Leaves out the namespaces that the shim already holds, which are inherited.
pub(crate) fn build(input: &Input<'_>) -> Result<Value, Error> {
    let Input { pod, container, host, .. } = input;
    let security = &container.security;
    let mut process = json!({
        "terminal": container.tty,
        "user": {"uid": input.user.uid, "gid": input.user.gid, "additionalGids": input.user.additional_gids},
        "args": command(container, input.image)?,
        "env": environment(pod, container, input.image),
        "cwd": working_directory(container, input.image)?,
        "capabilities": capability_sets(capabilities::for_container(security, host.bounding)?),
        "oomScoreAdj": container.resources.oom_score_adj.clamp(host.least_oom_score_adj.max(-1000), 1000),
    });
    if security.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    let mut namespaces = vec![json!({"type": "mount"})];
    if !pod.host_pid {
        namespaces.push(match &input.pid_namespace {
            Some(path) => json!({"type": "pid", "path": path}),
            None => json!({"type": "pid"}),
        });
    }
    if host.unified {
        namespaces.push(json!({"type": "cgroup"}));
    }
    let mut linux = json!({
        "cgroupsPath": input.cgroup,
        "namespaces": namespaces,
        "resources": resources(&container.resources, security.privileged),
        // Host mounts that appear later reach those who asked for it, and nothing goes the other way.
        "rootfsPropagation": propagation(input.mounts),
    });
    if security.privileged {
        linux["devices"] = devices::host_devices();
    } else {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": input.rootfs, "readonly": security.read_only_root},
        "mounts": mounts(input),
        "linux": linux,
    }))
}

/// The process object of a command run in a container that has `config`.
pub(crate) fn exec_process(config: &Value, command: &[String], tty: bool) -> Result<Value, Error> {
    if command.is_empty() {
        return Err(Error::start("no command specified"));
    }
    refuse_null(command.iter())?;
    let mut process = config.get("process").cloned().unwrap_or(Value::Null);
    let object = process.as_object_mut().ok_or_else(|| Error::start("the container's configuration has no process"))?;
    object.insert("args".into(), json!(command));
    object.insert("terminal".into(), json!(tty));
    if tty
        && let Some(Value::Array(environment)) = object.get_mut("env")
        && !environment.iter().any(|variable| variable.as_str().is_some_and(|variable| variable.starts_with("TERM=")))
    {
        environment.push(json!("TERM=xterm"));
    }
    Ok(process)
}

fn refuse_null<'a>(mut texts: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    match texts.find(|text| text.contains('\0')) {
        Some(text) => Err(Error::start(format!("{text:?} contains a null byte"))),
        None => Ok(()),
    }
}

fn command(container: &ContainerSpec, image: &ImageConfig) -> Result<Vec<String>, Error> {
    let entrypoint = image.entrypoint.as_deref().unwrap_or_default();
    let cmd = image.cmd.as_deref().unwrap_or_default();
    let (program, arguments) = match (container.command.as_slice(), container.args.as_slice()) {
        ([], []) => (entrypoint, cmd),
        ([], args) => (entrypoint, args),
        (command, args) => (command, args),
    };
    let command: Vec<String> = program.iter().chain(arguments).cloned().collect();
    if command.first().is_none_or(String::is_empty) {
        return Err(Error::start("no command specified: neither the container nor its image names one"));
    }
    refuse_null(command.iter())?;
    Ok(command)
}

fn environment(pod: &PodSpec, container: &ContainerSpec, image: &ImageConfig) -> Vec<String> {
    let mut variables: Vec<(String, String)> = vec![("HOSTNAME".into(), pod.hostname.clone())];
    if container.tty {
        variables.push(("TERM".into(), "xterm".into()));
    }
    let from_image = image.env.iter().flatten().filter_map(|variable| variable.split_once('='));
    let all = from_image.map(|(name, value)| (name.to_owned(), value.to_owned())).chain(container.env.iter().cloned());
    for (name, value) in all {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            continue;
        }
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => variables.push((name, value)),
        }
    }
    let mut variables: Vec<String> = variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !variables.iter().any(|variable| variable.starts_with("PATH=")) {
        variables.push(DEFAULT_PATH.into());
    }
    variables
}

/// Where the process starts; absolute and without `..`, so that it is the same place from every root.
pub(crate) fn working_directory(container: &ContainerSpec, image: &ImageConfig) -> Result<String, Error> {
    let own = container.working_dir.as_deref().filter(|directory| !directory.is_empty());
    let directory = own.or(image.working_dir.as_deref()).filter(|directory| !directory.is_empty()).unwrap_or("/");
    if !directory.starts_with('/') || directory.split('/').any(|part| part == "..") || directory.contains('\0') {
        return Err(Error::start(format!("workingDir {directory:?} must be an absolute path without \"..\"")));
    }
    // Descriptors of the runtime must not become a way to the host (CVE-2024-21626).
    if directory == "/proc" || directory.starts_with("/proc/") {
        return Err(Error::start(format!("workingDir {directory:?} must not be in /proc")));
    }
    Ok(directory.to_owned())
}

fn capability_sets(set: Capabilities) -> Value {
    let names = set.names();
    // Nothing is inheritable or ambient (CVE-2022-29162).
    json!({"bounding": names, "effective": names, "permitted": names, "inheritable": [], "ambient": []})
}

fn resources(resources: &Resources, privileged: bool) -> Value {
    let mut cpu = json!({"shares": cgroup::cpu_shares(resources.cpu_request_millis.unwrap_or(0))});
    if let Some(millis) = resources.cpu_limit_millis {
        cpu["quota"] = json!(cgroup::cpu_quota(millis));
        cpu["period"] = json!(cgroup::CPU_PERIOD);
    }
    let mut value = json!({"cpu": cpu, "devices": [{"allow": privileged, "access": "rwm"}]});
    if let Some(bytes) = resources.memory_limit_bytes {
        value["memory"] = json!({"limit": bytes});
    }
    if let Some(pids) = resources.pids_limit {
        value["pids"] = json!({"limit": pids});
    }
    value
}

fn propagation(mounts: &[(Mount, PathBuf)]) -> &'static str {
    let wants = |wanted: Propagation| {
        mounts
            .iter()
            .any(|(mount, _)| matches!(&mount.source, MountSource::Bind { propagation, .. } if *propagation == wanted))
    };
    if wants(Propagation::Bidirectional) {
        "shared"
    } else if wants(Propagation::HostToContainer) {
        "slave"
    } else {
        "private"
    }
}

fn mounts(input: &Input<'_>) -> Vec<Value> {
    let privileged = input.container.security.privileged;
    let sys = if privileged { "rw" } else { "ro" };
    let mut all = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", sys]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", sys]}),
        json!({"destination": "/dev/shm", "type": "bind", "source": input.shared_memory,
            "options": ["rbind", "rprivate", "nosuid", "nodev", "noexec", "rw"]}),
    ];
    if input.pid_namespace.is_some() && !input.host.unified {
        show_own_cgroups(&mut all, input.cgroup_directories, sys);
    }
    // What the pod mounts itself (`/dev/shm` as an emptyDir) replaces ours.
    let replaced = |mount: &Value| {
        input
            .mounts
            .iter()
            .any(|(own, _)| mount["destination"].as_str().is_some_and(|path| own.destination == Path::new(path)))
    };
    let mut list: Vec<Value> = all.into_iter().filter(|mount| !replaced(mount)).collect();
    list.extend(input.mounts.iter().map(|(mount, source)| {
        let access = if mount.read_only { "ro" } else { "rw" };
        match &mount.source {
            MountSource::Bind { propagation, .. } => {
                let propagation = match propagation {
                    Propagation::Private => "rprivate",
                    Propagation::HostToContainer => "rslave",
                    Propagation::Bidirectional => "rshared",
                };
                json!({"destination": mount.destination, "type": "bind", "source": source, "options": ["rbind", propagation, access]})
            }
            MountSource::Tmpfs { size_bytes } => {
                let mut options = vec!["nosuid".to_owned(), "nodev".into(), "mode=1777".into(), access.into()];
                if let Some(bytes) = size_bytes {
                    options.push(format!("size={bytes}"));
                }
                json!({"destination": mount.destination, "type": "tmpfs", "source": "tmpfs", "options": options})
            }
        }
    }));
    list
}

/// Replaces the mount of type `cgroup` by what it stands for. In a PID namespace that is joined `libcontainer` 0.7 looks its own
/// process id up in the host's `/proc` while making it, and fails or finds another process (`mount_cgroup_v1`).
fn show_own_cgroups(mounts: &mut Vec<Value>, directories: &[(String, PathBuf)], access: &str) {
    let Some(position) = mounts.iter().position(|mount| mount["type"] == "cgroup") else { return };
    let directory = json!({"destination": "/sys/fs/cgroup", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "noexec", "nodev", "mode=755", "size=64k"]});
    let binds = directories.iter().map(|(name, source)| {
        json!({"destination": format!("/sys/fs/cgroup/{name}"), "type": "bind", "source": source,
            "options": ["bind", "nosuid", "noexec", "nodev", access]})
    });
    mounts.splice(position..=position, std::iter::once(directory).chain(binds));
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
