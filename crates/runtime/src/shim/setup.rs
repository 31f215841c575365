//! Making the sandbox: namespaces, host name, sysctls, the first process of a shared PID namespace.
#![allow(unsafe_code)]

use std::{fs, path::Path};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    libc,
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        stat::{Mode, umask},
        wait::waitpid,
    },
    unistd::{ForkResult, chdir, fork, sethostname, setsid},
};

use super::Arguments;
use crate::{Error, PodSpec, cgroup, durable, error::IoContext};

/// What the server needs to know of the sandbox.
pub(crate) struct Sandbox {
    /// First process of the shared PID namespace.
    pub pause: Option<u32>,
    /// `oom_score_adj` of the shim, which `libcontainer` overwrites.
    pub oom_score_adj: String,
}

/// `oom_score_adj` of a shim where the kernel allows it: as protected as the kubelet keeps its own pieces.
const OOM_SCORE_ADJ: &str = "-998";

/// Turns this process into the sandbox.
pub(crate) fn prepare(arguments: &Arguments) -> Result<Sandbox, Error> {
    setsid().context(|| "starting a session")?;
    chdir("/").context(|| "changing to /")?;
    umask(Mode::from_bits_truncate(0o022));
    prctl::set_child_subreaper(true).context(|| "becoming the reaper")?;
    let _ = prctl::set_name(c"lotse-shim");
    let pod: PodSpec = durable::read_json(&arguments.directory.join("pod.json"))?
        .ok_or_else(|| Error::InvalidInput { message: format!("{} has no pod.json", arguments.directory.display()) })?;
    cgroup::Hierarchies::discover()?.join(&arguments.cgroup, std::process::id())?;
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    let oom_score_adj = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_else(|_| "0".into()).trim().to_owned();

    let host_network = pod.network_namespace.is_none();
    if let Some(path) = &pod.network_namespace {
        let namespace = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .context(|| format!("opening the network namespace {}", path.display()))?;
        setns(&namespace, CloneFlags::CLONE_NEWNET)
            .context(|| format!("joining the network namespace {}", path.display()))?;
    }
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWUTS, !host_network);
    flags.set(CloneFlags::CLONE_NEWIPC, !pod.host_ipc);
    unshare(flags).context(|| "making the pod's namespaces")?;
    if !host_network {
        sethostname(&pod.hostname).context(|| format!("setting the host name {:?}", pod.hostname))?;
    }
    for (name, value) in &pod.sysctls {
        let path = sysctl_path(name)?;
        fs::write(&path, value).context(|| format!("setting sysctl {name} to {value:?}"))?;
    }
    let pause = if pod.share_process_namespace && !pod.host_pid { Some(start_pause()?) } else { None };
    Ok(Sandbox { pause, oom_score_adj })
}

/// The file of a sysctl; both `.` and `/` separate, as `sysctl(8)` has it.
fn sysctl_path(name: &str) -> Result<String, Error> {
    let parts: Vec<&str> = if name.contains('/') { name.split('/').collect() } else { name.split('.').collect() };
    let valid = parts.iter().all(|part| {
        !part.is_empty()
            && *part != ".."
            && *part != "."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    });
    if !valid {
        return Err(Error::InvalidInput { message: format!("sysctl name {name:?} is not valid") });
    }
    Ok(format!("/proc/sys/{}", parts.join("/")))
}

/// Starts the first process of a PID namespace that all containers share. It reaps what they leave.
fn start_pause() -> Result<u32, Error> {
    let own = open(Path::new("/proc/self/ns/pid"), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .context(|| "opening the PID namespace")?;
    unshare(CloneFlags::CLONE_NEWPID).context(|| "making the shared PID namespace")?;
    // SAFETY: this process has one thread, so the child may do whatever the parent could.
    let child = match unsafe { fork() }.context(|| "starting the pause process")? {
        ForkResult::Child => pause(),
        ForkResult::Parent { child } => child,
    };
    setns(&own, CloneFlags::CLONE_NEWPID).context(|| "returning to the PID namespace")?;
    u32::try_from(child.as_raw()).map_err(|_| Error::InvalidInput { message: "the pause process has no id".into() })
}

fn pause() -> ! {
    let _ = prctl::set_name(c"pause");
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    // SAFETY: closes descriptors that this process does not use; it is a copy of the shim with nothing of its own.
    unsafe { libc::close_range(0, libc::c_uint::MAX, 0) };
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let _ = children.thread_block();
    loop {
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => {
                let _ = children.wait();
            }
        }
    }
}

/// Detaches the standard streams from the daemon's.
pub(crate) fn silence() -> Result<(), Error> {
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).context(|| "opening /dev/null")?;
    nix::unistd::dup2_stdin(&null)
        .and_then(|()| nix::unistd::dup2_stdout(&null))
        .and_then(|()| nix::unistd::dup2_stderr(&null))
        .context(|| "silencing the standard streams")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sysctls_cannot_name_other_files() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward").unwrap(), "/proc/sys/net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.1/x").unwrap(), "/proc/sys/net/ipv4/conf/eth0.1/x");
        for name in ["../self/x", "a..b", "", "a/../b", "kernel.core_pattern\n", "a b", "/etc"] {
            assert!(sysctl_path(name).is_err(), "{name:?}");
        }
    }
}
