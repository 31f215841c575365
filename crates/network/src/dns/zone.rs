//! The cluster's names. A pure function from the catalog and a query to an answer.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, PTR, SOA, SRV, TXT},
    },
};
use k8s_openapi::api::{core::v1::Service, discovery::v1::Endpoint};
use lotse_client::Key;

use super::message::failure;
use crate::{
    Cidr, Error, Protocol,
    catalog::{Catalog, MAX_ENDPOINTS, address_of, cluster_ips, is_ready},
};

/// Seconds that clients may remember an answer, also that there is none.
pub(super) const TTL: u32 = 5;
/// ExternalName services may point at each other.
const ALIASES: usize = 8;
/// `dns-version` of the specification that is followed.
const VERSION: &str = "1.1.0";

pub(super) struct Zone {
    name: Name,
    /// Labels of the domain, in order.
    labels: Vec<String>,
    ranges: Vec<Cidr>,
}

/// What is known about a query.
#[derive(Debug)]
pub(super) enum Answer {
    /// This is the answer.
    Here(Message),
    /// These aliases lead to a name that is not the cluster's.
    Alias { answers: Vec<Record>, target: Name },
    /// The name is not the cluster's.
    Elsewhere,
}

/// What a name of the cluster has.
#[derive(Default)]
struct Node {
    addresses: Vec<Ipv4Addr>,
    services: Vec<(u16, Name, Option<Ipv4Addr>)>,
    alias: Option<Name>,
    text: Option<String>,
    pointers: Vec<Name>,
    apex: bool,
}

// === impl Zone ===

impl Zone {
    pub(super) fn new(domain: &str, ranges: Vec<Cidr>) -> Result<Self, Error> {
        let refuse = || Error::Config {
            field: "domain",
            problem: format!("{:?} is not a domain such as cluster.local", domain.chars().take(64).collect::<String>()),
        };
        let mut name = Name::from_ascii(domain.to_ascii_lowercase()).map_err(|_| refuse())?;
        name.set_fqdn(true);
        let labels = labels(&name).filter(|labels| !labels.is_empty()).ok_or_else(refuse)?;
        Ok(Self { name, labels, ranges })
    }

    /// Answers `query`; `rotation` turns lists of records, so that clients which take the first share the load.
    /// Without a catalog the cluster's names are not known yet.
    pub(super) fn answer(&self, catalog: Option<&Catalog>, query: &Query, rotation: usize) -> Answer {
        let mut answers = Vec::new();
        let mut name = query.name().clone();
        for _ in 0..ALIASES {
            if !self.is_ours(&name) {
                return if answers.is_empty() { Answer::Elsewhere } else { Answer::Alias { answers, target: name } };
            }
            let Some(catalog) = catalog else { return Answer::Here(failure(ResponseCode::ServFail)) };
            let node = labels(&name).and_then(|labels| self.find(catalog, &labels));
            let Some(mut node) = node else { return Answer::Here(self.negative(ResponseCode::NXDomain, answers)) };
            if let Some(target) = node.alias.take() {
                answers.push(record(&name, RData::CNAME(CNAME(target.clone()))));
                if query.query_type() == RecordType::CNAME {
                    return Answer::Here(self.positive(answers, Vec::new()));
                }
                name = target;
                continue;
            }
            let (mut found, additionals) = self.records(&name, &node, query.query_type());
            if found.is_empty() {
                return Answer::Here(self.negative(ResponseCode::NoError, answers));
            }
            let turn = rotation % found.len();
            found.rotate_left(turn);
            answers.extend(found);
            return Answer::Here(self.positive(answers, additionals));
        }
        Answer::Here(failure(ResponseCode::ServFail))
    }

    fn is_ours(&self, name: &Name) -> bool {
        self.name.zone_of(name) || reverse_address(name).is_some_and(|address| self.in_ranges(address))
    }

