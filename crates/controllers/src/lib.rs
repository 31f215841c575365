//! Workloads, endpoints, volumes, garbage collection, namespaces, service accounts and the scheduler, each one reconcile.
//!
//! Every controller reads the shared caches of [`lotse_client::Informers`] and writes through the same
//! [`kube::Client`]. Each has a pure `plan` (desired and observed in, steps out) and a thin executor. Nothing that
//! matters is kept in memory: after a crash at any point the next pass continues from what the API holds.
//!
//! Instead of the expectations that Kubernetes' controllers keep, a write is waited for in the cache before the same
//! key is looked at again, so no decision is made twice from an old picture.

mod autoscaler;
mod claim;
mod context;
mod cron_job;
mod daemon_set;
mod deployment;
mod discovery;
mod disruption;
mod endpoints;
mod error;
mod garbage;
mod hash;
mod intstr;
mod job;
mod load_balancer;
mod namespace;
mod node_lifecycle;
mod pod;
mod pod_garbage;
mod quantity;
mod replica_set;
mod revision;
mod scheduler;
mod selector;
mod service_account;
mod stateful_set;
mod volumes;

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::ReplicationController};
use lotse_client::Informers;

use self::context::Context;
pub use self::{context::Config, error::Error};

/// Runs all controllers until the returned future is dropped, which stops them at once; that is always safe.
pub async fn run(informers: Informers, config: Config) {
    let context = Context::new(informers, config);
    tokio::join!(
        deployment::run(context.clone()),
        replica_set::run::<ReplicaSet>(context.clone()),
        replica_set::run::<ReplicationController>(context.clone()),
        stateful_set::run(context.clone()),
        daemon_set::run(context.clone()),
        job::run(context.clone()),
        cron_job::run(context.clone()),
        endpoints::run(context.clone()),
        volumes::run(context.clone()),
        namespace::run(context.clone()),
        garbage::run(context.clone()),
        service_account::run(context.clone()),
        scheduler::run(context.clone()),
        pod_garbage::run(context.clone()),
        node_lifecycle::run(context.clone()),
        load_balancer::run(context.clone()),
        disruption::run(context.clone()),
        autoscaler::run(context),
    );
}
