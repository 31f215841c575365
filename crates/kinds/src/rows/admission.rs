//! Group admissionregistration.k8s.io, version v1.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};

use crate::{
    
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<MutatingWebhookConfiguration>()
            .category("api-extensions")
            
            
            ,
        row::<ValidatingAdmissionPolicy>()
            .category("api-extensions")
            .status()
            
            
            ,
        row::<ValidatingAdmissionPolicyBinding>()
            .category("api-extensions")
            
            
            ,
        row::<ValidatingWebhookConfiguration>()
            .category("api-extensions")
            
            
            ,
    ]
}
