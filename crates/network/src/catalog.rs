//! Services and EndpointSlices with the indexes that the service proxy and DNS look things up by, kept up to date from
//! the process' caches.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointSlice},
};
use lotse_client::{Change, Informer, Informers, Key};
use tokio::sync::broadcast::{self, error::RecvError};

/// `discovery.LabelServiceName`: the Service that a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Endpoints per port of a service. Kubernetes tests up to 1,000 per slice and far fewer fit on one machine.
pub(crate) const MAX_ENDPOINTS: usize = 1024;

#[derive(Default)]
pub(crate) struct Catalog {
    services: HashMap<Key, Arc<Service>>,
    slices: HashMap<Key, BTreeMap<String, Arc<EndpointSlice>>>,
    /// Services in each namespace, since DNS must tell an empty namespace from an unknown one.
    namespaces: HashMap<String, usize>,
    /// Services that a cluster address or an endpoint belongs to, for reverse lookups.
    addresses: HashMap<Ipv4Addr, BTreeMap<Key, usize>>,
}

// === impl Catalog ===

impl Catalog {
    pub(crate) fn service(&self, key: &Key) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = (&Key, &Arc<Service>)> {
        self.services.iter()
    }

    /// The slices of the service `key`.
    pub(crate) fn slices(&self, key: &Key) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values).map(Arc::as_ref)
    }

    pub(crate) fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// Services with this cluster address or endpoint.
    pub(crate) fn at(&self, address: Ipv4Addr) -> impl Iterator<Item = &Key> {
        self.addresses.get(&address).into_iter().flat_map(BTreeMap::keys)
    }

    pub(crate) fn apply_service(&mut self, service: &Arc<Service>) {
        self.delete_service(service);
        let key = Key::of(service.as_ref());
        *self.namespaces.entry(key.namespace().to_owned()).or_default() += 1;
        for address in cluster_ips(service) {
            self.refer(address, &key);
        }
        self.services.insert(key, service.clone());
    }

    pub(crate) fn delete_service(&mut self, service: &Service) {
        let key = Key::of(service);
        let Some(old) = self.services.remove(&key) else { return };
        if let Some(count) = self.namespaces.get_mut(key.namespace()) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(key.namespace());
            }
        }
        for address in cluster_ips(&old) {
            self.forget(address, &key);
        }
    }

    /// A slice whose label changed must be deleted with its old state first; [`Follower`] does.
    fn apply_slice(&mut self, slice: &Arc<EndpointSlice>) {
        let Some(key) = service_of(slice) else { return };
        for address in slice.endpoints.iter().flatten().filter_map(address_of) {
            self.refer(address, &key);
        }
        let name = slice.metadata.name.clone().unwrap_or_default();
        self.slices.entry(key).or_default().insert(name, slice.clone());
    }

    fn delete_slice(&mut self, slice: &EndpointSlice) {
        let Some(key) = service_of(slice) else { return };
        let Some(slices) = self.slices.get_mut(&key) else { return };
        let old = slices.remove(slice.metadata.name.as_deref().unwrap_or_default());
        if slices.is_empty() {
            self.slices.remove(&key);
        }
        for address in old.iter().flat_map(|old| old.endpoints.iter().flatten()).filter_map(address_of) {
            self.forget(address, &key);
        }
    }

    fn refer(&mut self, address: Ipv4Addr, key: &Key) {
        *self.addresses.entry(address).or_default().entry(key.clone()).or_default() += 1;
    }

    fn forget(&mut self, address: Ipv4Addr, key: &Key) {
        let Some(keys) = self.addresses.get_mut(&address) else { return };
        if let Some(count) = keys.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                keys.remove(key);
            }
        }
        if keys.is_empty() {
            self.addresses.remove(&address);
        }
    }
}

/// The service's IPv4 cluster addresses; none for headless ones and ExternalName.
pub(crate) fn cluster_ips(service: &Service) -> BTreeSet<Ipv4Addr> {
    let Some(spec) = &service.spec else { return BTreeSet::new() };
    if spec.type_.as_deref() == Some("ExternalName") {
        return BTreeSet::new();
    }
    let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    listed.filter_map(|address| address.parse().ok()).collect()
}

/// The service that a slice belongs to, if it is one of IPv4 addresses.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    let ipv4 = slice.address_type.is_empty() || slice.address_type == "IPv4";
    ipv4.then(|| Key { namespace: slice.metadata.namespace.clone(), name: name.clone() })
}

/// The endpoint's address. Addresses that lead to the machine itself or to its cloud's metadata service are none: an
/// EndpointSlice can be written by tenants (CVE-2020-8555, CVE-2021-25737).
pub(crate) fn address_of(endpoint: &Endpoint) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = endpoint.addresses.first()?.parse().ok()?;
    let refused = address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast();
    (!refused).then_some(address)
}

/// Whether new connections may go to the endpoint; absent means ready.
pub(crate) fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
}

/// Whether the endpoint still answers while its pod ends: the last resort (KEP-1669).
pub(crate) fn is_serving_while_terminating(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().is_some_and(|conditions| {
        conditions.terminating == Some(true) && conditions.serving.or(conditions.ready) != Some(false)
    })
}

