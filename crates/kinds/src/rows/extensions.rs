//! Groups apiextensions.k8s.io and apiregistration.k8s.io, version v1.

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};

use crate::{
    
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<APIService>()
            .category("api-extensions")
            .status()
            
            ,
        row::<CustomResourceDefinition>()
            .short(&["crd", "crds"])
            .category("api-extensions")
            .status()
            
            
            ,
    ]
}
