//! Images and containers: import, pull, unpack, shim, logs, exec.
//!
//! [`ContainerRuntime`] is the seam to the node agent, in the spirit of the Kubernetes CRI: the node decides *what* runs,
//! the runtime makes it so and remembers it on disk, so that pods outlive the daemon.

mod beneath;
mod cgroup;
mod config;
mod durable;
mod error;
mod images;
pub mod interface;
mod pod;
mod process_identity;
mod program;
mod runtime;
mod session;
mod shim;
mod snapshot;
mod spec;

pub use config::{Config, ImageLimits};
pub use error::Error;
pub use interface::*;
pub use runtime::Runtime;
pub use shim::shim_main;
