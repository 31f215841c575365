//! Groups coordination.k8s.io, scheduling.k8s.io and node.k8s.io, version v1.

use k8s_openapi::api::{coordination::v1::Lease, node::v1::RuntimeClass, scheduling::v1::PriorityClass};

use crate::{
    
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<Lease>(),
        row::<PriorityClass>()
            .short(&["pc"])
            
            
            ,
        row::<RuntimeClass>(),
    ]
}
