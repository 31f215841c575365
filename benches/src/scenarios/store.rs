//! Durable writes, long lists and many watchers through the whole API, and the same against etcd alone.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    Result,
    cluster::Cluster,
    etcd::Etcd,
    load::{self, Outcome, Server},
    process,
    report::Row,
    stats::Samples,
};

const RUNS: usize = 5;
const WARM_UP: usize = 500;
/// Objects that a list returns.
const LISTED: usize = 10_000;
const WATCHERS: usize = 100;

pub(super) async fn run(binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let cluster = Cluster::started(binaries, "store")?;
    let (etcd, _) = Etcd::start().await?;
    let ours = Server::Lotse(cluster.target()?, cluster.daemon()?);
    let peer = Server::etcd(&etcd);
    let namespace = serde_json::json!({"metadata": {"name": load::NAMESPACE}}).to_string();
    cluster.target()?.connect().await?.create("/api/v1/namespaces", Bytes::from(namespace)).await?;
    for server in [&ours, &peer] {
        server.closed_loop("warm", 16, WARM_UP).await?;
    }
    creates(&ours, &peer, 1, 2_000, rows).await?;
    creates(&ours, &peer, 64, LISTED, rows).await?;
    steady(&ours, &peer, rows).await?;
    lists(&ours, &peer, rows).await?;
    fan_out(&cluster, &ours, rows).await
}

/// Closed loop: as fast as so many clients go.
async fn creates(ours: &Server, peer: &Server, clients: usize, count: usize, rows: &mut Vec<Row>) -> Result<()> {
    let mut summaries = [Summary::default(), Summary::default()];
    for run in 0..RUNS {
        // Alternating, so that both meet the same moods of the machine.
        for (server, summary) in [ours, peer].into_iter().zip(&mut summaries) {
            server.clear().await?;
            summary.add(server.closed_loop(&format!("create-{clients}-{run}"), clients, count).await?);
        }
    }
    let [ours, peer] = summaries;
    let plural = if clients == 1 { "client" } else { "clients" };
    rows.push(
        Row::new(format!("durable creates of 1.5 KB, {clients} {plural} ({RUNS} x {count})"), ours.text())
            .peer(format!("etcd {}", peer.text()))
            .goal("within 2x of etcd", ours.rate.median() * 2.0 >= peer.rate.median()),
    );
    Ok(())
}

/// Open loop: a rate that everybody can keep up with.
async fn steady(ours: &Server, peer: &Server, rows: &mut Vec<Row>) -> Result<()> {
    let mut latencies = [Samples::default(), Samples::default()];
    for run in 0..RUNS {
        for (server, latencies) in [ours, peer].into_iter().zip(&mut latencies) {
            latencies.extend(server.open_loop(&format!("steady-{run}"), 200, 600).await?.latencies);
        }
    }
    let text = |samples: &Samples| format!("{:.2} ms, p99 {:.2} ms", samples.median(), samples.p99());
    let [ours, peer] = latencies;
    rows.push(
        Row::new("durable create at a steady 200/s, median and p99", text(&ours))
            .peer(format!("etcd {}", text(&peer)))
            .goal("p99 < 20 ms", ours.p99() < 20.0),
    );
    Ok(())
}

async fn lists(ours: &Server, peer: &Server, rows: &mut Vec<Row>) -> Result<()> {
    let mut texts = Vec::new();
    for server in [ours, peer] {
        server.clear().await?;
        server.closed_loop("list", 64, LISTED).await?;
        let mut client = server.connect().await?;
        let (mut times, mut bytes) = (Samples::default(), 0);
        let before = process::memory(server.pid()).rss;
        for _ in 0..RUNS {
            let started = Instant::now();
            bytes = client.list().await?;
            times.push_time(started.elapsed());
        }
        let grown = process::memory(server.pid()).rss - before;
        texts.push(format!("{:.0} ms, {:.1} MB, RSS {grown:+.0} MB", times.median(), bytes as f64 / 1e6));
        server.clear().await?;
    }
    let [ours, peer] = texts.as_slice() else { return Err("two servers are measured".into()) };
    rows.push(Row::new(format!("list of {LISTED} objects in one answer"), ours).peer(format!("etcd {peer}")));
    Ok(())
}

/// From the moment a write is sent until the last of many watchers has it.
async fn fan_out(cluster: &Cluster, ours: &Server, rows: &mut Vec<Row>) -> Result<()> {
    let target = cluster.target()?;
    let before = process::memory(ours.pid()).rss;
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        watchers.push(target.watch(&load::collection()).await?);
    }
    let each = (process::memory(ours.pid()).rss - before) * 1e3 / WATCHERS as f64;
    let mut client = ours.connect().await?;
    let mut delays = Samples::default();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for number in 0..300 {
        pace.tick().await;
        let (sent, name) = (Instant::now(), format!("fan-{number}"));
        client.create("fan", number).await?;
        let mut last = sent;
        for watcher in &mut watchers {
            loop {
                let seen = watcher.recv().await.ok_or("a watch has ended")?;
                if seen.name() == name {
                    last = last.max(seen.at);
                    break;
                }
            }
        }
        delays.push_time(last - sent);
    }
    let mut text = format!("{:.1} ms, p99 {:.1} ms", delays.median(), delays.p99());
    // What the scenario before has left is given back about now, and can be more than the watchers take.
    if each > 0.0 {
        text.push_str(&format!("; {each:.0} KB RSS each"));
    }
    rows.push(Row::new(format!("write at 100/s until the last of {WATCHERS} watchers has it"), text));
    Ok(())
}

/// Several runs of the same load.
#[derive(Default)]
struct Summary {
    rate: Samples,
    p99: Samples,
    server: Samples,
    client: Samples,
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        self.rate.push(outcome.per_second);
        self.p99.push(outcome.latencies.p99());
        self.server.push(outcome.server_cpu);
        self.client.push(outcome.client_cpu);
    }

    fn text(&self) -> String {
        format!(
            "{:.0}/s, p99 {:.2} ms, CPU {:.2} s/1000 (client {:.2})",
            self.rate.median(),
            self.p99.median(),
            self.server.median(),
            self.client.median()
        )
    }
}
