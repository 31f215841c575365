//! Keeps the kernel's ruleset equal to what services and host ports want.

use std::{
    collections::{BTreeMap, HashSet},
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{
    Error, Protocol,
    kernel::Kernel,
    netlink::{
        conntrack::Flow,
        nft::{Command, Element, ElementData},
    },
    ruleset::{self, AFFINITY, Backends, Elements, Frame, Frontend, affinity_entry},
};

/// Ports of 127.0.0.1 and where their connections lead.
pub(crate) type LocalPorts = BTreeMap<u16, SocketAddrV4>;

pub(crate) struct Program {
    table: String,
    frame: Frame,
    host_ip: Ipv4Addr,
    state: Mutex<State>,
    local_ports: watch::Sender<LocalPorts>,
}

#[derive(Default)]
struct State {
    services: BTreeMap<Frontend, Backends>,
    host_ports: BTreeMap<Frontend, SocketAddrV4>,
    /// What the kernel has; `None` if that is not known and the next change must replace everything.
    applied: Option<Elements>,
}

// === impl Program ===

impl Program {
    pub(crate) fn new(table: String, frame: Frame, host_ip: Ipv4Addr) -> Self {
        Self { table, frame, host_ip, state: Mutex::default(), local_ports: watch::channel(LocalPorts::new()).0 }
    }

    /// Changes what services want, and the kernel with it.
    pub(crate) fn set_services(
        &self,
        kernel: &dyn Kernel,
        services: BTreeMap<Frontend, Backends>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        state.services = services;
        self.apply(kernel, &mut state)
    }

    /// Changes what host ports want. The kernel follows, unless it still has the table of an earlier process: then it
    /// follows with the services, which only the earlier process knew.
    /// `read` is called while nobody else changes host ports, so that of two changes at once none is lost.
    pub(crate) fn set_host_ports(
        &self,
        kernel: &dyn Kernel,
        read: impl FnOnce() -> BTreeMap<Frontend, SocketAddrV4>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        let host_ports = read();
        if state.host_ports == host_ports {
            return Ok(());
        }
        state.host_ports = host_ports;
        if state.applied.is_none() {
            self.publish_local_ports(&state);
            return Ok(());
        }
        self.apply(kernel, &mut state)
    }

    /// At start: makes the table if there is none, and otherwise leaves the one that serves.
    pub(crate) fn start(&self, kernel: &dyn Kernel, host_ports: BTreeMap<Frontend, SocketAddrV4>) -> Result<(), Error> {
        let mut state = self.lock();
        state.host_ports = host_ports;
        if kernel.table_exists(&self.table)? {
            self.publish_local_ports(&state);
            return Ok(());
        }
        self.apply(kernel, &mut state)
    }

    /// Makes the table again if somebody removed it (`nft flush ruleset`).
    pub(crate) fn repair(&self, kernel: &dyn Kernel) -> Result<(), Error> {
        if kernel.table_exists(&self.table)? {
            return Ok(());
        }
        tracing::warn!(table = self.table, "nftables table is gone, making it again");
        let mut state = self.lock();
        state.applied = None;
        self.apply(kernel, &mut state)
    }

    pub(crate) fn remove(&self, kernel: &dyn Kernel) -> Result<(), Error> {
        let mut state = self.lock();
        *state = State::default();
        self.local_ports.send_replace(LocalPorts::new());
        kernel.transaction(&self.table, &[Command::AddTable, Command::DeleteTable])
    }

    /// The ports that the forwarder on 127.0.0.1 has to offer, now and later.
    pub(crate) fn local_ports(&self) -> watch::Receiver<LocalPorts> {
        self.local_ports.subscribe()
    }

    fn apply(&self, kernel: &dyn Kernel, state: &mut State) -> Result<(), Error> {
        self.publish_local_ports(state);
        let wanted = Elements::new(&merge(&state.services, &state.host_ports), &self.frame);
        let mut affinity = wanted.has_affinity();
        let lost = match state.applied.take() {
            None => {
                kernel.transaction(&self.table, &ruleset::replace(&self.frame, &wanted))?;
                Default::default()
            }
            Some(applied) => {
                let commands = applied.change_to(&wanted);
                if let Err(error) = kernel.transaction(&self.table, &commands) {
                    // Somebody else changed the table: replace it all.
                    tracing::warn!(error = %chain(&error), "nftables refused a change, replacing the table");
                    kernel.transaction(&self.table, &ruleset::replace(&self.frame, &wanted))?;
                }
                affinity |= applied.has_affinity();
                applied.lost(&wanted)
            }
        };
        state.applied = Some(wanted);
        // From here on new connections are right; what follows is about old UDP flows and remembered clients.
        if affinity && !lost.is_empty() {
            self.forget_clients(kernel, &lost)?;
        }
        let flows: HashSet<Flow> = lost
            .iter()
            .filter(|(frontend, _)| frontend.protocol == Protocol::Udp)
            .map(|(frontend, endpoint)| Flow {
                frontend: (!frontend.address.is_unspecified()).then_some(frontend.address),
                frontend_port: frontend.port,
                endpoint: *endpoint.ip(),
                endpoint_port: endpoint.port(),
            })
            .collect();
        if !flows.is_empty() {
            let count = kernel.forget_flows(&flows)?;
            tracing::debug!(count, "forgot UDP flows to endpoints that are gone");
        }
        Ok(())
    }

    /// Removes clients that are remembered for endpoints that are gone. One by one: an element may expire meanwhile,
    /// which would fail a common transaction.
    fn forget_clients(
        &self,
        kernel: &dyn Kernel,
        lost: &std::collections::BTreeSet<(Frontend, SocketAddrV4)>,
    ) -> Result<(), Error> {
        for (key, data) in kernel.elements(&self.table, AFFINITY)? {
            if affinity_entry(&key, &data).is_some_and(|entry| lost.contains(&entry)) {
                let elements = vec![Element { key, data: ElementData::None }];
                match kernel.transaction(&self.table, &[Command::DeleteElements { set: AFFINITY, elements }]) {
                    Err(error) if !error.is_absent() => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn publish_local_ports(&self, state: &State) {
        let ports = local_ports(&state.services, &state.host_ports, self.host_ip);
        self.local_ports.send_if_modified(|current| {
            let changed = *current != ports;
            *current = ports;
            changed
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host port wins over a service: it was promised to a pod that runs.
fn merge(
    services: &BTreeMap<Frontend, Backends>,
    host_ports: &BTreeMap<Frontend, SocketAddrV4>,
) -> BTreeMap<Frontend, Backends> {
    let mut all = services.clone();
    for (frontend, endpoint) in host_ports.iter().filter(|(frontend, _)| !frontend.address.is_loopback()) {
        all.insert(*frontend, Backends { endpoints: vec![*endpoint], affinity: None });
    }
    all
}

/// Packets to 127.0.0.0/8 never leave the loopback (`route_localnet` stays off: CVE-2020-8558), so connections to
/// ports of `localhost` are taken over by a forwarder. It connects to the node port at the host's address, where the
/// rules balance, or straight to the pod of a host port.
fn local_ports(
    services: &BTreeMap<Frontend, Backends>,
    host_ports: &BTreeMap<Frontend, SocketAddrV4>,
    host_ip: Ipv4Addr,
) -> LocalPorts {
    let tcp = |frontend: &Frontend| frontend.protocol == Protocol::Tcp;
    let mut ports: LocalPorts = services
        .keys()
        .filter(|frontend| tcp(frontend) && frontend.address.is_unspecified())
        .map(|frontend| (frontend.port, SocketAddrV4::new(host_ip, frontend.port)))
        .collect();
    for (frontend, endpoint) in host_ports {
        if tcp(frontend) && (frontend.address.is_unspecified() || frontend.address.is_loopback()) {
            ports.insert(frontend.port, *endpoint);
        }
    }
    ports
}

/// An error with its sources, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::Arc;

    use super::*;
    use crate::kernel::fake::Fake;

    fn program() -> (Program, Arc<Fake>) {
        let program = Program::new("lotse-unit".into(), ruleset::tests::frame(), Ipv4Addr::new(10, 222, 0, 1));
        (program, Arc::default())
    }

    fn services(protocol: Protocol, endpoints: &[&str]) -> BTreeMap<Frontend, Backends> {
        let endpoints = endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
        let frontend = Frontend { address: Ipv4Addr::new(10, 223, 0, 1), protocol, port: 53 };
        BTreeMap::from([(frontend, Backends { endpoints, affinity: None })])
    }

    fn node(port: u16) -> Frontend {
        Frontend { address: Ipv4Addr::UNSPECIFIED, protocol: Protocol::Tcp, port }
    }

    #[test]
    fn a_table_that_serves_is_left_alone_until_the_services_are_known() {
        let (program, kernel) = program();
        kernel.state().table = true;
        program.start(&kernel, BTreeMap::new()).unwrap();
        program.set_host_ports(&kernel, || BTreeMap::from([(node(80), "10.222.0.2:80".parse().unwrap())])).unwrap();
        assert!(kernel.state().transactions.is_empty());
        program.set_services(&kernel, services(Protocol::Tcp, &["10.222.0.2:53"])).unwrap();
        let first = kernel.state().transactions.remove(0);
        assert_eq!(first[..3], [Command::AddTable, Command::DeleteTable, Command::AddTable]);
    }

    #[test]
    fn a_refused_change_is_followed_by_a_full_replacement() {
        let (program, kernel) = program();
        program.start(&kernel, BTreeMap::new()).unwrap();
        kernel.state().fail.push("transaction");
        program.set_services(&kernel, services(Protocol::Tcp, &["10.222.0.2:53"])).unwrap();
        assert_eq!(kernel.state().transactions.last().unwrap()[1], Command::DeleteTable);
    }

    #[test]
    fn after_a_failure_the_next_change_replaces_everything() {
        let (program, kernel) = program();
        program.start(&kernel, BTreeMap::new()).unwrap();
        kernel.state().fail.extend(["transaction", "transaction"]);
        program.set_services(&kernel, services(Protocol::Tcp, &["10.222.0.2:53"])).unwrap_err();
        program.set_services(&kernel, services(Protocol::Tcp, &["10.222.0.2:53"])).unwrap();
        assert_eq!(kernel.state().transactions.last().unwrap()[1], Command::DeleteTable);
    }

    #[test]
    fn flows_of_removed_udp_endpoints_are_forgotten_and_those_of_tcp_are_not() {
        for (protocol, expected) in [(Protocol::Udp, 1), (Protocol::Tcp, 0)] {
            let (program, kernel) = program();
            program.start(&kernel, BTreeMap::new()).unwrap();
            program.set_services(&kernel, services(protocol, &["10.222.0.2:53", "10.222.0.3:53"])).unwrap();
            program.set_services(&kernel, services(protocol, &["10.222.0.3:53"])).unwrap();
            assert_eq!(kernel.state().forgotten.len(), expected);
        }
    }

    #[test]
    fn a_removed_table_is_made_again() {
        let (program, kernel) = program();
        program.start(&kernel, BTreeMap::new()).unwrap();
        program.repair(&kernel).unwrap();
        assert_eq!(kernel.state().transactions.len(), 1);
        kernel.state().table = false;
        program.repair(&kernel).unwrap();
        assert!(kernel.state().table);
    }

    #[test]
    fn localhost_offers_node_ports_and_host_ports() {
        let services = BTreeMap::from([(node(30080), Backends { endpoints: vec![], affinity: None })]);
        let loopback = Frontend { address: Ipv4Addr::LOCALHOST, ..node(81) };
        let pod: SocketAddrV4 = "10.222.0.2:80".parse().unwrap();
        let host_ports = BTreeMap::from([(node(80), pod), (loopback, pod)]);
        let ports = local_ports(&services, &host_ports, Ipv4Addr::new(10, 222, 0, 1));
        let wanted = [(80, pod), (81, pod), (30080, "10.222.0.1:30080".parse().unwrap())];
        assert_eq!(ports, BTreeMap::from(wanted));
        assert!(!merge(&services, &host_ports).contains_key(&loopback));
    }
}
