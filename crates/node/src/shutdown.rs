//! The end of all pods on this machine (`lotse down`): their objects stay, and the next start makes them run again.

use std::{path::Path, sync::Arc};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use nix::mount::{MntFlags, umount2};

use crate::{
    error::{Context, Error, Result},
    pods::Shared,
};

/// Grace of pods that name none, in seconds.
const DEFAULT_GRACE: i64 = 30;

impl Shared {
    /// Stops every pod in order and takes its sandbox and mounts away. Volumes keep their content.
    pub(crate) async fn stop_pods(self: &Arc<Self>) {
        let mut pods: Vec<Arc<Pod>> = self.pods.filter(|pod| self.is_ours(pod));
        pods.sort_by_key(|pod| rank(pod));
        for group in pods.chunk_by(|left, right| rank(left) == rank(right)) {
            join_all(group.iter().map(|pod| self.stop_pod(pod))).await;
        }
    }

    async fn stop_pod(self: &Arc<Self>, pod: &Arc<Pod>) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if self.runtime.pod(&uid).is_none() {
            return;
        }
        let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(DEFAULT_GRACE);
        let deadline = Timestamp::now().checked_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
        self.stop_containers(pod, &uid, deadline).await;
        if let Err(error) = self.runtime.remove_pod(&uid).await {
            tracing::warn!(pod = pod.metadata.name, %error, "the sandbox could not be removed");
        }
    }
}

/// What is stopped first: programs before the databases that they use, both before what the system needs.
fn rank(pod: &Pod) -> (i32, bool) {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    let mut owners = pod.metadata.owner_references.iter().flatten();
    (priority, owners.any(|owner| owner.controller == Some(true) && owner.kind == "StatefulSet"))
}

/// Takes away every mount below `directory`, innermost first, without following links. For the removal of a cluster.
///
/// # Errors
///
/// The first mount that cannot be taken away.
pub fn unmount_below(directory: &Path) -> Result<(), Error> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context(|| "cannot read the mount table".to_owned())?;
    // Field 5 is the mount point, with blanks and backslashes in octal; paths below a data directory of ours have neither.
    let mut points: Vec<&Path> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(Path::new)
        .filter(|point| point.starts_with(directory))
        .collect();
    points.reverse();
    for point in points {
        umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .map_err(std::io::Error::from)
            .context(|| format!("cannot unmount {}", point.display()))?;
    }
    Ok(())
}
