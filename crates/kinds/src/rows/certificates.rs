//! Group certificates.k8s.io, version v1.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use crate::{
    
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<CertificateSigningRequest>()
            .short(&["csr"])
            .status()
            .endpoints(&["approval"])
            
            .selectable(&["spec.signerName"])
            
            ,
    ]
}
