//! Continuous delivery: Applications, Git, diff, sync, prune, health, history, rollback.
//!
//! [`Delivery`] runs the Application controller. Everything goes through a [`kube::Client`](kube::Client); it does not know whether
//! the cluster is the embedded one.

pub mod application;
mod compare;
mod controller;
mod credentials;
mod diff;
mod error;
mod file_events;
pub mod git;
pub mod health;
mod live;
mod operation;
pub mod plan;
pub mod project;
pub mod remotes;
mod sources;
mod summary;
mod sync;
mod tools;
mod trust;
mod webhook;

pub use controller::{Config, Delivery};
pub use diff::{Difference, diff};
pub use error::Error;
pub use live::CONTROL_NAMESPACE;
pub use sources::{Rendered, Sources, WORKTREE};
pub use tools::{Context, HelmSource, KustomizeSource};
