//! EndpointSlices and Endpoints: which addresses stand behind a Service.
//!
//! For a Service with a selector both are made from its pods. For one without, whoever writes its `Endpoints` object
//! (Patroni, a user, the API server itself) is mirrored into slices, as Kubernetes' mirroring controller does.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{
            EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service, ServicePort,
        },
        discovery::v1::{self as discovery, Endpoint, EndpointConditions, EndpointSlice},
    },
    apimachinery::pkg::{
        apis::meta::v1::{ObjectMeta, OwnerReference},
        util::intstr::IntOrString,
    },
};
use kube::{Resource, ResourceExt};
use lotse_client::{Driver, Key, Next};
use serde_json::json;

use crate::{
    Context, Error, claim,
    context::{Controller, Managed},
    hash, pod, selector,
};

const NAME: &str = "endpointslice";
const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const FROM_PODS: &str = "endpointslice-controller.k8s.io";
const FROM_ENDPOINTS: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// Kubernetes' defaults: more addresses go to further slices; the older Endpoints object is cut.
const PER_SLICE: usize = 100;
const PER_ENDPOINTS: usize = 1000;

struct Slices;

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (services, pods) = (context.cache::<Service>(), context.cache::<Pod>());
    let (slices, endpoints) = (context.cache::<EndpointSlice>(), context.cache::<Endpoints>());
    services.ready().await;
    pods.ready().await;
    slices.ready().await;
    endpoints.ready().await;
    let (of_pod, of_slice) = (services.clone(), services.clone());
    Driver::new(Managed::new(Slices, &context))
        .on_kind(&services)
        .on_kind(&endpoints)
        .on(&pods, move |pod| {
            // A label that no longer matches is noticed too: the pod stands in the slices of its former Services, which
            // are in its namespace.
            let namespace = pod.metadata.namespace.as_deref();
            let selecting = of_pod.filter(|service| {
                service.metadata.namespace.as_deref() == namespace && pod_selector(service).is_some()
            });
            selecting.iter().map(|service| Key::of(service.as_ref())).collect()
        })
        .on(&slices, move |slice| {
            let name = slice.labels().get(SERVICE).cloned();
            let key = name.map(|name| Key { namespace: slice.metadata.namespace.clone(), name });
            key.filter(|key| of_slice.get(key).is_some()).into_iter().collect()
        })
        .run()
        .await;
}

fn pod_selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

impl Controller for Slices {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let service = context.cache::<Service>().get(key);
        let existing = context.cache::<Endpoints>().get(key);
        let service = service.filter(|service| service.metadata.deletion_timestamp.is_none());
        let slices = context.cache::<EndpointSlice>().filter(|slice| {
            slice.metadata.namespace == key.namespace && slice.labels().get(SERVICE) == Some(&key.name)
        });
        let Some(service) = service else {
            // Slices go by their owner reference; an Endpoints object of ours goes with its Service.
            if let Some(existing) = existing.filter(|existing| is_ours(existing)) {
                context.delete(existing.as_ref()).await?;
            }
            return Ok(Next::Done);
        };
        let (desired, manager) = match pod_selector(&service) {
            Some(selector) => {
                let pods = context.cache::<Pod>().filter(|pod| {
                    pod.metadata.namespace == key.namespace
                        && selector::contains(pod.metadata.labels.as_ref(), selector)
                });
                let groups = from_pods(&service, &pods);
                write_endpoints(context, &service, existing, endpoints_of(&service, &groups)).await?;
                (slices_of(&service, groups), FROM_PODS)
            }
            None => {
                let mirrored = existing.filter(|existing| !is_ours(existing) && wants_mirror(existing));
                let groups = mirrored.map(|endpoints| from_endpoints(&endpoints)).unwrap_or_default();
                let mut slices = slices_of(&service, groups);
                for slice in &mut slices {
                    slice.labels_mut().insert(MANAGED_BY.to_owned(), FROM_ENDPOINTS.to_owned());
                }
                (slices, FROM_ENDPOINTS)
            }
        };
        write_slices(context, &slices, desired, manager).await?;
        Ok(Next::Done)
    }
}

fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(ENDPOINTS_MANAGED_BY).is_some_and(|by| by == "endpoint-controller")
}

/// Leader election records are no addresses.
fn wants_mirror(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(SKIP_MIRROR).is_none_or(|skip| skip != "true")
        && !endpoints.annotations().contains_key(LEADER)
}

/// The ports of endpoints that share them, as they stand in a slice.
type Ports = Vec<(Option<String>, i32, String, Option<String>)>;

/// Endpoints by the ports they serve: a named target port may be another number in each pod.
type Groups = BTreeMap<Ports, Vec<Endpoint>>;