    fn in_ranges(&self, address: Ipv4Addr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    fn positive(&self, answers: Vec<Record>, additionals: Vec<Record>) -> Message {
        let mut message = failure(ResponseCode::NoError);
        message.metadata.authoritative = true;
        message.answers = answers;
        message.additionals = additionals;
        message
    }

    /// No such name, or no such records: with the SOA that says how long to remember it (RFC 2308).
    fn negative(&self, code: ResponseCode, answers: Vec<Record>) -> Message {
        let mut message = self.positive(answers, Vec::new());
        message.metadata.response_code = code;
        message.add_authority(self.start_of_authority());
        message
    }

    fn start_of_authority(&self) -> Record {
        let sub = |label: &str| Name::from_ascii(label).and_then(|name| name.append_domain(&self.name));
        let (server, mail) = (sub("ns.dns"), sub("hostmaster"));
        let (server, mail) = (server.unwrap_or_else(|_| self.name.clone()), mail.unwrap_or_else(|_| self.name.clone()));
        record(&self.name, RData::SOA(SOA::new(server, mail, 1, 7200, 1800, 86_400, TTL)))
    }

    fn records(&self, name: &Name, node: &Node, wanted: RecordType) -> (Vec<Record>, Vec<Record>) {
        let addresses = || node.addresses.iter().map(|ip| record(name, RData::A(A(*ip)))).collect::<Vec<_>>();
        match wanted {
            RecordType::A => (addresses(), Vec::new()),
            // A subset is a complete answer to ANY (RFC 8482).
            RecordType::ANY => (addresses(), Vec::new()),
            RecordType::SRV => {
                let services = node
                    .services
                    .iter()
                    .map(|(port, target, _)| record(name, RData::SRV(SRV::new(0, 100, *port, target.clone()))));
                let mut additionals: Vec<Record> = Vec::new();
                for (_, target, address) in &node.services {
                    let extra = address.map(|ip| record(target, RData::A(A(ip))));
                    additionals.extend(extra.filter(|extra| !additionals.contains(extra)));
                }
                (services.collect(), additionals)
            }
            RecordType::TXT => {
                let text = node.text.clone().map(|text| record(name, RData::TXT(TXT::new(vec![text]))));
                (text.into_iter().collect(), Vec::new())
            }
            RecordType::PTR => {
                let pointers = node.pointers.iter().map(|target| record(name, RData::PTR(PTR(target.clone()))));
                (pointers.collect(), Vec::new())
            }
            RecordType::SOA if node.apex => (vec![self.start_of_authority()], Vec::new()),
            _ => (Vec::new(), Vec::new()),
        }
    }

    fn find(&self, catalog: &Catalog, labels: &[String]) -> Option<Node> {
        let Some(below) = labels.strip_suffix(self.labels.as_slice()) else {
            return self.find_reverse(catalog, labels);
        };
        let below: Vec<&str> = below.iter().map(String::as_str).collect();
        match below.as_slice() {
            [] => Some(Node { apex: true, ..Node::default() }),
            ["dns-version"] => Some(Node { text: Some(VERSION.into()), ..Node::default() }),
            ["svc" | "pod"] => Some(Node::default()),
            [namespace, "svc" | "pod"] => catalog.has_namespace(namespace).then(Node::default),
            [address, _, "pod"] => {
                let address = dashed(address)?;
                self.in_ranges(address).then(|| Node { addresses: vec![address], ..Node::default() })
            }
            [above @ .., service, namespace, "svc"] => {
                let key = Key::namespaced(*namespace, *service);
                let object = catalog.service(&key)?;
                self.find_service(catalog, &key, object, above)
            }
            _ => None,
        }
    }

    fn find_service(&self, catalog: &Catalog, key: &Key, service: &Service, above: &[&str]) -> Option<Node> {
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() == Some("ExternalName") {
            let mut target = Name::from_ascii(spec.external_name.as_deref()?).ok()?;
            target.set_fqdn(true);
            return above.is_empty().then(|| Node { alias: Some(target), ..Node::default() });
        }
        let name = self.service_name(key)?;
        let cluster_ips = cluster_ips(service);
        if cluster_ips.is_empty() {
            let all = self.headless(catalog, key, &name);
            // Without a ready endpoint the name does not exist (DNS specification, 2.4).
            return match above {
                [] if all.addresses.is_empty() => None,
                [] => Some(all),
                [host] if !host.starts_with('_') => endpoint_node(catalog, key, host),
                _ => self.port(all, above, |port, protocol| headless_ports(catalog, key, port, protocol)),
            };
        }
        let address = cluster_ips.first().copied();
        let ports = spec.ports.iter().flatten();
        let numbers = |port: &str, protocol: Protocol| -> Vec<u16> {
            ports
                .clone()
                .filter(|found| found.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(port)))
                .filter(|found| Protocol::parse(found.protocol.as_deref()) == Some(protocol))
                .filter_map(|found| u16::try_from(found.port).ok())
                .collect()
        };
        let services = ports.clone().filter_map(|port| Some((u16::try_from(port.port).ok()?, name.clone(), address)));
        let all =
            Node { services: services.collect(), addresses: cluster_ips.into_iter().collect(), ..Node::default() };
        match above {
            [] => Some(all),
            [host] if !host.starts_with('_') => endpoint_node(catalog, key, host),
            _ => self.port(all, above, numbers),
        }
    }

    /// `_port._protocol` and `_protocol` in front of a service's name.
    fn port(&self, all: Node, above: &[&str], numbers: impl Fn(&str, Protocol) -> Vec<u16>) -> Option<Node> {
        let protocol = |label: &str| match label {
            "_tcp" => Some(Protocol::Tcp),
            "_udp" => Some(Protocol::Udp),
            _ => None,
        };
        match above {
            [label] => protocol(label).map(|_| Node::default()),
            [port, label] => {
                let numbers = numbers(port.strip_prefix('_')?, protocol(label)?);
                if numbers.is_empty() {
                    return None;
                }
                // Each target once, with each number.
                let mut services = Vec::new();
                for (_, target, address) in all.services {
                    for number in &numbers {
                        let entry = (*number, target.clone(), address);
                        if !services.contains(&entry) {
                            services.push(entry);
                        }
                    }
                }
                Some(Node { services, ..Node::default() })
            }
            _ => None,
        }
    }

