//! Images and containers: import, pull, unpack, shim, logs, exec.
//!
//! [`ContainerRuntime`] is the seam to the node agent, in the spirit of the Kubernetes CRI: the node decides *what* runs,
//! the runtime makes it so and remembers it on disk, so that pods outlive the daemon.

mod error;
pub mod interface;

pub use error::Error;
pub use interface::*;
