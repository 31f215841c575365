//! The table of built-in kinds, one file for each family of API groups.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod cluster;
mod core;
mod events;
mod extensions;
mod networking;
mod rbac;
mod reviews;
mod storage;

use std::sync::{Arc, LazyLock};

use crate::{Kind, row::Row};

/// All built-in kinds, in the order in which discovery lists their groups. Built on first use; schemas are made later still.
pub fn builtin() -> &'static [Arc<Kind>] {
    static KINDS: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| {
        let families: [fn() -> Vec<Row>; 13] = [
            core::rows,
            extensions::rows,
            apps::rows,
            events::rows,
            reviews::rows,
            autoscaling::rows,
            batch::rows,
            certificates::rows,
            networking::rows,
            rbac::rows,
            storage::rows,
            admission::rows,
            cluster::rows,
        ];
        families.iter().flat_map(|family| family()).map(Into::into).collect()
    });
    &KINDS
}