    fn headless(&self, catalog: &Catalog, key: &Key, service: &Name) -> Node {
        let mut node = Node::default();
        for slice in catalog.slices(key) {
            for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint)) {
                let Some(address) = address_of(endpoint) else { continue };
                if node.addresses.contains(&address) || node.addresses.len() >= MAX_ENDPOINTS {
                    continue;
                }
                node.addresses.push(address);
                let host = service.prepend_label(host_of(endpoint, address).as_bytes());
                let Ok(host) = host else { continue };
                let mut ports = slice.ports.iter().flatten().peekable();
                if ports.peek().is_none() {
                    node.services.push((0, host.clone(), Some(address)));
                }
                for port in ports.filter_map(|port| u16::try_from(port.port?).ok()) {
                    node.services.push((port, host.clone(), Some(address)));
                }
            }
        }
        node
    }

    fn find_reverse(&self, catalog: &Catalog, labels: &[String]) -> Option<Node> {
        let address = reverse_of(labels)?;
        let mut pointers = Vec::new();
        for key in catalog.at(address) {
            let Some(service) = catalog.service(key) else { continue };
            let cluster_ips = cluster_ips(service);
            let Some(name) = self.service_name(key) else { continue };
            if cluster_ips.contains(&address) {
                pointers.push(name);
            } else if cluster_ips.is_empty() {
                let hosts = ready(catalog, key).filter(|(_, found)| *found == address);
                pointers.extend(hosts.filter_map(|(host, _)| name.prepend_label(host.as_bytes()).ok()));
            }
        }
        (!pointers.is_empty()).then(|| Node { pointers, ..Node::default() })
    }

    fn service_name(&self, key: &Key) -> Option<Name> {
        Name::from_labels([key.name.as_bytes(), key.namespace().as_bytes(), b"svc"])
            .ok()?
            .append_domain(&self.name)
            .ok()
    }
}

/// Ready endpoints as host label and address.
fn ready(catalog: &Catalog, key: &Key) -> impl Iterator<Item = (String, Ipv4Addr)> {
    catalog
        .slices(key)
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .filter(|endpoint| is_ready(endpoint))
        .filter_map(|endpoint| {
            let address = address_of(endpoint)?;
            Some((host_of(endpoint, address), address))
        })
}

fn endpoint_node(catalog: &Catalog, key: &Key, host: &str) -> Option<Node> {
    let addresses: Vec<Ipv4Addr> = ready(catalog, key)
        .filter(|(found, address)| found == host || dashed(host) == Some(*address))
        .map(|(_, address)| address)
        .take(MAX_ENDPOINTS)
        .collect();
    (!addresses.is_empty()).then(|| Node { addresses, ..Node::default() })
}

fn headless_ports(catalog: &Catalog, key: &Key, name: &str, protocol: Protocol) -> Vec<u16> {
    let mut numbers: Vec<u16> = catalog
        .slices(key)
        .flat_map(|slice| slice.ports.iter().flatten())
        .filter(|port| port.name.as_deref().is_some_and(|found| found.eq_ignore_ascii_case(name)))
        .filter(|port| Protocol::parse(port.protocol.as_deref()) == Some(protocol))
        .filter_map(|port| u16::try_from(port.port?).ok())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The endpoint's label: its hostname, or its address with dashes.
fn host_of(endpoint: &Endpoint, address: Ipv4Addr) -> String {
    match endpoint.hostname.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => name.to_ascii_lowercase(),
        None => address.to_string().replace('.', "-"),
    }
}

fn dashed(label: &str) -> Option<Ipv4Addr> {
    if label.contains('.') { None } else { label.replace('-', ".").parse().ok() }
}

/// Labels in lower case; `None` if one is not ASCII, since no object's name is.
fn labels(name: &Name) -> Option<Vec<String>> {
    name.iter().map(|label| label.is_ascii().then(|| String::from_utf8_lossy(label).to_ascii_lowercase())).collect()
}

fn reverse_address(name: &Name) -> Option<Ipv4Addr> {
    if name.num_labels() != 6 {
        return None;
    }
    reverse_of(&labels(name)?)
}

/// The address of `d.c.b.a.in-addr.arpa`.
fn reverse_of(labels: &[String]) -> Option<Ipv4Addr> {
    let [d, c, b, a, domain, arpa] = labels else { return None };
    (domain == "in-addr" && arpa == "arpa").then(|| format!("{a}.{b}.{c}.{d}").parse().ok())?
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
