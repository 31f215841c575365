//! Group certificates.k8s.io, version v1.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use crate::{
    columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<CertificateSigningRequest>()
            .short(&["csr"])
            .status()
            .endpoints(&["approval"])
            .columns(columns::cluster::signing_request())
            .selectable(&["spec.signerName"])
            .default(hooks::cluster::default_signing_request)
            .validate(hooks::cluster::validate_signing_request),
    ]
}
