//! Pod network, service load balancing with nftables, cluster DNS.
//!
//! [`PodNetwork`] is the seam to the node agent.

mod error;
pub mod interface;

pub use error::Error;
pub use interface::*;
