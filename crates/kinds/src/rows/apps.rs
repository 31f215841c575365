//! Group apps, version v1.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};

use crate::{
    
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<ControllerRevision>()
            
            ,
        row::<DaemonSet>()
            .short(&["ds"])
            .category("all")
            .status()
            
            
            ,
        row::<Deployment>()
            .short(&["deploy"])
            .category("all")
            .status()
            .scale("/spec/selector")
            
            
            ,
        row::<ReplicaSet>()
            .short(&["rs"])
            .category("all")
            .status()
            .scale("/spec/selector")
            
            .selectable(&["status.replicas"])
            
            ,
        row::<StatefulSet>()
            .short(&["sts"])
            .category("all")
            .status()
            .scale("/spec/selector")
            
            
            ,
    ]
}
