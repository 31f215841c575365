//! Group apps, version v1.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};

use crate::{
    columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<ControllerRevision>()
            .columns(columns::workloads::controller_revision())
            .validate(hooks::replicas::validate_controller_revision),
        row::<DaemonSet>()
            .short(&["ds"])
            .category("all")
            .status()
            .columns(columns::workloads::daemon_set())
            .default(hooks::daemon_set::default)
            .validate(hooks::daemon_set::validate),
        row::<Deployment>()
            .short(&["deploy"])
            .category("all")
            .status()
            .scale("/spec/selector")
            .columns(columns::workloads::deployment())
            .default(hooks::deployment::default)
            .validate(hooks::deployment::validate),
        row::<ReplicaSet>()
            .short(&["rs"])
            .category("all")
            .status()
            .scale("/spec/selector")
            .columns(columns::workloads::replica_set())
            .selectable(&["status.replicas"])
            .default(hooks::replicas::default_replica_set)
            .validate(hooks::replicas::validate_replica_set),
        row::<StatefulSet>()
            .short(&["sts"])
            .category("all")
            .status()
            .scale("/spec/selector")
            .columns(columns::workloads::stateful_set())
            .default(hooks::stateful_set::default)
            .validate(hooks::stateful_set::validate),
    ]
}
