//! Group core, version v1.

use k8s_openapi::api::core::v1::{
    Binding, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate,
    ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
};

use crate::{
    
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<Binding>().review(),
        row::<ConfigMap>().short(&["cm"]),
        row::<Endpoints>()
            .short(&["ep"])
            
            
            ,
        row::<Event>()
            .short(&["ev"])
            
            .selectable(&[
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.apiVersion",
                "involvedObject.resourceVersion",
                "involvedObject.fieldPath",
                "reason",
                "reportingComponent",
                "type",
            ])
            .selectable_as("source", "/source/component")
            
            ,
        row::<LimitRange>()
            .short(&["limits"])
            
            ,
        row::<Namespace>()
            .short(&["ns"])
            .status()
            .endpoints(&["finalize"])
            
            .selectable(&["status.phase"])
            
            
            ,
        row::<Node>()
            .short(&["no"])
            .status()
            .endpoints(&["proxy"])
            
            .selectable(&["spec.unschedulable"])
            
            ,
        row::<PersistentVolumeClaim>()
            .short(&["pvc"])
            .status()
            
            
            
            ,
        row::<PersistentVolume>()
            .short(&["pv"])
            .status()
            
            
            
            ,
        row::<Pod>()
            .short(&["po"])
            .category("all")
            .status()
            .endpoints(&[
                "attach",
                "binding",
                "ephemeralcontainers",
                "eviction",
                "exec",
                "log",
                "portforward",
                "proxy",
                "resize",
            ])
            
            .selectable(&[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ])
            
            
            ,
        row::<PodTemplate>()
            
            
            ,
        row::<ReplicationController>()
            .short(&["rc"])
            .category("all")
            .status()
            .scale("/spec/selector")
            
            .selectable(&["status.replicas"])
            
            ,
        row::<ResourceQuota>()
            .short(&["quota"])
            .status()
            
            ,
        row::<Secret>()
            
            .selectable(&["type"])
            
            
            ,
        row::<ServiceAccount>()
            .short(&["sa"])
            .endpoints(&["token"])
            
            ,
        row::<Service>()
            .short(&["svc"])
            .category("all")
            .status()
            .endpoints(&["proxy"])
            
            .selectable(&["spec.clusterIP", "spec.type"])
            
            
            ,
    ]
}