/// The number of a target port in a pod, if the pod has it.
fn port_number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            // Containers that restart always among the init containers (sidecars) serve too.
            let sidecars =
                spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
            spec.containers
                .iter()
                .chain(sidecars)
                .flat_map(|container| container.ports.iter().flatten())
                .find(|port| {
                    port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
                })
                .map(|port| port.container_port)
        }
    }
}

/// The endpoints that the pods of a Service are.
fn from_pods(service: &Service, pods: &[Arc<Pod>]) -> Groups {
    let mut groups = Groups::new();
    let Some(spec) = &service.spec else { return groups };
    let publish = spec.publish_not_ready_addresses.unwrap_or(false);
    for pod in pods.iter().filter(|pod| !pod::is_terminal(pod)) {
        let Some(address) = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).filter(|ip| !ip.is_empty())
        else {
            continue;
        };
        let ports: Ports = spec
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                // The name is part of the slice even if empty: that is how a Service with one port is found.
                Some((
                    Some(port.name.clone().unwrap_or_default()),
                    port_number(port, pod)?,
                    protocol,
                    port.app_protocol.clone(),
                ))
            })
            .collect();
        if ports.is_empty() && spec.ports.as_ref().is_some_and(|ports| !ports.is_empty()) {
            continue;
        }
        let (serving, terminating) = (pod::is_ready(pod), pod::is_terminating(pod));
        let pod_spec = pod.spec.as_ref();
        let hostname =
            pod_spec.filter(|pod| pod.subdomain == service.metadata.name).and_then(|pod| pod.hostname.clone());
        groups.entry(ports).or_default().push(Endpoint {
            addresses: vec![address],
            conditions: Some(EndpointConditions {
                ready: Some(publish || (serving && !terminating)),
                serving: Some(serving),
                terminating: Some(terminating),
            }),
            hostname: hostname.filter(|name| !name.is_empty()),
            node_name: pod_spec.and_then(|pod| pod.node_name.clone()),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                namespace: pod.namespace(),
                name: pod.metadata.name.clone(),
                uid: pod.uid(),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        });
    }
    sort(&mut groups);
    groups
}

/// The endpoints that somebody wrote into an Endpoints object.
fn from_endpoints(endpoints: &Endpoints) -> Groups {
    let mut groups = Groups::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Ports = subset
            .ports
            .iter()
            .flatten()
            .map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                (Some(port.name.clone().unwrap_or_default()), port.port, protocol, port.app_protocol.clone())
            })
            .collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(not_ready).take(PER_ENDPOINTS) {
            groups.entry(ports.clone()).or_default().push(Endpoint {
                addresses: vec![address.ip.clone()],
                conditions: Some(EndpointConditions { ready: Some(ready), serving: Some(ready), terminating: None }),
                hostname: address.hostname.clone(),
                node_name: address.node_name.clone(),
                target_ref: address.target_ref.clone(),
                ..Endpoint::default()
            });
        }
    }
    sort(&mut groups);
    groups
}

