//! Containers of a pod: preparing what the shim needs, starting, removing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Inner, mounts::source, stop::stop_signal};
use crate::{
    ContainerSpec, ContainerState, ContainerStatus, Error, Mount, MountSource, RuntimeEvent,
    beneath::Root,
    durable,
    error::IoContext,
    images::store::Leased,
    pod::{Container, Pod, Record},
    shim::protocol::{Request, Response, StartOptions},
    snapshot::{self, Overlay},
    spec::{self, user},
};

impl Inner {
    pub(super) fn start_container(&self, pod: &Arc<Pod>, spec: &ContainerSpec) -> Result<ContainerStatus, Error> {
        if !pod.is_alive() {
            return Err(Error::start("the pod's sandbox is lost; remove the pod and start it again"));
        }
        self.hierarchies.anticipate_move();
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
    fn prepare(&self, pod: &Pod, record: &Record, leased: &Leased, directory: &Path) -> Result<(), Error> {
        let spec = &record.spec;
        stop_signal(spec)?;
        let [rootfs, upper, work, binds] = ["rootfs", "upper", "work", "binds"].map(|name| directory.join(name));
        for directory in [directory, &rootfs, &upper, &work, &binds] {
            fs::create_dir(directory).context(|| format!("making {}", directory.display()))?;
        }
        durable::replace_json(&directory.join("container.json"), record)?;
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
            cgroup_directories: &self.hierarchies.container_directories(&cgroup),
            pid_namespace: process_namespace(pod, spec)?,
        })?;
        let options = StartOptions {
            log_path: spec.log_path.clone(),
            stdin: spec.stdin,
            stdin_once: spec.stdin_once,
            tty: spec.tty,
            cgroup,
        };
        // Written in place: without started.json, which comes later, they are cleared away after a crash.
        for (name, text) in [
            ("config.json", config.to_string()),
            ("start.json", serde_json::to_string(&options).map_err(io::Error::from).context(|| "encoding start.json")?),
        ] {
            let path = directory.join(name);
            fs::write(&path, text).context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    pub(super) fn remove_container(&self, pod: &Pod, id: &str) -> Result<(), Error> {
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
}

/// The PID namespace that a container joins: the pod's shared one, or that of the container which it names.
fn process_namespace(pod: &Pod, spec: &ContainerSpec) -> Result<Option<PathBuf>, Error> {
    if let Some(pause) = pod.shim.as_ref().and_then(|shim| shim.pause) {
        return Ok(Some(format!("/proc/{pause}/ns/pid").into()));
    }
    let Some(name) = &spec.process_namespace_of else { return Ok(None) };
    let running = pod.containers().into_iter().find_map(|container| match container.state {
        ContainerState::Running { pid, .. } if container.record.spec.name == *name => Some((container.record.id, pid)),
        _ => None,
    });
    let Some((id, pid)) = running else {
        return Err(Error::start(format!("the target container {name:?} is not running")));
    };
    // The number may have become another process's, of the machine even: its control group says whose it is.
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = pod.container_cgroup(&id);
    if !groups.lines().any(|line| line.ends_with(&own)) {
        return Err(Error::start(format!("the target container {name:?} has just ended")));
    }
    Ok(Some(format!("/proc/{pid}/ns/pid").into()))
}
