//! The nftables ruleset: a fixed part, and elements that say which service leads where.
//!
//! Every pod has a host address (/32) and a default route to the host, so that all traffic, also between two pods on
//! the bridge, is routed by the host. That is what makes translated connections work: the answer of a pod to its
//! neighbour passes the host, where connection tracking restores the service's address. Where br_netfilter is loaded,
//! the same rules already see a packet at the bridge, which then hands it from port to port; answers still come back
//! through the host, and a pod reaches itself through a port in hairpin mode.
//!
//! A service costs no rule and no chain: there is one chain per *number* of endpoints, and the packet's destination
//! with a random index finds the endpoint in one map. So every change is a change of set elements in one transaction
//! of constant cost.
//!
//! ```text
//! map service-ips { ip . protocol . port : goto balance-N }      map node-ports { protocol . port : goto balance-node-N }
//! map endpoints   { ip . protocol . port . index : ip . port }   map affinity   { client . ip . protocol . port : ip . port }
//! set hairpin     { ip . ip }       set outside { ip . protocol . port }        set refused { ip . protocol . port }
//!
//! nat     prerouting, output → services: service-ips; not DNS; node-ports if the address is the host's, but no loopback
//!         postrouting: masquerade a pod that reaches itself, endpoints elsewhere, and pods on their way out
//! filter  forward, output: refuse what still has a service address after translation, so clients fail at once
//!         input: addresses of the bridge are not for other interfaces
//! ```
//! A node port has the address 0.0.0.0 in `endpoints` and `affinity`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
};

use crate::{
    Cidr, Protocol,
    netlink::nft::{Base, Command, Element, ElementData, Expression, Field, Register, Set, SetData, Verdict},
};

const SERVICE_IPS: &str = "service-ips";
const NODE_PORTS: &str = "node-ports";
const ENDPOINTS: &str = "endpoints";
const HAIRPIN: &str = "hairpin";
const OUTSIDE: &str = "outside";
const REFUSED: &str = "refused";
pub(crate) const AFFINITY: &str = "affinity";

/// Clients remembered at once, over all services with session affinity; a newcomer beyond that is just balanced.
const AFFINITY_SIZE: u32 = 65_536;

/// What the fixed part depends on.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bridge: String,
    pub(crate) pod_cidr: Cidr,
    pub(crate) service_cidr: Cidr,
    pub(crate) dns_ip: Ipv4Addr,
}

/// Where clients connect. The unspecified address stands for every address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Frontend {
    pub(crate) address: Ipv4Addr,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// Where their connections lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backends {
    /// Sorted, without duplicates.
    pub(crate) endpoints: Vec<SocketAddrV4>,
    /// `sessionAffinityConfig.clientIP.timeoutSeconds`, if the service asks for affinity.
    pub(crate) affinity: Option<u32>,
}

/// A chain that chooses among a number of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Balancer {
    node: bool,
    count: u32,
    affinity: Option<u32>,
}

/// The variable part of the ruleset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Elements {
    balancers: BTreeSet<Balancer>,
    service_ips: BTreeMap<(Ipv4Addr, Protocol, u16), Balancer>,
    node_ports: BTreeMap<(Protocol, u16), Balancer>,
    endpoints: BTreeMap<(Frontend, u32), SocketAddrV4>,
    hairpin: BTreeSet<Ipv4Addr>,
    outside: BTreeSet<(Ipv4Addr, Protocol, u16)>,
    refused: BTreeSet<(Ipv4Addr, Protocol, u16)>,
}

// === impl Balancer ===

impl Balancer {
    fn chain(&self) -> String {
        let node = if self.node { "node-" } else { "" };
        match self.affinity {
            Some(seconds) => format!("balance-{node}{}-affinity-{seconds}", self.count),
            None => format!("balance-{node}{}", self.count),
        }
    }

    fn verdict(&self) -> ElementData {
        ElementData::Verdict(Verdict::Goto(self.chain()))
    }

