//! What is measured. A scenario is one file with one entry here.

mod boot;
mod delivery;
mod pods;
mod render;
mod size;
mod store;
mod students;

use std::path::Path;

use crate::{Result, report::Row};

/// Their names, in the order in which they run.
pub(crate) const ALL: [&str; 7] = ["size", "render", "boot", "store", "pods", "students", "delivery"];

/// Runs one and adds its figures.
pub(crate) async fn run(name: &str, binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    match name {
        "size" => size::run(binaries, rows),
        "render" => render::run(binaries, rows),
        "boot" => boot::run(binaries, rows).await,
        "store" => store::run(binaries, rows).await,
        "pods" => pods::run(binaries, rows).await,
        "students" => students::run(binaries, rows).await,
        "delivery" => delivery::run(binaries, rows).await,
        other => Err(format!("there is no scenario {other}").into()),
    }
}
