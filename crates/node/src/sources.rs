//! The objects that containers and volumes refer to, behind a trait so that their consumers are tested without a server.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret, Service};
use lotse_client::{Informer, Informers, Key};

/// Reads objects from a cache; an absent object is simply `None`.
pub(crate) trait Sources: Send + Sync {
    fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<ConfigMap>>;
    fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>>;
    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>>;
    fn persistent_volume(&self, name: &str) -> Option<Arc<PersistentVolume>>;
    fn services(&self, namespace: &str) -> Vec<Arc<Service>>;
}

/// [`Sources`] from the process-wide caches.
pub(crate) struct Caches {
    pub(crate) config_maps: Informer<ConfigMap>,
    pub(crate) secrets: Informer<Secret>,
    pub(crate) claims: Informer<PersistentVolumeClaim>,
    pub(crate) volumes: Informer<PersistentVolume>,
    pub(crate) services: Informer<Service>,
}

// === impl Caches ===

impl Caches {
    pub(crate) fn new(informers: &Informers) -> Self {
        Self {
            config_maps: informers.get(),
            secrets: informers.get(),
            claims: informers.get(),
            volumes: informers.get(),
            services: informers.get(),
        }
    }

    /// Waits for the first complete list of every kind, so that a restart never mistakes "not yet read" for "absent".
    pub(crate) async fn ready(&self) {
        tokio::join!(
            self.config_maps.ready(),
            self.secrets.ready(),
            self.claims.ready(),
            self.volumes.ready(),
            self.services.ready()
        );
    }
}

impl Sources for Caches {
    fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<ConfigMap>> {
        self.config_maps.get(&Key::namespaced(namespace, name))
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.secrets.get(&Key::namespaced(namespace, name))
    }

    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(&Key::namespaced(namespace, name))
    }

    fn persistent_volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get(&Key::cluster(name))
    }

    fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
        self.services.in_namespace(namespace)
    }
}
