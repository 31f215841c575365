//! Cluster DNS: answers for services and pods from the process' caches, and forwards the rest.
//!
//! Source of the names: the Kubernetes DNS-based service discovery specification, version 1.1.0.

mod forward;
mod message;
mod resolv_conf;
mod server;
mod zone;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, RwLock},
};

use lotse_client::Informers;
use tokio::task::JoinSet;

use crate::{Cidr, Error, catalog::Follower};

/// Settings of [`run_dns`].
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Address to listen on, UDP and TCP; [`Network::open`](crate::Network::open) has put it on the bridge.
    pub address: Ipv4Addr,
    /// Port to listen on: 53.
    pub port: u16,
    /// The cluster's domain, `cluster.local`.
    pub domain: String,
    /// Ranges of pods and Services, whose reverse names are answered here and never forwarded.
    pub ranges: Vec<Cidr>,
    /// Servers for all other names; `None` is those of the machine's `/etc/resolv.conf`, read again when it changes.
    /// The server itself is left out.
    pub upstream: Option<Vec<SocketAddr>>,
}

/// Serves DNS until the future is dropped. Before the caches are filled it answers SERVFAIL for the cluster's names,
/// so that no client remembers that a service does not exist.
///
/// # Errors
/// [`Error::DnsListen`] if the port is taken or the address is not the machine's; [`Error::Config`] for a domain that
/// is none.
pub async fn run_dns(config: DnsConfig, informers: Informers) -> Result<(), Error> {
    let zone = zone::Zone::new(&config.domain, config.ranges.clone())?;
    let listen = SocketAddr::from((config.address, config.port));
    let server = Arc::new(server::Server {
        zone,
        catalog: RwLock::new(None),
        forwarder: Arc::new(forward::Forwarder::new(config.upstream.clone(), listen)),
    });
    let (udp, tcp) = server::listen(config.address, config.port).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(server::serve_udp(server.clone(), udp));
    tasks.spawn(server::serve_tcp(server.clone(), tcp));
    let (mut follower, catalog) = Follower::start(&informers).await;
    server.set_catalog(catalog);
    while let Some(event) = follower.next().await {
        server.with_catalog(|catalog| follower.apply(catalog, &event));
    }
    Ok(())
}