    fn commands(&self) -> Vec<Command> {
        const KEY: u8 = 0;
        const ENDPOINT: u8 = 4;
        const CLIENT: u8 = 8;
        let chain = self.chain();
        let destination = |register| match self.node {
            true => Expression::Load { to: Register(register), value: vec![0; 4] },
            false => destination_address(register),
        };
        let client = || {
            let [protocol, port] = protocol_port(CLIENT + 2);
            [source_address(CLIENT), destination(CLIENT + 1), protocol, port]
        };
        let endpoint = Expression::DestinationNat { address: Register(ENDPOINT), port: Register(ENDPOINT + 1) };
        let remember = |seconds: u32| Expression::Remember {
            set: AFFINITY,
            key: Register(CLIENT),
            data: Register(ENDPOINT),
            milliseconds: u64::from(seconds) * 1000,
        };
        let mut commands = vec![Command::AddChain { name: chain.clone(), base: None }];
        if let Some(seconds) = self.affinity {
            let mut known = client().to_vec();
            known.push(Expression::Map { set: AFFINITY, key: Register(CLIENT), to: Register(ENDPOINT) });
            known.push(remember(seconds));
            known.push(endpoint.clone());
            commands.push(Command::AddRule { chain: chain.clone(), expressions: known });
        }
        let [protocol, port] = protocol_port(KEY + 1);
        let mut choose = vec![
            destination(KEY),
            protocol,
            port,
            Expression::Random { modulus: self.count, to: Register(KEY + 3) },
            Expression::Map { set: ENDPOINTS, key: Register(KEY), to: Register(ENDPOINT) },
        ];
        if let Some(seconds) = self.affinity {
            choose.extend(client());
            choose.push(remember(seconds));
        }
        choose.push(endpoint);
        commands.push(Command::AddRule { chain, expressions: choose });
        commands
    }
}

// === impl Elements ===

impl Elements {
    /// The elements for `frontends`. A frontend without endpoints is refused.
    pub(crate) fn new(frontends: &BTreeMap<Frontend, Backends>, frame: &Frame) -> Self {
        let mut elements = Self::default();
        for (frontend, backends) in frontends {
            let node = frontend.address.is_unspecified();
            let key = (frontend.address, frontend.protocol, frontend.port);
            let Some(count) = u32::try_from(backends.endpoints.len()).ok().filter(|count| *count > 0) else {
                // Within the service range everything unknown is refused anyway, and at an address of the host the
                // kernel itself answers for a port on which nothing listens.
                if !node && !frame.service_cidr.contains(frontend.address) {
                    elements.refused.insert(key);
                }
                continue;
            };
            let balancer = Balancer { node, count, affinity: backends.affinity };
            elements.balancers.insert(balancer);
            if node {
                elements.node_ports.insert((frontend.protocol, frontend.port), balancer);
            } else {
                elements.service_ips.insert(key, balancer);
            }
            for (index, endpoint) in (0..).zip(&backends.endpoints) {
                elements.endpoints.insert((*frontend, index), *endpoint);
                if frame.pod_cidr.contains(*endpoint.ip()) {
                    elements.hairpin.insert(*endpoint.ip());
                } else {
                    elements.outside.insert((*endpoint.ip(), frontend.protocol, endpoint.port()));
                }
            }
        }
        elements
    }

    /// The commands that turn `self` into `wanted`, to be carried out as one transaction.
    pub(crate) fn change_to(&self, wanted: &Self) -> Vec<Command> {
        let mut commands = Vec::new();
        for balancer in wanted.balancers.difference(&self.balancers) {
            commands.extend(balancer.commands());
        }
        let mut changes = [
            map_change(SERVICE_IPS, &self.service_ips, &wanted.service_ips, triple, Balancer::verdict),
            map_change(NODE_PORTS, &self.node_ports, &wanted.node_ports, pair, Balancer::verdict),
            map_change(ENDPOINTS, &self.endpoints, &wanted.endpoints, indexed, endpoint_value),
            set_change(HAIRPIN, &self.hairpin, &wanted.hairpin, twice),
            set_change(OUTSIDE, &self.outside, &wanted.outside, triple),
            set_change(REFUSED, &self.refused, &wanted.refused, triple),
        ];
        for change in &mut changes {
            let elements = std::mem::take(&mut change.remove);
            if !elements.is_empty() {
                commands.push(Command::DeleteElements { set: change.set, elements });
            }
        }
        for change in changes {
            if !change.add.is_empty() {
                commands.push(Command::AddElements { set: change.set, elements: change.add });
            }
        }
        for balancer in self.balancers.difference(&wanted.balancers) {
            commands.push(Command::DeleteChain { name: balancer.chain() });
        }
        commands
    }

