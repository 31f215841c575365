//! The end of a pod: hooks and signals in order, then everything is given back.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use lotse_client::Key;
use lotse_runtime::ContainerState;
use tokio_util::task::AbortOnDropHandle;

use super::{Entry, Shared, backoff::between, prepare::limited};
use crate::{
    containers::{self, Role},
    error::{Context, Result},
    events::NORMAL,
    volumes,
};

/// A new deadline this much earlier than the old one restarts the termination.
const TOLERANCE: Duration = Duration::from_secs(2);

// === impl Shared ===

impl Shared {
    /// Stops all containers in the background, by `deadline`. Calling it again changes nothing unless the deadline has
    /// come much closer (`kubectl delete --grace-period`).
    pub(super) fn stop_all(self: &Arc<Self>, pod: &Arc<Pod>, entry: &Arc<Entry>, deadline: Timestamp) {
        let mut tasks = entry.tasks();
        if let Some((_, old)) = &tasks.termination
            && between(deadline, *old) <= TOLERANCE
        {
            return;
        }
        tasks.pulls.clear();
        tasks.stops.clear();
        let (shared, pod, owner) = (self.clone(), pod.clone(), Arc::downgrade(entry));
        let task = tokio::spawn(async move {
            let Some(entry) = owner.upgrade() else { return };
            shared.stop_in_order(&pod, &entry, deadline).await;
            // Whatever survived this is removed with the sandbox.
            entry.memory().force = true;
            shared.trigger(&entry.key);
        });
        tasks.termination = Some((AbortOnDropHandle::new(task), deadline));
    }

    /// Stops all containers of a pod by `deadline`, hooks included, and returns when they have ended.
    pub(crate) async fn stop_containers(self: &Arc<Self>, pod: &Pod, uid: &str, deadline: Timestamp) {
        let entry = self.entry(&Key::of(pod), uid);
        self.stop_in_order(pod, &entry, deadline).await;
    }

    async fn stop_in_order(&self, pod: &Pod, entry: &Entry, deadline: Timestamp) {
        let Some(spec) = &pod.spec else { return };
        let running = |name: &str| -> Option<String> {
            let sandbox = self.runtime.pod(&entry.uid)?;
            let mut own = sandbox.containers.into_iter().filter(|one| one.name == name);
            own.rfind(|one| matches!(one.state, ContainerState::Running { .. })).map(|one| one.id)
        };
        let stop = |container: Container, id: String| async move {
            entry.tasks().supervisors.remove(&id);
            self.events.pod(
                pod,
                Some(&container.name),
                NORMAL,
                "Killing",
                format!("Stopping container {}", container.name),
            );
            let grace = between(Timestamp::now(), deadline).max(Duration::from_secs(1));
            self.stop_instance(pod, entry, &container, &id, grace).await;
        };
        let all = containers::with_roles(spec);
        let first = all.iter().filter(|(role, _)| *role != Role::Sidecar);
        let first = first.filter_map(|(_, container)| Some((container.as_ref().clone(), running(&container.name)?)));
        join_all(first.map(|(container, id)| stop(container, id))).await;
        // Sidecars serve the others to the end, and stop in the reverse order of their start (KEP-753).
        for (_, container) in all.iter().rev().filter(|(role, _)| *role == Role::Sidecar) {
            if let Some(id) = running(&container.name) {
                stop(container.as_ref().clone(), id).await;
            }
        }
    }

    /// Gives back sandbox, volumes and network of a pod. Logs stay.
    pub(super) async fn release(&self, entry: &Entry) -> Result<()> {
        {
            let mut tasks = entry.tasks();
            *tasks = super::Tasks::default();
        }
        self.release_uid(&entry.uid).await?;
        let mut memory = entry.memory();
        memory.prepared = None;
        memory.health.clear();
        Ok(())
    }

    /// As [`Shared::release`], for pods of which nothing but the uid is known.
    pub(super) async fn release_uid(&self, uid: &str) -> Result<()> {
        let context = || format!("cannot remove the sandbox of pod {uid}");
        limited(context, self.runtime.remove_pod(uid)).await?.context(context)?;
        volumes::tear_down(&self.config.pod_dir(uid), self.mounts.as_ref())?;
        let context = || format!("cannot disconnect pod {uid} from the network");
        limited(context, self.network.detach(uid)).await?.context(context)?;
        self.tokens.forget(uid);
        Ok(())
    }

    /// Gives back everything, then removes the object. The uid protects a new pod of the same name.
    pub(super) async fn finish(&self, pod: &Pod, entry: &Entry) -> Result<()> {
        self.release(entry).await?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), entry.key.namespace());
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(entry.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&entry.key.name, &parameters).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error).context(|| format!("cannot remove pod {}", entry.key)),
        }
        entry.memory().finished = true;
        self.remove_logs(pod)
    }

    fn remove_logs(&self, pod: &Pod) -> Result<()> {
        volumes::beneath::remove_tree(&self.log_dir(pod))
    }
}