fn sort(groups: &mut Groups) {
    for endpoints in groups.values_mut() {
        endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    }
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The slices with predictable names: a second attempt makes the same ones.
fn slices_of(service: &Service, mut groups: Groups) -> Vec<EndpointSlice> {
    if groups.is_empty() {
        // A Service without endpoints still says so.
        groups.insert(Ports::new(), Vec::new());
    }
    let name = service.name_any();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.insert(SERVICE.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), FROM_PODS.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let owner = OwnerReference { ..claim::controller_reference(service) };
    let mut slices = Vec::new();
    for (ports, endpoints) in groups {
        let ipv6 = |endpoint: &Endpoint| endpoint.addresses.iter().any(|address| address.contains(':'));
        let (v6, v4): (Vec<_>, Vec<_>) = endpoints.into_iter().partition(ipv6);
        let mut chunks: Vec<(&str, Vec<Endpoint>)> =
            v4.chunks(PER_SLICE).map(|chunk| ("IPv4", chunk.to_vec())).collect();
        chunks.extend(v6.chunks(PER_SLICE).map(|chunk| ("IPv6", chunk.to_vec())));
        if chunks.is_empty() {
            chunks.push(("IPv4", Vec::new()));
        }
        for (index, (family, chunk)) in chunks.into_iter().enumerate() {
            let suffix = hash::stable(&(&ports, family, index), None, 5);
            let ports = ports.iter().map(|(name, port, protocol, app_protocol)| discovery::EndpointPort {
                name: name.clone(),
                port: Some(*port),
                protocol: Some(protocol.clone()),
                app_protocol: app_protocol.clone(),
            });
            slices.push(EndpointSlice {
                metadata: ObjectMeta {
                    name: Some(format!("{name}-{suffix}")),
                    namespace: service.namespace(),
                    labels: Some(labels.clone()),
                    owner_references: Some(vec![owner.clone()]),
                    ..ObjectMeta::default()
                },
                address_type: family.to_owned(),
                endpoints: Some(chunk),
                ports: Some(ports.collect()),
            });
        }
    }
    slices
}

/// The Endpoints object with the same content, for clients that know no slices.
fn endpoints_of(service: &Service, groups: &Groups) -> Endpoints {
    let publish = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(ENDPOINTS_MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let mut left = PER_ENDPOINTS;
    let mut subsets = Vec::new();
    for (ports, endpoints) in groups {
        let mut subset = EndpointSubset {
            ports: (!ports.is_empty()).then(|| {
                let port = |(name, port, protocol, app_protocol): &(Option<String>, i32, String, Option<String>)| {
                    EndpointPort {
                        name: name.clone().filter(|name| !name.is_empty()),
                        port: *port,
                        protocol: Some(protocol.clone()),
                        app_protocol: app_protocol.clone(),
                    }
                };
                ports.iter().map(port).collect()
            }),
            ..EndpointSubset::default()
        };
        for endpoint in endpoints {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            if (conditions.terminating == Some(true) && !publish) || left == 0 {
                continue;
            }
            left -= 1;
            let address = EndpointAddress {
                ip: endpoint.addresses.first().cloned().unwrap_or_default(),
                hostname: endpoint.hostname.clone(),
                node_name: endpoint.node_name.clone(),
                target_ref: endpoint.target_ref.clone(),
            };
            let list =
                if conditions.ready == Some(true) { &mut subset.addresses } else { &mut subset.not_ready_addresses };
            list.get_or_insert_default().push(address);
        }
        if subset.addresses.is_some() || subset.not_ready_addresses.is_some() {
            subsets.push(subset);
        }
    }
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.namespace(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}

async fn write_endpoints(
    context: &Context,
    service: &Service,
    existing: Option<Arc<Endpoints>>,
    desired: Endpoints,
) -> Result<(), Error> {
    let Some(existing) = existing else {
        return match context.create(NAME, &desired).await {
            Err(error) if error.is_already_exists() => Ok(()),
            outcome => outcome.map(drop),
        };
    };
    if existing.subsets == desired.subsets && existing.metadata.labels == desired.metadata.labels {
        return Ok(());
    }
    let mut changed = Endpoints { subsets: desired.subsets, ..(*existing).clone() };
    // Patroni keeps its state in annotations and labels of these objects: only ours are touched.
    changed.labels_mut().extend(desired.metadata.labels.unwrap_or_default());
    if changed == *existing {
        return Ok(());
    }
    let api = context.namespaced::<Endpoints>(&service.namespace().unwrap_or_default());
    context.replace_with(api, NAME, &changed).await.map(drop)
}

async fn write_slices(
    context: &Context,
    existing: &[Arc<EndpointSlice>],
    desired: Vec<EndpointSlice>,
    manager: &str,
) -> Result<(), Error> {
    let names: Vec<_> = desired.iter().map(ResourceExt::name_any).collect();
    for slice in desired {
        match existing.iter().find(|existing| existing.metadata.name == slice.metadata.name) {
            None => match context.create(NAME, &slice).await {
                Err(error) if error.is_already_exists() => {}
                outcome => drop(outcome?),
            },
            Some(old) if !equal(old, &slice) => {
                let mut changed = slice;
                changed.metadata.resource_version = old.metadata.resource_version.clone();
                changed.metadata.uid = old.metadata.uid.clone();
                changed.metadata.annotations = old.metadata.annotations.clone();
                let api = context.namespaced::<EndpointSlice>(&changed.namespace().unwrap_or_default());
                context.replace_with(api, NAME, &changed).await?;
            }
            Some(_) => {}
        }
    }
    // Slices that others wrote for the Service stay.
    let ours = |slice: &EndpointSlice| {
        slice.labels().get(MANAGED_BY).is_some_and(|by| by == manager || by == FROM_PODS || by == FROM_ENDPOINTS)
    };
    for stale in existing.iter().filter(|slice| ours(slice) && !names.contains(&slice.name_any())) {
        context.delete(stale.as_ref()).await?;
    }
    Ok(())
}

/// Whether the content is the same; what the server fills in does not count.
fn equal(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    let content = |slice: &EndpointSlice| {
        json!({
            "endpoints": slice.endpoints.as_deref().unwrap_or_default(),
            "ports": slice.ports.as_deref().unwrap_or_default(),
            "labels": slice.metadata.labels,
            "addressType": slice.address_type,
            "owner": slice.meta().owner_references.iter().flatten().map(|owner| &owner.uid).collect::<Vec<_>>(),
        })
    };
    content(old) == content(new)
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
