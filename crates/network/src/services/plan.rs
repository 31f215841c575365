//! From Services and EndpointSlices to frontends and their endpoints. A pure function.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::{Ipv4Addr, SocketAddrV4},
};

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use lotse_client::Key;

use crate::{
    Cidr, Protocol,
    catalog::{Catalog, MAX_ENDPOINTS, address_of, cluster_ips, is_ready, is_serving_while_terminating},
    ruleset::{Backends, Frontend},
};

/// `v1.DefaultClientIPServiceAffinitySeconds`, and the longest that the API accepts.
const AFFINITY_DEFAULT: i32 = 10_800;
const AFFINITY_MAX: i32 = 86_400;

/// What of the configuration decides.
pub(crate) struct Options {
    pub(crate) service_cidr: Cidr,
    /// Served by the machine itself, never translated.
    pub(crate) dns_ip: Ipv4Addr,
    pub(crate) reserved_ports: BTreeSet<u16>,
    pub(crate) external_ips: bool,
    pub(crate) local_addresses: BTreeSet<Ipv4Addr>,
}

/// Every frontend that `catalog` asks for. Where two services ask for the same, the older one gets it.
pub(crate) fn frontends(catalog: &Catalog, options: &Options) -> BTreeMap<Frontend, Backends> {
    let mut services: Vec<(&Key, &Service)> =
        catalog.services().map(|(key, service)| (key, service.as_ref())).collect();
    services.sort_by_cached_key(|(key, service)| {
        (service.metadata.creation_timestamp.as_ref().map(|time| time.0), (*key).clone())
    });
    let mut owned: BTreeMap<Frontend, (&Key, Backends)> = BTreeMap::new();
    for (key, service) in services {
        let Some(spec) = &service.spec else { continue };
        for port in spec.ports.iter().flatten() {
            let wanted = addresses(service, spec, port, options);
            if wanted.is_empty() {
                continue;
            }
            let backends = Backends { endpoints: endpoints(catalog, key, port), affinity: affinity(spec) };
            for frontend in wanted {
                match owned.entry(frontend) {
                    Entry::Vacant(entry) => {
                        entry.insert((key, backends.clone()));
                    }
                    Entry::Occupied(entry) if entry.get().0 != key => {
                        tracing::debug!(service = %key, owner = %entry.get().0, ?frontend, "frontend is taken");
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
    }
    owned.into_iter().map(|(frontend, (_, backends))| (frontend, backends)).collect()
}

/// The frontends of one port of one service.
fn addresses(service: &Service, spec: &ServiceSpec, port: &ServicePort, options: &Options) -> Vec<Frontend> {
    let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { return Vec::new() };
    let Some(number) = valid(Some(port.port)) else { return Vec::new() };
    let at = |address| Frontend { address, protocol, port: number };
    let node = |port| Frontend { address: Ipv4Addr::UNSPECIFIED, protocol, port };
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    let mut wanted: Vec<Frontend> = cluster_ips(service)
        .into_iter()
        .filter(|address| options.service_cidr.contains(*address) && *address != options.dns_ip)
        .map(at)
        .collect();
    if matches!(kind, "NodePort" | "LoadBalancer") {
        wanted.extend(valid(port.node_port).map(node));
    }
    if kind == "LoadBalancer" && serves_load_balancer(spec) {
        wanted.push(node(number));
        let ingress = service.status.iter().filter_map(|status| status.load_balancer.as_ref());
        for ingress in ingress.filter_map(|balancer| balancer.ingress.as_ref()).flatten() {
            let through_proxy = ingress.ip_mode.as_deref() == Some("Proxy");
            let address = ingress.ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
            wanted.extend(address.filter(|address| !through_proxy && is_foreign(*address, options)).map(at));
        }
    }
    if options.external_ips {
        let external = spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok());
        wanted.extend(external.filter(|address| is_foreign(*address, options)).map(at));
    }
    wanted.retain(|frontend| !(frontend.address.is_unspecified() && options.reserved_ports.contains(&frontend.port)));
    wanted
}

/// On a single machine a LoadBalancer service is reached at the machine's own addresses. Not if another
/// implementation was asked for, and not if the service names the clients that may come, which is not supported:
/// it must not be open to all instead.
fn serves_load_balancer(spec: &ServiceSpec) -> bool {
    let no_ranges = spec.load_balancer_source_ranges.as_ref().is_none_or(Vec::is_empty);
    if !no_ranges {
        tracing::warn!(
            "a LoadBalancer Service with loadBalancerSourceRanges is not reachable from outside: remove them"
        );
    }
    spec.load_balancer_class.is_none() && no_ranges
}

/// An address that is not already served, and may be: not the machine's own, no cluster address, none of those that
/// never leave a machine.
fn is_foreign(address: Ipv4Addr, options: &Options) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || options.local_addresses.contains(&address)
        || options.service_cidr.contains(address))
}

/// Ready endpoints, or those that still serve while they end if there is no other (as kube-proxy, KEP-1669). On one
/// machine every endpoint is local, so the traffic policies make no difference.
fn endpoints(catalog: &Catalog, key: &Key, port: &ServicePort) -> Vec<SocketAddrV4> {
    let protocol = Protocol::parse(port.protocol.as_deref());
    let name = port.name.as_deref().unwrap_or_default();
    let mut ready = BTreeSet::new();
    let mut ending = BTreeSet::new();
    for slice in catalog.slices(key) {
        let numbers = slice.ports.iter().flatten().filter(|candidate| {
            candidate.name.as_deref().unwrap_or_default() == name
                && Protocol::parse(candidate.protocol.as_deref()) == protocol
        });
        for number in numbers.filter_map(|candidate| valid(candidate.port)) {
            for endpoint in slice.endpoints.iter().flatten() {
                let Some(address) = address_of(endpoint) else { continue };
                if is_ready(endpoint) {
                    ready.insert(SocketAddrV4::new(address, number));
                } else if is_serving_while_terminating(endpoint) {
                    ending.insert(SocketAddrV4::new(address, number));
                }
            }
        }
    }
    let chosen = if ready.is_empty() { ending } else { ready };
    if chosen.len() > MAX_ENDPOINTS {
        tracing::warn!(service = %key, endpoints = chosen.len(), "only the first {MAX_ENDPOINTS} endpoints are used");
    }
    chosen.into_iter().take(MAX_ENDPOINTS).collect()
}

fn affinity(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let configured = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = configured.and_then(|client| client.timeout_seconds).unwrap_or(AFFINITY_DEFAULT);
    u32::try_from(seconds.clamp(1, AFFINITY_MAX)).ok()
}

fn valid(port: Option<i32>) -> Option<u16> {
    port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::tests::{catalog, service, slice};

    fn options() -> Options {
        Options {
            service_cidr: "10.223.0.0/16".parse().unwrap(),
            dns_ip: Ipv4Addr::new(10, 223, 0, 10),
            reserved_ports: BTreeSet::from([80, 443]),
            external_ips: false,
            local_addresses: BTreeSet::from([Ipv4Addr::new(192, 0, 2, 9)]),
        }
    }

    /// One line per frontend.
    fn planned_with(objects: &[Value], options: &Options) -> Vec<String> {
        frontends(&catalog(objects), options)
            .into_iter()
            .map(|(frontend, backends)| {
                let endpoints: Vec<_> = backends.endpoints.iter().map(ToString::to_string).collect();
                let affinity = backends.affinity.map(|seconds| format!(" for {seconds}")).unwrap_or_default();
                let Frontend { address, protocol, port } = frontend;
                format!("{address}:{port}/{} -> {}{affinity}", protocol.name(), endpoints.join(","))
            })
            .collect()
    }

    fn planned(objects: &[Value]) -> Vec<String> {
        planned_with(objects, &options())
    }

    fn web(spec: Value) -> [Value; 2] {
        let ready =
            json!([{"addresses": ["10.222.0.3"]}, {"addresses": ["10.222.0.2"], "conditions": {"ready": true}}]);
        [service("web", spec), slice("web", json!([{"port": 8080, "protocol": "TCP"}]), ready)]
    }

    #[test]
    fn each_type_of_service_has_its_frontends() {
        let both = "10.222.0.2:8080,10.222.0.3:8080";
        let port = json!([{"port": 8000, "nodePort": 30080}]);
        let cases = [
            (json!({"clusterIP": "10.223.0.5", "ports": port}), vec![format!("10.223.0.5:8000/TCP -> {both}")]),
            (
                json!({"type": "NodePort", "clusterIP": "10.223.0.5", "ports": port}),
                vec![format!("0.0.0.0:30080/TCP -> {both}"), format!("10.223.0.5:8000/TCP -> {both}")],
            ),
            (
                json!({"type": "LoadBalancer", "clusterIP": "10.223.0.5", "ports": port}),
                vec![
                    format!("0.0.0.0:8000/TCP -> {both}"),
                    format!("0.0.0.0:30080/TCP -> {both}"),
                    format!("10.223.0.5:8000/TCP -> {both}"),
                ],
            ),
            (json!({"clusterIP": "None", "ports": port}), vec![]),
            (json!({"type": "ExternalName", "externalName": "example.org", "ports": port}), vec![]),
            (
                json!({"clusterIP": "10.223.0.5", "ports": port, "sessionAffinity": "ClientIP"}),
                vec![format!("10.223.0.5:8000/TCP -> {both} for 10800")],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(planned(&web(spec.clone())), expected, "{spec}");
        }
    }

    #[test]
    fn the_address_of_dns_and_addresses_outside_the_range_are_never_taken_over() {
        for address in ["10.223.0.10", "8.8.8.8", "127.0.0.1"] {
            let [service, slice] = web(json!({"clusterIP": address, "ports": [{"port": 53}]}));
            assert!(planned(&[service, slice]).is_empty(), "{address}");
        }
    }

    #[test]
    fn external_ips_are_ignored_unless_switched_on() {
        let spec = json!({"clusterIP": "10.223.0.5", "externalIPs": ["203.0.113.1", "127.0.0.1", "192.0.2.9"], "ports": [{"port": 1}]});
        assert_eq!(planned(&web(spec.clone())).len(), 1);
        let on = Options { external_ips: true, ..options() };
        assert_eq!(planned_with(&web(spec), &on).iter().filter(|line| line.starts_with("203.0.113.1:1/")).count(), 1);
    }

    #[test]
    fn reserved_ports_and_restricted_services_are_not_offered_on_the_machines_addresses() {
        let reserved =
            json!({"type": "LoadBalancer", "clusterIP": "10.223.0.5", "ports": [{"port": 80, "nodePort": 30080}]});
        assert!(!planned(&web(reserved)).iter().any(|line| line.starts_with("0.0.0.0:80/")));
        for extra in
            [json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]}), json!({"loadBalancerClass": "example.org/x"})]
        {
            let mut spec = json!({"type": "LoadBalancer", "clusterIP": "10.223.0.5", "ports": [{"port": 81}]});
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            assert_eq!(planned(&web(spec)).len(), 1);
        }
    }

    #[test]
    fn a_load_balancers_address_is_served_unless_it_is_the_machines_own() {
        let [mut service, slice] =
            web(json!({"type": "LoadBalancer", "clusterIP": "10.223.0.5", "ports": [{"port": 443}]}));
        service["status"] = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.4"}, {"ip": "192.0.2.9"}, {"ip": "203.0.113.5", "ipMode": "Proxy"}]}});
        let lines = planned(&[service, slice]);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("203.0.113.4:443/TCP"));
    }

    #[test]
    fn only_ready_endpoints_serve_and_ending_ones_only_as_the_last_resort() {
        let ports = json!([{"port": 8080}]);
        let ending =
            json!({"addresses": ["10.222.0.7"], "conditions": {"ready": false, "serving": true, "terminating": true}});
        let unready = json!({"addresses": ["10.222.0.8"], "conditions": {"ready": false, "serving": false}});
        let dead =
            json!({"addresses": ["10.222.0.9"], "conditions": {"ready": false, "serving": false, "terminating": true}});
        let ready = json!({"addresses": ["10.222.0.2"]});
        let cases = [
            (json!([ending, unready, dead, ready]), "10.222.0.2:8080"),
            (json!([ending, unready, dead]), "10.222.0.7:8080"),
            (json!([unready, dead]), ""),
        ];
        for (endpoints, expected) in cases {
            let service = service("web", json!({"clusterIP": "10.223.0.5", "ports": [{"port": 80}]}));
            let lines = planned(&[service, slice("web", ports.clone(), endpoints)]);
            assert_eq!(lines, [format!("10.223.0.5:80/TCP -> {expected}")]);
        }
    }

    #[test]
    fn ports_are_matched_by_name_and_protocol() {
        let ports = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 54, "protocol": "TCP"}, {"name": "sctp", "port": 55, "protocol": "SCTP"}]);
        let spec = json!({"clusterIP": "10.223.0.5", "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}, {"name": "sctp", "port": 9, "protocol": "SCTP"}]});
        let lines = planned(&[service("web", spec), slice("web", ports, json!([{"addresses": ["10.222.0.2"]}]))]);
        assert_eq!(lines, ["10.223.0.5:53/TCP -> 10.222.0.2:54", "10.223.0.5:53/UDP -> 10.222.0.2:53"]);
    }

    #[test]
    fn the_older_service_keeps_a_contested_port() {
        let spec = |ip: &str| json!({"type": "LoadBalancer", "clusterIP": ip, "ports": [{"port": 9000}]});
        let mut young = service("a-young", spec("10.223.0.6"));
        young["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
        let mut old = service("z-old", spec("10.223.0.5"));
        old["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        let endpoints = json!([{"addresses": ["10.222.0.2"]}]);
        let lines = planned(&[young, old, slice("z-old", json!([{"port": 1}]), endpoints)]);
        assert_eq!(lines[0], "0.0.0.0:9000/TCP -> 10.222.0.2:1");
    }
}
