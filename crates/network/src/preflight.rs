//! What the pod network needs from the machine, tried out in a scratch network namespace.

use std::{fmt, fs, net::Ipv4Addr};

use crate::{
    Cidr, Error, namespace,
    netlink::{
        link::{Requests, mac_of},
        nft,
        socket::Socket,
    },
    program::chain,
    ruleset::{self, Backends, Elements, Frame, Frontend},
};

/// Something that the machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// A Linux capability of this process.
    Capability(&'static str),
    /// Network namespaces cannot be made.
    Namespaces(String),
    /// A kernel feature; the module's name and the kernel's answer.
    Kernel {
        /// Module that provides it.
        module: &'static str,
        /// What was tried and what the kernel said.
        problem: String,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(name) => write!(f, "the capability {name} is missing: run as root"),
            Self::Namespaces(problem) => write!(f, "network namespaces cannot be made ({problem})"),
            Self::Kernel { module, problem } => {
                write!(f, "the kernel lacks {module} ({problem}): try `modprobe {module}`")
            }
        }
    }
}

/// Capabilities by bit number (linux/capability.h).
const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// Tries everything that the network needs, in a network namespace that vanishes afterwards; empty is good. Takes
/// about 20 ms and blocks.
pub fn check() -> Vec<Missing> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing_capabilities(&status);
    if !missing.is_empty() {
        return missing;
    }
    match namespace::in_new(|_| Ok(features())) {
        Ok(missing) => missing,
        Err(error) => vec![Missing::Namespaces(chain(&error))],
    }
}

fn missing_capabilities(status: &str) -> Vec<Missing> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0);
    CAPABILITIES
        .into_iter()
        .filter(|(bit, _)| effective >> bit & 1 == 0)
        .map(|(_, name)| Missing::Capability(name))
        .collect()
}

type Attempt = fn() -> Result<(), Error>;

fn features() -> Vec<Missing> {
    let attempts: [(&'static str, Attempt); 3] = [("bridge", bridge), ("veth", veth), ("nf_tables", rules)];
    attempts
        .into_iter()
        .filter_map(|(module, attempt)| attempt().err().map(|error| Missing::Kernel { module, problem: chain(&error) }))
        .collect()
}

fn bridge() -> Result<(), Error> {
    let mut requests = Requests::default();
    requests.add_bridge("lotse-check", mac_of(Ipv4Addr::LOCALHOST));
    requests.execute(&Socket::route()?, "make a bridge")
}

fn veth() -> Result<(), Error> {
    let mut requests = Requests::default();
    requests.add_veth("lotse-veth", 0, "lotse-peer", mac_of(Ipv4Addr::LOCALHOST), None, 1500);
    requests.execute(&Socket::route()?, "make a veth pair")
}

/// The whole ruleset with a service, so that every kind of expression is tried.
fn rules() -> Result<(), Error> {
    let range = |octet| Cidr::new(Ipv4Addr::new(10, octet, 0, 0), 16);
    let (Some(pod_cidr), Some(service_cidr)) = (range(42), range(43)) else { return Ok(()) };
    let frame = Frame { bridge: "lotse-check".into(), pod_cidr, service_cidr, dns_ip: Ipv4Addr::new(10, 43, 0, 10) };
    let service = |address, affinity| {
        let frontend = Frontend { address, protocol: crate::Protocol::Tcp, port: 80 };
        let endpoint = std::net::SocketAddrV4::new(Ipv4Addr::new(10, 42, 0, 2), 80);
        (frontend, Backends { endpoints: vec![endpoint], affinity })
    };
    let frontends =
        [service(Ipv4Addr::UNSPECIFIED, None), service(Ipv4Addr::new(10, 43, 0, 1), Some(60))].into_iter().collect();
    let commands = ruleset::replace(&frame, &Elements::new(&frontends, &frame));
    nft::transaction(&Socket::netfilter()?, "lotse-check", &commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        let all = "Name:\tx\nCapEff:\t000001ffffffffff\n";
        assert_eq!(missing_capabilities(all), []);
        let no_net_admin = "CapEff:\t000001ffffffefff\n";
        assert_eq!(missing_capabilities(no_net_admin), [Missing::Capability("CAP_NET_ADMIN")]);
        assert_eq!(missing_capabilities("").len(), 2);
        assert!(Missing::Capability("CAP_NET_ADMIN").to_string().contains("run as root"));
    }
}