    /// Endpoints that a frontend had and no longer has.
    pub(crate) fn lost(&self, wanted: &Self) -> BTreeSet<(Frontend, SocketAddrV4)> {
        let has = |elements: &Self| -> BTreeSet<(Frontend, SocketAddrV4)> {
            elements.endpoints.iter().map(|((frontend, _), endpoint)| (*frontend, *endpoint)).collect()
        };
        if self.endpoints == wanted.endpoints {
            return BTreeSet::new();
        }
        let kept = has(wanted);
        has(self).into_iter().filter(|pair| !kept.contains(pair)).collect()
    }

    /// Whether any frontend remembers its clients.
    pub(crate) fn has_affinity(&self) -> bool {
        self.balancers.iter().any(|balancer| balancer.affinity.is_some())
    }
}

/// What a key of the affinity map leads to, without the client.
pub(crate) fn affinity_entry(key: &[u8], data: &[u8]) -> Option<(Frontend, SocketAddrV4)> {
    let word = |bytes: &[u8], index: usize| <[u8; 4]>::try_from(bytes.get(index * 4..index * 4 + 4)?).ok();
    let [number, ..] = word(key, 2)?;
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|protocol| protocol.number() == number)?;
    let port = |[high, low, ..]: [u8; 4]| u16::from_be_bytes([high, low]);
    let frontend = Frontend { address: word(key, 1)?.into(), protocol, port: port(word(key, 3)?) };
    Some((frontend, SocketAddrV4::new(word(data, 0)?.into(), port(word(data, 1)?))))
}

/// Makes the table anew with `elements`, in place of whatever is there.
pub(crate) fn replace(frame: &Frame, elements: &Elements) -> Vec<Command> {
    // Adding first makes the deletion succeed whether or not there is a table.
    let mut commands = vec![Command::AddTable, Command::DeleteTable, Command::AddTable];
    commands.extend(fixed(frame));
    commands.extend(Elements::default().change_to(elements));
    commands
}

fn fixed(frame: &Frame) -> Vec<Command> {
    use Field::{Address, Mark, Port, Protocol};
    let set = |name, key: &[Field], data| Command::AddSet(Set { name, key: key.into(), data, dynamic: None });
    let endpoint = || SetData::Fields(vec![Address, Port]);
    let mut commands = vec![
        set(SERVICE_IPS, &[Address, Protocol, Port], SetData::Verdict),
        set(NODE_PORTS, &[Protocol, Port], SetData::Verdict),
        set(ENDPOINTS, &[Address, Protocol, Port, Mark], endpoint()),
        set(HAIRPIN, &[Address, Address], SetData::None),
        set(OUTSIDE, &[Address, Protocol, Port], SetData::None),
        set(REFUSED, &[Address, Protocol, Port], SetData::None),
        Command::AddSet(Set {
            name: AFFINITY,
            key: vec![Address, Address, Protocol, Port],
            data: endpoint(),
            dynamic: Some(AFFINITY_SIZE),
        }),
    ];
    for (name, base) in CHAINS {
        commands.push(Command::AddChain { name: (*name).into(), base: *base });
    }
    for (chain, expressions) in rules(frame) {
        commands.push(Command::AddRule { chain: chain.into(), expressions });
    }
    commands
}

/// Regular chains first: rules refer to them.
const CHAINS: &[(&str, Option<Base>)] = &[
    ("services", None),
    ("refuse", None),
    ("unserved", None),
    ("prerouting", Some(Base { kind: "nat", hook: 0, priority: -100 })),
    ("output", Some(Base { kind: "nat", hook: 3, priority: -100 })),
    ("postrouting", Some(Base { kind: "nat", hook: 4, priority: 100 })),
    ("input-filter", Some(Base { kind: "filter", hook: 1, priority: 0 })),
    ("forward-filter", Some(Base { kind: "filter", hook: 2, priority: 0 })),
    ("output-filter", Some(Base { kind: "filter", hook: 3, priority: 0 })),
];

