//! Groups networking.k8s.io and discovery.k8s.io, version v1.

use k8s_openapi::api::{
    discovery::v1::EndpointSlice,
    networking::v1::{IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR},
};

use crate::{
    
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<IngressClass>(),
        row::<Ingress>()
            .short(&["ing"])
            .status()
            
            
            ,
        row::<IPAddress>()
            .short(&["ip"])
            
            .selectable(&["metadata.name"])
            ,
        row::<NetworkPolicy>()
            .short(&["netpol"])
            
            
            ,
        row::<ServiceCIDR>()
            .status()
            
            ,
        row::<EndpointSlice>()
            
            
            ,
    ]
}
