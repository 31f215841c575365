//! Groups apiextensions.k8s.io and apiregistration.k8s.io, version v1.

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};

use crate::{
    columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<APIService>()
            .category("api-extensions")
            .status()
            .columns(columns::cluster::api_service())
            .validate(hooks::cluster::validate_api_service),
        row::<CustomResourceDefinition>()
            .short(&["crd", "crds"])
            .category("api-extensions")
            .status()
            .default(hooks::crd::default)
            .prepare(hooks::crd::prepare)
            .validate(hooks::crd::validate),
    ]
}
