//! Group admissionregistration.k8s.io, version v1.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};

use crate::{
    columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<MutatingWebhookConfiguration>()
            .category("api-extensions")
            .columns(columns::admission::webhooks())
            .default(hooks::admission::default_mutating_webhooks)
            .validate(hooks::admission::validate_webhooks),
        row::<ValidatingAdmissionPolicy>()
            .category("api-extensions")
            .status()
            .columns(columns::admission::policy())
            .default(hooks::admission::default_policy)
            .validate(hooks::admission::validate_policy),
        row::<ValidatingAdmissionPolicyBinding>()
            .category("api-extensions")
            .columns(columns::admission::policy_binding())
            .default(hooks::admission::default_policy_binding)
            .validate(hooks::admission::validate_policy_binding),
        row::<ValidatingWebhookConfiguration>()
            .category("api-extensions")
            .columns(columns::admission::webhooks())
            .default(hooks::admission::default_validating_webhooks)
            .validate(hooks::admission::validate_webhooks),
    ]
}
