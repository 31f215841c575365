//! Pod network, service load balancing with nftables, cluster DNS.
//!
//! [`PodNetwork`] is the seam to the node agent and [`Network`] implements it. [`run_services`] and [`run_dns`] run
//! beside it for the life of the daemon. Nothing here starts another program: links, routes, rules and connection
//! tracking are changed through netlink.
//!
//! How packets flow is described in `ruleset.rs`; how a pod is attached in `kernel.rs`.

mod address;
mod allocation;
mod catalog;
mod config;
mod dns;
mod error;
pub mod interface;
mod kernel;
mod namespace;
mod netlink;
mod network;
mod preflight;
mod program;
mod ruleset;
mod services;

pub use address::Cidr;
pub use config::Config;
pub use dns::{DnsConfig, run_dns};
pub use error::Error;
pub use interface::*;
pub use network::Network;
pub use preflight::{Missing, check};
pub use services::run_services;
