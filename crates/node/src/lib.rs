//! The kubelet: pod life cycle, probes, volumes, resources, status, streaming.
//!
//! [`Node`] compares the pods that are bound to it with what the [`lotse_runtime::ContainerRuntime`] and the
//! [`lotse_network::PodNetwork`] report and takes the next step for each. Everything that it must not forget is in the
//! API or on disk: it can be killed at any instant, and its containers keep running.

mod config;
mod containers;
mod error;
mod events;
mod images;
mod images_api;
mod logs;
mod machine;
mod node;
mod pod_proxy;
mod pods;
mod probes;
mod registration;
mod router;
mod shutdown;
mod sources;
mod stats;
pub mod streaming;
#[cfg(test)]
mod testing;
mod volumes;

pub use config::Config;
pub use error::Error;
pub use node::Node;
pub use shutdown::unmount_below;
