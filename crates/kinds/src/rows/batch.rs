//! Group batch, version v1.

use k8s_openapi::api::batch::v1::{CronJob, Job};

use crate::{
    columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<CronJob>()
            .short(&["cj"])
            .category("all")
            .status()
            .columns(columns::jobs::cron_job())
            .default(hooks::cron_job::default)
            .validate(hooks::cron_job::validate),
        row::<Job>()
            .category("all")
            .status()
            .columns(columns::jobs::job())
            .selectable_as("status.successful", "/status/succeeded")
            .default(hooks::job::default)
            .prepare(hooks::job::prepare)
            .validate(hooks::job::validate),
    ]
}
