//! What the network is told at start, and the names derived from it.

use std::{net::Ipv4Addr, path::PathBuf};

use crate::{Cidr, Error};

/// Settings of [`Network::open`](crate::Network::open).
#[derive(Clone, Debug)]
pub struct Config {
    /// Profile of the cluster; names of the bridge, the links and the nftables table derive from it, so that profiles
    /// run side by side. Lower-case letters, digits and `-`, at most 63 characters.
    pub profile: String,
    /// Addresses of pods, /8 to /28; the first one is the host's. Must not overlap another profile's.
    pub pod_cidr: Cidr,
    /// Addresses of Services. Must not overlap `pod_cidr`.
    pub service_cidr: Cidr,
    /// Address of cluster DNS, within `service_cidr`. The network puts it on the bridge.
    pub dns_ip: Ipv4Addr,
    /// Directory for the address allocations; made if absent. Belongs to the network alone.
    pub state_dir: PathBuf,
    /// Directory for the bind-mounted network namespaces; made if absent. Belongs to the network alone. Best on a
    /// file system that a reboot empties (`/run/…`).
    pub namespace_dir: PathBuf,
    /// Ports of the host that no LoadBalancer Service may take: those of the API server, of the edge, of sshd.
    pub reserved_ports: Vec<u16>,
    /// Whether `spec.externalIPs` of Services are honoured. They let anyone who may write a Service take over traffic
    /// to any address (CVE-2020-8554), so leave this off unless all who can write Services are trusted.
    pub external_ips: bool,
}

// === impl Config ===

impl Config {
    /// Refuses what cannot work.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let refuse = |field, problem: String| Err(Error::Config { field, problem });
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.profile.is_empty() || self.profile.len() > 63 || !self.profile.chars().all(allowed) {
            let shown: String = self.profile.chars().take(64).collect();
            return refuse("profile", format!("{shown:?}: use 1 to 63 lower-case letters, digits and `-`"));
        }
        if !(8..=28).contains(&self.pod_cidr.prefix()) {
            return refuse("pod_cidr", format!("{} must have a prefix between /8 and /28", self.pod_cidr));
        }
        if self.pod_cidr.overlaps(&self.service_cidr) {
            return refuse("service_cidr", format!("{} overlaps the pods' {}", self.service_cidr, self.pod_cidr));
        }
        if !self.service_cidr.contains(self.dns_ip) {
            return refuse("dns_ip", format!("{} is not within {}", self.dns_ip, self.service_cidr));
        }
        Ok(())
    }

    /// Name of the bridge, at most 15 characters as the kernel wants it.
    pub(crate) fn bridge(&self) -> String {
        if self.profile.len() <= 9 {
            format!("lotse-{}", self.profile)
        } else {
            format!("lotse-{:09x}", hash(&self.profile) & 0xf_ffff_ffff)
        }
    }

    /// Name of the nftables table.
    pub(crate) fn table(&self) -> String {
        format!("lotse-{}", self.profile)
    }

    /// Name of the host's end of the link to the pod with address `ip`.
    pub(crate) fn link(&self, ip: Ipv4Addr) -> String {
        format!("lo{:04x}{:08x}", hash(&self.profile) & 0xffff, ip.to_bits())
    }

    /// Address of the host on the pod network: the first after the network's own.
    pub(crate) fn host_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.pod_cidr.network().to_bits() | 1)
    }
}

/// FNV-1a: stable over versions and machines, unlike the standard library's hasher.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::path::Path;

    use super::*;

    /// A valid configuration with its state under `directory`.
    pub(crate) fn config(directory: &Path) -> Config {
        Config {
            profile: "unit".into(),
            pod_cidr: "10.222.0.0/16".parse().unwrap(),
            service_cidr: "10.223.0.0/16".parse().unwrap(),
            dns_ip: Ipv4Addr::new(10, 223, 0, 10),
            state_dir: directory.join("state"),
            namespace_dir: directory.join("netns"),
            reserved_ports: vec![443],
            external_ips: false,
        }
    }

    #[test]
    fn names_fit_the_kernel_and_differ_by_profile() {
        let short = config(Path::new("/"));
        let long = Config { profile: "a-very-long-profile-name".into(), ..short.clone() };
        let other = Config { profile: "a-very-long-profile-nama".into(), ..short.clone() };
        assert_eq!(short.bridge(), "lotse-unit");
        for config in [&short, &long, &other] {
            assert!(config.bridge().len() <= 15);
            assert!(config.link(Ipv4Addr::BROADCAST).len() <= 15);
        }
        assert_ne!(long.bridge(), other.bridge());
        assert_ne!(long.link(long.host_ip()), other.link(other.host_ip()));
    }

    #[test]
    fn unusable_settings_are_refused_by_name() {
        let good = config(Path::new("/"));
        good.validate().unwrap();
        let cases = [
            (Config { profile: "../x".into(), ..good.clone() }, "profile"),
            (Config { profile: String::new(), ..good.clone() }, "profile"),
            (Config { pod_cidr: "10.0.0.0/30".parse().unwrap(), ..good.clone() }, "pod_cidr"),
            (Config { service_cidr: "10.222.128.0/17".parse().unwrap(), ..good.clone() }, "service_cidr"),
            (Config { dns_ip: Ipv4Addr::new(10, 43, 0, 10), ..good.clone() }, "dns_ip"),
        ];
        for (config, wanted) in cases {
            assert!(matches!(config.validate(), Err(Error::Config { field, .. }) if field == wanted), "{wanted}");
        }
    }
}
