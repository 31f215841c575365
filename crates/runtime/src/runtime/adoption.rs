//! Finding the pods that an earlier daemon has left, and following those that live.

use std::{fs, os::unix::net::UnixStream, path::Path, sync::Arc};

use super::{Inner, check_uid, lock};
use crate::{
    Error, cgroup,
    error::IoContext,
    pod::{self, Pod},
    snapshot,
};

impl Inner {
    /// Finds the pods on disk, connects to those that live and clears away what was never finished.
    pub(super) fn adopt(&self) -> Result<(), Error> {
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
                    self.clear_unreadable(uid, &entry.path(), &error)?;
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

    /// A pod's state is not synced, so after a power loss it may be cut off. Then nothing of the pod runs any more and the
    /// rest of it goes; but a shim that serves keeps its directory, whatever is wrong with it.
    fn clear_unreadable(&self, uid: &str, directory: &Path, error: &Error) -> Result<(), Error> {
        if UnixStream::connect(self.socket(uid)).is_ok() {
            tracing::error!(pod = uid, error = %error.chain(), "a running pod's state cannot be read; it is left alone");
            return Ok(());
        }
        tracing::warn!(pod = uid, error = %error.chain(), "a pod's state cannot be read; what is left of it is removed");
        for cgroup in cgroup::possible_pod_paths(&self.config.cgroup_parent, uid) {
            self.hierarchies.kill(&cgroup)?;
            self.hierarchies.remove(&cgroup)?;
        }
        snapshot::remove_tree(directory)
    }

    pub(super) fn follow(&self, pod: &Arc<Pod>) {
        if !pod.is_alive() {
            return;
        }
        let (pod, hierarchies, events) = (Arc::clone(pod), self.hierarchies.clone(), self.events.clone());
        let mut followers = lock(&self.followers);
        while followers.try_join_next().is_some() {}
        followers.spawn(async move { pod.follow(hierarchies, &events).await });
    }
}
