//! Groups coordination.k8s.io, scheduling.k8s.io and node.k8s.io, version v1.

use k8s_openapi::api::{coordination::v1::Lease, node::v1::RuntimeClass, scheduling::v1::PriorityClass};

use crate::{
    columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<Lease>().columns(columns::cluster::lease()).validate(hooks::cluster::validate_lease),
        row::<PriorityClass>()
            .short(&["pc"])
            .columns(columns::cluster::priority_class())
            .default(hooks::cluster::default_priority_class)
            .validate(hooks::cluster::validate_priority_class),
        row::<RuntimeClass>()
            .columns(columns::cluster::runtime_class())
            .validate(hooks::cluster::validate_runtime_class),
    ]
}
