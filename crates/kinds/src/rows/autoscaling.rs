//! Groups autoscaling (v1 and v2) and policy.

use std::borrow::Cow;

use k8s_openapi::api::{autoscaling, policy::v1::PodDisruptionBudget};

use crate::{
    StoredAs, 
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<autoscaling::v2::HorizontalPodAutoscaler>()
            .short(&["hpa"])
            .category("all")
            .status()
            
            
            ,
        row::<autoscaling::v1::HorizontalPodAutoscaler>()
            .short(&["hpa"])
            .category("all")
            .status()
            
            .stored_as(StoredAs {
                group: Cow::Borrowed("autoscaling"),
                version: Cow::Borrowed("v2"),
                kind: Cow::Borrowed("HorizontalPodAutoscaler"),
                to_stored: None,
                from_stored: None,
            })
            
            ,
        row::<PodDisruptionBudget>()
            .short(&["pdb"])
            .status()
            
            ,
    ]
}