fn rules(frame: &Frame) -> Vec<(&'static str, Vec<Expression>)> {
    const IPS_DST_NAT: u32 = 1 << 5;
    const RTN_LOCAL: u32 = 2;
    const ICMP: u8 = 1;
    const ICMP_REDIRECT: u8 = 5;
    let verdict = |chain: &str| Expression::Verdict(Verdict::Goto(chain.into()));
    let jump = |chain: &str| vec![Expression::Verdict(Verdict::Jump(chain.into()))];
    let compare = |register, equal, value: &[u8]| Expression::Compare {
        register: Register(register),
        equal,
        value: value.to_vec(),
    };
    let within = |register, equal, range: Cidr| {
        [
            Expression::Mask { register: Register(register), mask: range.mask() },
            compare(register, equal, &range.network().octets()),
        ]
    };
    // A whole interface name takes four registers; the length is fixed, the rest are zeros.
    let interface = |name: &str| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(16, 0);
        bytes
    };
    let meta = |key, register| Expression::Meta { key, to: Register(register) };
    let translated = |wanted: bool| {
        [
            Expression::ConnectionStatus { to: Register(0) },
            Expression::Mask { register: Register(0), mask: IPS_DST_NAT.to_ne_bytes() },
            compare(0, !wanted, &0u32.to_ne_bytes()),
        ]
    };
    let destination_key = || {
        let [protocol, port] = protocol_port(1);
        [destination_address(0), protocol, port]
    };
    let loopback = interface("lo");
    let bridge = interface(&frame.bridge);
    let loopback_range = Cidr::new(Ipv4Addr::new(127, 0, 0, 0), 8);

    let mut vip = destination_key().to_vec();
    vip.push(Expression::VerdictMap { set: SERVICE_IPS, key: Register(0) });

    let dns =
        vec![destination_address(0), compare(0, true, &frame.dns_ip.octets()), Expression::Verdict(Verdict::Return)];

    let mut node = vec![Expression::AddressType { to: Register(0) }, compare(0, true, &RTN_LOCAL.to_ne_bytes())];
    node.push(destination_address(0));
    node.extend(loopback_range.into_iter().flat_map(|range| within(0, false, range)));
    node.extend(protocol_port(0));
    node.push(Expression::VerdictMap { set: NODE_PORTS, key: Register(0) });

    let hairpin = vec![
        source_address(0),
        destination_address(1),
        Expression::Member { set: HAIRPIN, key: Register(0) },
        Expression::Masquerade,
    ];

    let mut outside = translated(true).to_vec();
    outside.extend([meta(META_OIFNAME, 4), compare(4, false, &loopback)]);
    outside.extend(destination_key());
    outside.extend([Expression::Member { set: OUTSIDE, key: Register(0) }, Expression::Masquerade]);

    let mut egress = vec![meta(META_OIFNAME, 4), compare(4, false, &loopback), source_address(0)];
    egress.extend(within(0, true, frame.pod_cidr));
    egress.push(destination_address(0));
    egress.extend(within(0, false, frame.pod_cidr));
    egress.push(Expression::Masquerade);

    // Linux answers for an address on every interface: without this a neighbour on the local network could use
    // cluster DNS, or reach what listens on the host's pod network address.
    let foreign = |range: Cidr| {
        let mut rule = vec![meta(META_IIFNAME, 4), compare(4, false, &loopback), compare(4, false, &bridge)];
        rule.push(destination_address(0));
        rule.extend(within(0, true, range));
        rule.extend(translated(false));
        rule.push(Expression::Verdict(Verdict::Drop));
        rule
    };

    let own_dns = dns.clone();
    let mut unknown = vec![destination_address(0)];
    unknown.extend(within(0, true, frame.service_cidr));
    unknown.push(verdict("refuse"));

    let mut refused = destination_key().to_vec();
    refused.extend([Expression::Member { set: REFUSED, key: Register(0) }, verdict("refuse")]);

    let redirect = vec![
        meta(META_OIFNAME, 4),
        compare(4, true, &bridge),
        meta(META_L4PROTO, 0),
        compare(0, true, &[ICMP]),
        Expression::Transport { offset: 0, length: 1, to: Register(0) },
        compare(0, true, &[ICMP_REDIRECT]),
        Expression::Verdict(Verdict::Drop),
    ];

    let reset = vec![meta(META_L4PROTO, 0), compare(0, true, &[Protocol::Tcp.number()]), Expression::RejectTcpReset];

    vec![
        ("services", vip),
        ("services", dns),
        ("services", node),
        ("refuse", reset),
        ("refuse", vec![Expression::RejectPortUnreachable]),
        ("unserved", own_dns),
        ("unserved", unknown),
        ("unserved", refused),
        ("prerouting", jump("services")),
        ("output", jump("services")),
        ("postrouting", hairpin),
        ("postrouting", outside),
        ("postrouting", egress),
        ("input-filter", foreign(frame.pod_cidr)),
        ("input-filter", foreign(frame.service_cidr)),
        ("forward-filter", jump("unserved")),
        ("output-filter", redirect),
        ("output-filter", jump("unserved")),
    ]
}

