//! What the whole of Lotse takes from a machine while it runs the Students system.

use std::{path::Path, process::Command, time::Duration};

use crate::{
    Result,
    cluster::{Cluster, finish},
    etcd::Etcd,
    process,
    report::Row,
};

const SETTLE: Duration = Duration::from_secs(20);

pub(super) async fn run(binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let cluster = Cluster::started(binaries, "students")?;
    let mut demo = Command::new("scripts/demo.sh");
    demo.arg(binaries);
    cluster.set_environment(&mut demo);
    let delivered = finish(&mut demo);
    let _ = std::fs::remove_dir_all(format!(".cache/demo/{}", cluster.profile()));
    delivered?;
    let (etcd, _) = Etcd::start().await?;
    tokio::time::sleep(SETTLE).await;
    let daemon = process::memory(cluster.daemon()?);
    let shims: Vec<_> = process::shims(&cluster.run_dir()).into_iter().map(process::memory).collect();
    let etcd = process::memory(etcd.pid());
    rows.push(
        Row::new(
            "memory of the daemon, Students running: RSS (anonymous, PSS)",
            format!("{:.1} MB ({:.1}, {:.1})", daemon.rss, daemon.anonymous, daemon.pss),
        )
        .peer(format!("etcd alone, empty {:.1} MB ({:.1}, {:.1})", etcd.rss, etcd.anonymous, etcd.pss))
        .goal("< 100 MB", daemon.rss > 0.0 && daemon.rss < 100.0),
    );
    let worst = shims.iter().map(|shim| shim.rss).fold(0.0, f64::max);
    let share = shims.iter().map(|shim| shim.pss).sum::<f64>() / shims.len() as f64;
    rows.push(
        Row::new(
            format!("memory of a shim: largest RSS of {} (mean PSS)", shims.len()),
            format!("{worst:.1} MB ({share:.1})"),
        )
        .goal("< 5 MB", !shims.is_empty() && worst < 5.0),
    );
    Ok(())
}