/// Follows the caches of Services and EndpointSlices.
pub(crate) struct Follower {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    service_changes: broadcast::Receiver<Change<Service>>,
    slice_changes: broadcast::Receiver<Change<EndpointSlice>>,
    /// The state in which each slice was last applied, because its label may change.
    applied: HashMap<Key, Arc<EndpointSlice>>,
}

/// What came from the caches.
pub(crate) enum Event {
    Service(Change<Service>),
    Slice(Change<EndpointSlice>),
    /// Changes were missed: everything must be read again.
    Lagged,
}

// === impl Follower ===

impl Follower {
    /// Waits for the first complete state and puts it into a catalog.
    pub(crate) async fn start(informers: &Informers) -> (Self, Catalog) {
        let (services, slices) = (informers.get::<Service>(), informers.get::<EndpointSlice>());
        let mut follower = Self {
            service_changes: services.subscribe(),
            slice_changes: slices.subscribe(),
            services,
            slices,
            applied: HashMap::new(),
        };
        follower.services.ready().await;
        follower.slices.ready().await;
        let catalog = follower.read();
        (follower, catalog)
    }

    /// Waits for the next change; `None` when the caches are gone for good. Can be cancelled without loss.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            change = self.service_changes.recv() => received(change, Event::Service),
            change = self.slice_changes.recv() => received(change, Event::Slice),
        }
    }

    /// A change that is already here.
    pub(crate) fn try_next(&mut self) -> Option<Event> {
        use broadcast::error::TryRecvError::Lagged;
        match self.service_changes.try_recv() {
            Ok(change) => return Some(Event::Service(change)),
            Err(Lagged(_)) => return Some(Event::Lagged),
            Err(_) => {}
        }
        match self.slice_changes.try_recv() {
            Ok(change) => Some(Event::Slice(change)),
            Err(Lagged(_)) => Some(Event::Lagged),
            Err(_) => None,
        }
    }

    pub(crate) fn apply(&mut self, catalog: &mut Catalog, event: &Event) {
        match event {
            Event::Service(Change::Applied(service)) => catalog.apply_service(service),
            Event::Service(Change::Deleted(service)) => catalog.delete_service(service),
            Event::Slice(change) => {
                let key = Key::of(change.object().as_ref());
                if let Some(old) = self.applied.remove(&key) {
                    catalog.delete_slice(&old);
                }
                if let Change::Applied(slice) = change {
                    catalog.apply_slice(slice);
                    self.applied.insert(key, slice.clone());
                }
            }
            Event::Lagged => *catalog = self.read(),
        }
    }

    fn read(&mut self) -> Catalog {
        let mut catalog = Catalog::default();
        self.services.list().iter().for_each(|service| catalog.apply_service(service));
        self.applied.clear();
        for slice in self.slices.list() {
            catalog.apply_slice(&slice);
            self.applied.insert(Key::of(slice.as_ref()), slice);
        }
        catalog
    }
}

fn received<K>(change: Result<Change<K>, RecvError>, event: impl FnOnce(Change<K>) -> Event) -> Option<Event> {
    match change {
        Ok(change) => Some(event(change)),
        Err(RecvError::Lagged(_)) => Some(Event::Lagged),
        Err(RecvError::Closed) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::{Value, json};

    use super::*;

    /// A catalog of objects in JSON, told apart by their `kind`.
    pub(crate) fn catalog(objects: &[Value]) -> Catalog {
        let mut catalog = Catalog::default();
        for object in objects {
            if object["kind"] == "Service" {
                catalog.apply_service(&Arc::new(serde_json::from_value(object.clone()).unwrap()));
            } else {
                catalog.apply_slice(&Arc::new(serde_json::from_value(object.clone()).unwrap()));
            }
        }
        catalog
    }

    pub(crate) fn service(name: &str, spec: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
    }

    pub(crate) fn slice(service: &str, ports: Value, endpoints: Value) -> Value {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{service}-1"), "namespace": "default",
                "labels": {"kubernetes.io/service-name": service}},
            "ports": ports, "endpoints": endpoints})
    }

    #[test]
    fn indexes_follow_additions_and_removals() {
        let objects = [
            service("web", json!({"clusterIP": "10.223.0.5"})),
            slice("web", json!([]), json!([{"addresses": ["10.222.0.2"]}])),
        ];
        let mut catalog = catalog(&objects);
        let web = Key::namespaced("default", "web");
        assert!(catalog.has_namespace("default"));
        assert_eq!(catalog.at("10.222.0.2".parse().unwrap()).collect::<Vec<_>>(), [&web]);
        assert_eq!(catalog.at("10.223.0.5".parse().unwrap()).collect::<Vec<_>>(), [&web]);
        catalog.delete_slice(&serde_json::from_value(objects[1].clone()).unwrap());
        catalog.delete_service(&serde_json::from_value(objects[0].clone()).unwrap());
        assert!(!catalog.has_namespace("default"));
        assert!(catalog.addresses.is_empty() && catalog.slices.is_empty() && catalog.services.is_empty());
    }

    #[test]
    fn addresses_of_the_machine_itself_are_no_endpoints() {
        for address in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "fd00::1", "x"] {
            let endpoint: Endpoint = serde_json::from_value(json!({"addresses": [address]})).unwrap();
            assert_eq!(address_of(&endpoint), None, "{address}");
        }
    }
}
