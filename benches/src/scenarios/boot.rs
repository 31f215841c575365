//! `lotse up --detach` on an empty data directory.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::{
    Result,
    cluster::{Cluster, wait},
    etcd::Etcd,
    process,
    report::Row,
    stats::Samples,
};

const RUNS: usize = 10;
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

pub(super) async fn run(binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let (mut api, mut node, mut cpu) = (Samples::default(), Samples::default(), Samples::default());
    let (mut etcd_ready, mut etcd_cpu) = (Samples::default(), Samples::default());
    for _ in 0..RUNS {
        let cluster = Cluster::new(binaries, "boot")?;
        let (started, mut command) = cluster.spawn_up()?;
        let mut connection = wait("the API's /readyz", LIMIT, PAUSE, async || {
            let mut connection = cluster.target().ok()?.connect().await.ok()?;
            let (status, _) = connection.send(Method::GET, "/readyz", "", Bytes::new()).await.ok()?;
            (status == StatusCode::OK).then_some(connection)
        })
        .await?;
        api.push_time(started.elapsed());
        wait("the node", LIMIT, PAUSE, async || connection.get("/api/v1/nodes/lotse").await.ok().filter(is_ready))
            .await?;
        node.push_time(started.elapsed());
        cpu.push(process::cpu_seconds(cluster.daemon()?));
        if !command.wait()?.success() {
            return Err("`lotse up --detach` failed".into());
        }
        let (etcd, took) = Etcd::start().await?;
        etcd_ready.push_time(took);
        etcd_cpu.push(process::cpu_seconds(etcd.pid()));
    }
    let figures = |samples: &Samples| format!("{:.0} ms, worst {:.0}", samples.median(), samples.max());
    rows.push(
        Row::new(format!("boot: empty directory to API ready (median of {RUNS})"), figures(&api))
            .peer(format!("etcd alone {}", figures(&etcd_ready)))
            .goal("< 500 ms", api.median() < 500.0),
    );
    rows.push(
        Row::new(
            "boot: to node Ready; CPU of the daemon until then",
            format!("{}; {:.2} s", figures(&node), cpu.median()),
        )
        .peer(format!("etcd alone; {:.2} s", etcd_cpu.median()))
        .goal("< 1500 ms", node.median() < 1500.0),
    );
    Ok(())
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}
