//! Group batch, version v1.

use k8s_openapi::api::batch::v1::{CronJob, Job};

use crate::{
    
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<CronJob>()
            .short(&["cj"])
            .category("all")
            .status()
            
            
            ,
        row::<Job>()
            .category("all")
            .status()
            
            .selectable_as("status.successful", "/status/succeeded")
            
            
            ,
    ]
}
