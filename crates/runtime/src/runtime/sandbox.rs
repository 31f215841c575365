//! The sandbox of a pod: its directory, its cgroup and its shim, from start to removal.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    os::{fd::AsFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Inner, lock};
use crate::{
    Error, PodSpec,
    beneath::descriptor_path,
    cgroup, durable,
    error::IoContext,
    pod::Pod,
    shim::{Arguments, READY, protocol::ShimIdentity},
    snapshot,
};

/// Longest time for a shim to come up.
const SHIM_DEADLINE: Duration = Duration::from_secs(20);
/// Longest path of a socket (`sun_path` without its end).
const SOCKET_PATH: usize = 107;
/// Size of a pod's `/dev/shm`, as with containerd.
const SHARED_MEMORY: &str = "mode=1777,size=65536k";

impl Inner {
    pub(super) fn start_pod(&self, spec: &PodSpec) -> Result<Arc<Pod>, Error> {
        let directory = self.pod_directory(&spec.uid);
        let socket = self.socket(&spec.uid);
        if socket.as_os_str().len() > SOCKET_PATH {
            return Err(Error::InvalidInput {
                message: format!("the socket path {} is too long; choose a shorter run directory", socket.display()),
            });
        }
        self.hierarchies.anticipate_move();
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
        durable::replace(&directory.join("hostname"), format!("{}\n", spec.hostname).as_bytes())?;
        fs::set_permissions(directory.join("hostname"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .context(|| "making the hostname file readable")?;
        durable::replace_json(&directory.join("pod.json"), spec)?;
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

    /// The last pod leaves nothing of ours behind in the cgroup tree. One that starts meanwhile makes its groups again.
    fn remove_shared_groups(&self) {
        let shims = format!("{}/shims", self.config.cgroup_parent);
        for _ in 0..100 {
            if !lock(&self.pods).is_empty() {
                return;
            }
            if self.hierarchies.processes(&shims).is_empty() {
                break;
            }
            cgroup::wait(Duration::from_millis(2));
        }
        for path in [&shims, &self.config.cgroup_parent] {
            self.hierarchies.remove_if_empty(path);
        }
    }

    /// Removes what is left of a pod whose processes are to go.
    pub(super) fn remove_pod(&self, pod: &Pod) -> Result<(), Error> {
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
        lock(&self.pods).remove(&pod.spec.uid);
        self.remove_shared_groups();
        Ok(())
    }
}
