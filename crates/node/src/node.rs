//! Puts the node's parts together and runs them.

use std::sync::Arc;

use axum::Router;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use lotse_client::{Driver, Informer, Informers, Key, Object};
use lotse_network::PodNetwork;
use lotse_runtime::{ContainerRuntime, RuntimeEvent};
use tokio::sync::{Mutex, broadcast};

use crate::{
    Config, events, images, machine,
    pods::{Pods, ReferenceKind, Shared, refers_to},
    registration::Registration,
    router,
    sources::Caches,
    streaming::Handlers,
    volumes::{KernelMounts, Mounts, Tokens, token::ApiIssuer},
};

/// Pods that are worked on at once; long waits (pulls, terminations) happen outside of this.
const CONCURRENCY: usize = 16;

type Background = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// The node agent (the kubelet). Cloning is cheap and shares it.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
    handlers: Option<Arc<dyn Handlers>>,
    /// Writes events; taken by [`Node::run`].
    event_writer: Arc<Mutex<Option<Background>>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.shared.config.node_name).finish_non_exhaustive()
    }
}

// === impl Node ===

impl Node {
    /// A node that is not running yet. Must be called within a tokio runtime: it starts the watches that it needs.
    pub fn new(
        informers: &Informers,
        runtime: Arc<dyn ContainerRuntime>,
        network: Arc<dyn PodNetwork>,
        config: Config,
    ) -> Self {
        Self::with_mounts(informers, runtime, network, config, Box::new(KernelMounts))
    }

    pub(crate) fn with_mounts(
        informers: &Informers,
        runtime: Arc<dyn ContainerRuntime>,
        network: Arc<dyn PodNetwork>,
        config: Config,
        mounts: Box<dyn Mounts>,
    ) -> Self {
        let client = informers.client().clone();
        let (events, writer) = events::Events::new(client.clone(), &config.node_name);
        let capacity = machine::capacity(&config.root);
        let shared = Shared::new(
            config,
            client.clone(),
            informers.get(),
            Caches::new(informers),
            runtime,
            network,
            events,
            mounts,
            Tokens::new(ApiIssuer(client)),
            capacity,
        );
        Self { shared: Arc::new(shared), handlers: None, event_writer: Arc::new(Mutex::new(Some(Box::pin(writer)))) }
    }

    /// Serves exec, attach and port-forward with `handlers`; without them these routes answer 501.
    #[must_use]
    pub fn streaming(mut self, handlers: Arc<dyn Handlers>) -> Self {
        self.handlers = Some(handlers);
        self
    }

    /// The kubelet's HTTP routes for the API server's `log`, `exec`, `attach`, `portforward` and `proxy` subresources.
    /// They do not authenticate: serve them in-process or behind something that does.
    pub fn router(&self) -> Router {
        router::router(self.shared.clone(), self.handlers.clone())
    }

    /// Runs until the future is dropped. Containers keep running then, and are adopted by the next run.
    pub async fn run(&self) {
        let shared = &self.shared;
        let registration = Registration {
            client: shared.client.clone(),
            config: shared.config.clone(),
            runtime: shared.runtime.clone(),
            host_ip: shared.host_ip.to_string(),
            events: shared.events.clone(),
        };
        let writer = self.event_writer.lock().await.take();
        let write_events = async {
            match writer {
                Some(writer) => writer.await,
                None => std::future::pending().await,
            }
        };
        // Subscribed before anything is looked at, so that no exit falls between.
        let events = shared.runtime.events();
        tokio::join!(registration.run(), write_events, self.run_pods(events), images::run(shared.clone()));
    }

    /// Stops all pods in order, with their hooks and grace periods. Their objects stay, and the next start runs them again.
    /// Must not be called while [`Node::run`] runs, which would start them at once.
    pub async fn stop_pods(&self) {
        self.shared.stop_pods().await;
    }

    async fn run_pods(&self, events: broadcast::Receiver<RuntimeEvent>) {
        let shared = &self.shared;
        shared.pods.ready().await;
        shared.sources.ready().await;
        shared.remove_orphans().await;
        let own = shared.clone();
        let driver = Driver::new(Pods(shared.clone()))
            .concurrency(CONCURRENCY)
            .on(&shared.pods, move |pod: &Pod| if own.is_ours(pod) { vec![Key::of(pod)] } else { Vec::new() });
        let driver = driver
            .on(&shared.sources.config_maps, self.users::<ConfigMap>(ReferenceKind::ConfigMap))
            .on(&shared.sources.secrets, self.users::<Secret>(ReferenceKind::Secret))
            .on(&shared.sources.claims, self.users::<PersistentVolumeClaim>(ReferenceKind::Claim));
        let claim_users = self.users::<PersistentVolumeClaim>(ReferenceKind::Claim);
        let claims: Informer<PersistentVolumeClaim> = shared.sources.claims.clone();
        let driver = driver.on(&shared.sources.volumes, move |volume: &PersistentVolume| {
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let key = reference
                .map(|claim| Key { namespace: claim.namespace.clone(), name: claim.name.clone().unwrap_or_default() });
            key.and_then(|key| claims.get(&key)).map(|claim| claim_users(&claim)).unwrap_or_default()
        });
        shared.set_trigger(driver.trigger());
        tokio::join!(driver.run(), self.listen(events));
    }

    /// Keys of this node's pods that refer to an object.
    fn users<K: Object>(&self, kind: ReferenceKind) -> impl Fn(&K) -> Vec<Key> + Send + Sync + 'static {
        let shared = self.shared.clone();
        move |object: &K| {
            let (namespace, name) = match (&object.meta().namespace, &object.meta().name) {
                (Some(namespace), Some(name)) => (namespace, name),
                _ => return Vec::new(),
            };
            let users = shared.pods.filter(|pod| shared.is_ours(pod) && refers_to(pod, kind, namespace, name));
            users.iter().map(|pod| Key::of(pod.as_ref())).collect()
        }
    }

    /// Looks at a pod as soon as one of its containers ends.
    async fn listen(&self, mut events: broadcast::Receiver<RuntimeEvent>) {
        loop {
            match events.recv().await {
                Ok(RuntimeEvent::ContainerExited { pod, .. } | RuntimeEvent::PodLost { pod }) => {
                    self.shared.trigger_uid(&pod)
                }
                Err(broadcast::error::RecvError::Lagged(_)) => self.shared.trigger_all(),
                // The runtime is gone, and with it the process.
                Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "api_tests.rs"]
mod api_tests;
