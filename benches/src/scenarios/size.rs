//! How large the one binary is.

use std::path::Path;

use crate::{Result, report::Row};

const GOAL: f64 = 60.0;

pub(super) fn run(binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let megabytes = |path: &Path| std::fs::metadata(path).map(|file| file.len() as f64 / 1e6);
    let ours = megabytes(&binaries.join("lotse"))?;
    let etcd = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).find_map(|directory| megabytes(&directory.join("etcd")).ok()));
    rows.push(
        Row::new("release binary, stripped", format!("{ours:.1} MB"))
            .peer(etcd.map_or_else(|| "-".to_owned(), |size| format!("etcd alone {size:.1} MB")))
            .goal(format!("< {GOAL:.0} MB"), ours < GOAL),
    );
    Ok(())
}