/// `NFT_META_*`.
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;

fn source_address(register: u8) -> Expression {
    Expression::Network { offset: 12, length: 4, to: Register(register) }
}

fn destination_address(register: u8) -> Expression {
    Expression::Network { offset: 16, length: 4, to: Register(register) }
}

/// `meta l4proto` and `th dport` into `register` and the next.
fn protocol_port(register: u8) -> [Expression; 2] {
    [
        Expression::Meta { key: META_L4PROTO, to: Register(register) },
        Expression::Transport { offset: 2, length: 2, to: Register(register + 1) },
    ]
}

struct Change {
    set: &'static str,
    remove: Vec<Element>,
    add: Vec<Element>,
}

fn map_change<K: Ord, V: PartialEq>(
    set: &'static str,
    now: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    key: impl Fn(&K) -> Vec<u8>,
    data: impl Fn(&V) -> ElementData,
) -> Change {
    let remove = now.iter().filter(|(k, v)| wanted.get(k) != Some(v));
    let add = wanted.iter().filter(|(k, v)| now.get(k) != Some(v));
    Change {
        set,
        remove: remove.map(|(k, _)| Element { key: key(k), data: ElementData::None }).collect(),
        add: add.map(|(k, v)| Element { key: key(k), data: data(v) }).collect(),
    }
}

fn set_change<K: Ord>(
    set: &'static str,
    now: &BTreeSet<K>,
    wanted: &BTreeSet<K>,
    key: impl Fn(&K) -> Vec<u8>,
) -> Change {
    let elements =
        |keys: &mut dyn Iterator<Item = &K>| keys.map(|k| Element { key: key(k), data: ElementData::None }).collect();
    Change { set, remove: elements(&mut now.difference(wanted)), add: elements(&mut wanted.difference(now)) }
}

// Every field of a key begins at a multiple of four bytes, as registers do.

fn pair((protocol, port): &(Protocol, u16)) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![protocol.number(), 0, 0, 0, high, low, 0, 0]
}

fn triple((address, protocol, port): &(Ipv4Addr, Protocol, u16)) -> Vec<u8> {
    let mut key = address.octets().to_vec();
    key.extend(pair(&(*protocol, *port)));
    key
}

fn indexed((frontend, index): &(Frontend, u32)) -> Vec<u8> {
    let mut key = triple(&(frontend.address, frontend.protocol, frontend.port));
    key.extend(index.to_ne_bytes());
    key
}

fn twice(address: &Ipv4Addr) -> Vec<u8> {
    address.octets().repeat(2)
}

fn endpoint_value(endpoint: &SocketAddrV4) -> ElementData {
    let [high, low] = endpoint.port().to_be_bytes();
    let mut value = endpoint.ip().octets().to_vec();
    value.extend([high, low, 0, 0]);
    ElementData::Value(value)
}

#[cfg(test)]
#[path = "ruleset_tests.rs"]
pub(crate) mod tests;
