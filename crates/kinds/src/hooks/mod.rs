//! What is special about a kind: pure functions on one object. One file for each kind or family.

pub(crate) mod admission;
pub(crate) mod autoscaler;
pub(crate) mod autoscaler_v1;
pub(crate) mod claim;
pub(crate) mod cluster;
pub(crate) mod config;
mod container;
pub(crate) mod crd;
pub(crate) mod cron_job;
pub(crate) mod daemon_set;
pub(crate) mod deployment;
pub(crate) mod disruption_budget;
pub(crate) mod endpoints;
pub(crate) mod event;
pub(crate) mod ingress;
pub(crate) mod job;
mod metadata;
pub(crate) mod namespace;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod pod;
mod pod_defaults;
pub(crate) mod pod_misc;
mod pod_spec;
mod pod_update;
mod pod_volumes;
mod probe;
pub(crate) mod quota;
pub(crate) mod rbac;
pub(crate) mod replicas;
pub(crate) mod reviews;
mod selector;
pub(crate) mod service;
pub(crate) mod stateful_set;
pub(crate) mod storage;
pub(crate) mod volume;

/// Where a pod's containers stand, the ephemeral ones last.
const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
