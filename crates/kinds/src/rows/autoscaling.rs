//! Groups autoscaling (v1 and v2) and policy.

use std::borrow::Cow;

use k8s_openapi::api::{autoscaling, policy::v1::PodDisruptionBudget};

use crate::{
    StoredAs, columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<autoscaling::v2::HorizontalPodAutoscaler>()
            .short(&["hpa"])
            .category("all")
            .status()
            .columns(columns::autoscaling::autoscaler())
            .default(hooks::autoscaler::default)
            .validate(hooks::autoscaler::validate),
        row::<autoscaling::v1::HorizontalPodAutoscaler>()
            .short(&["hpa"])
            .category("all")
            .status()
            .columns(columns::autoscaling::autoscaler_v1())
            .stored_as(StoredAs {
                group: Cow::Borrowed("autoscaling"),
                version: Cow::Borrowed("v2"),
                kind: Cow::Borrowed("HorizontalPodAutoscaler"),
                to_stored: Some(hooks::autoscaler_v1::to_stored),
                from_stored: Some(hooks::autoscaler_v1::from_stored),
                webhook: false,
            })
            .default(hooks::autoscaler_v1::default)
            .validate(hooks::autoscaler_v1::validate),
        row::<PodDisruptionBudget>()
            .short(&["pdb"])
            .status()
            .columns(columns::autoscaling::disruption_budget())
            .validate(hooks::disruption_budget::validate),
    ]
}
