//! What the API server needs to know about its place.

use std::{net::Ipv4Addr, path::PathBuf};

/// Configuration of an [`ApiServer`](crate::ApiServer).
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of keys and certificates, made if absent (mode 0700).
    pub pki_dir: PathBuf,
    /// First address and prefix length of the cluster IPs.
    pub service_cidr: (Ipv4Addr, u8),
    /// First and last node port.
    pub node_ports: (u16, u16),
    /// Address under which pods reach the server: the endpoint of `kubernetes` in `default`, which has none as long as this
    /// is a loopback address.
    pub advertise_address: Ipv4Addr,
    /// Port under which it is reached at `advertise_address`.
    pub advertise_port: u16,
    /// Further names and addresses in the server's certificate.
    pub extra_sans: Vec<String>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// `gitVersion` in `/version`, e.g. `v1.37.0+lotse0.1.0`.
    pub git_version: String,
    /// Bearer token of the administrator (group `system:masters`), absent for none.
    pub admin_token: Option<String>,
    /// Largest request body in bytes.
    pub max_request_bytes: usize,
    /// Requests served at once, watches and upgraded connections not counted.
    pub max_in_flight: usize,
}

impl Config {
    /// The usual settings with keys under `pki_dir`.
    pub fn new(pki_dir: impl Into<PathBuf>) -> Self {
        Self {
            pki_dir: pki_dir.into(),
            service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
            node_ports: (30_000, 32_767),
            advertise_address: Ipv4Addr::LOCALHOST,
            advertise_port: 6443,
            extra_sans: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            git_version: concat!("v1.37.0+lotse", env!("CARGO_PKG_VERSION")).to_owned(),
            admin_token: None,
            max_request_bytes: 3 * 1024 * 1024,
            max_in_flight: 400,
        }
    }

    /// The cluster IP of the `kubernetes` Service: the first of the range.
    pub fn kubernetes_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_cidr.0).saturating_add(1))
    }
}
