//! Pods of a cached image: how fast they start, what twenty of them cost, and that a killed daemon does not disturb them.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, StatusCode};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{
    Result,
    client::{Connection, Seen},
    cluster::{Cluster, wait},
    etcd::Etcd,
    load, process,
    report::Row,
    stats::Samples,
};

const IMAGE: &str = "lotse.dev/bench:v1";
const SINGLE: usize = 100;
const BURST: usize = 20;
const BURSTS: usize = 5;
const RESTARTS: usize = 5;
const SETTLE: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(60);
/// A pod that takes longer is explained.
const SLOW: Duration = Duration::from_secs(2);

pub(super) async fn run(binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let cluster = Cluster::started(binaries, "pods")?;
    cluster.import("students", IMAGE)?;
    let mut pods = Pods::open(&cluster).await?;
    pods.warm_up().await?;
    start(&mut pods, rows).await?;
    let names: Vec<String> = (0..BURST).map(|number| format!("idle-{number}")).collect();
    pods.start(&names).await?;
    idle(&cluster, rows).await?;
    restart(&cluster, rows).await
}

/// Pod created → Running as the client sees it: from sending the request to reading the watch event.
async fn start(pods: &mut Pods, rows: &mut Vec<Row>) -> Result<()> {
    let mut single = Samples::default();
    for number in 0..SINGLE {
        let names = [format!("single-{number}")];
        single.extend(pods.start(&names).await?.0);
        pods.remove(&names).await?;
    }
    let (mut burst, mut whole) = (Samples::default(), Samples::default());
    for round in 0..BURSTS {
        let names: Vec<String> = (0..BURST).map(|number| format!("burst-{round}-{number}")).collect();
        let (times, all) = pods.start(&names).await?;
        burst.extend(times);
        whole.push_time(all);
        pods.remove(&names).await?;
    }
    let text = |samples: &Samples| format!("{:.0} ms, p99 {:.0} ms", samples.median(), samples.p99());
    rows.push(
        Row::new(format!("pod of a cached image, created to Running (median, p99 of {SINGLE})"), text(&single))
            .goal("< 150 / < 500 ms", single.median() < 150.0 && single.p99() < 500.0),
    );
    rows.push(
        Row::new(
            format!("the same in bursts of {BURST} ({BURSTS} bursts); the whole burst"),
            format!("{}; {:.0} ms = {:.0} pods/s", text(&burst), whole.median(), BURST as f64 * 1e3 / whole.median()),
        )
        .goal("p99 < 500 ms", burst.p99() < 500.0),
    );
    Ok(())
}

async fn idle(cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    let (etcd, _) = Etcd::start().await?;
    tokio::time::sleep(SETTLE).await;
    let daemon = cluster.daemon()?;
    let shims = process::shims(&cluster.run_dir());
    let cpu = |pids: &[u32]| pids.iter().map(|pid| process::cpu_seconds(*pid)).sum::<f64>();
    let (began, before) = (Instant::now(), (cpu(&[daemon]), cpu(&shims), cpu(&[etcd.pid()])));
    tokio::time::sleep(IDLE).await;
    let percent = |before: f64, now: f64| (now - before) * 100.0 / began.elapsed().as_secs_f64();
    let ours = (percent(before.0, cpu(&[daemon])), percent(before.1, cpu(&shims)));
    let peer = percent(before.2, cpu(&[etcd.pid()]));
    rows.push(
        Row::new(
            format!("idle processor use, {BURST} pods, of one core over {} s", IDLE.as_secs()),
            format!("{:.2} % (daemon {:.2}, {} shims {:.2})", ours.0 + ours.1, ours.0, shims.len(), ours.1),
        )
        .peer(format!("etcd alone, empty {peer:.2} %"))
        .goal("< 2 %", ours.0 + ours.1 < 2.0),
    );
    Ok(())
}

/// `kill -9` of the daemon and a new start: the containers must not notice.
async fn restart(cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    let cgroup = format!("/lotse-{}/", cluster.profile());
    let (mut api, mut node) = (Samples::default(), Samples::default());
    let (mut containers, mut undisturbed) = (0, true);
    for _ in 0..RESTARTS {
        let before = process::in_cgroup(&cgroup);
        containers = before.len();
        let daemon = Pid::from_raw(i32::try_from(cluster.daemon()?)?);
        kill(daemon, Signal::SIGKILL)?;
        // Until the kernel has taken it away it still holds the data directory, and `lotse up` says that it is running.
        wait("the daemon's end", LIMIT, Duration::from_millis(1), async || kill(daemon, None).is_err().then_some(()))
            .await?;
        let (started, mut command) = cluster.spawn_up()?;
        let target = cluster.target()?;
        wait("the API after a crash", LIMIT, Duration::from_millis(2), async || {
            let mut connection = target.connect().await.ok()?;
            let (status, _) = connection.send(Method::GET, "/readyz", "", Bytes::new()).await.ok()?;
            (status == StatusCode::OK).then_some(())
        })
        .await?;
        api.push_time(started.elapsed());
        if !command.wait()?.success() {
            return Err("`lotse up --detach` after a crash failed".into());
        }
        node.push_time(started.elapsed());
        tokio::time::sleep(Duration::from_secs(2)).await;
        undisturbed &= process::in_cgroup(&cgroup) == before;
        let pods = target.connect().await?.get(&collection()).await?;
        undisturbed &=
            pods["items"].as_array().is_some_and(|all| all.len() == BURST && all.iter().all(never_restarted));
    }
    let verdict = if undisturbed { "unchanged, 0 restarts" } else { "CHANGED" };
    rows.push(
        Row::new(
            format!("kill -9 of the daemon with {BURST} pods, start: API back / ready (median of {RESTARTS})"),
            format!("{:.0} ms / {:.0} ms; {containers} processes {verdict}", api.median(), node.median()),
        )
        .goal("undisturbed, API < 1 s", undisturbed && api.median() < 1000.0),
    );
    Ok(())
}

fn never_restarted(pod: &Value) -> bool {
    let running = pod["status"]["phase"] == "Running";
    let statuses = pod["status"]["containerStatuses"].as_array();
    running && statuses.is_some_and(|all| all.iter().all(|status| status["restartCount"] == 0))
}

fn collection() -> String {
    format!("/api/v1/namespaces/{}/pods", load::NAMESPACE)
}

/// The pods of the benchmark's namespace, and a watch of them.
struct Pods {
    connection: Connection,
    watch: UnboundedReceiver<Seen>,
}

impl Pods {
    async fn open(cluster: &Cluster) -> Result<Self> {
        let target = cluster.target()?;
        let mut connection = target.connect().await?;
        let namespace = json!({"metadata": {"name": load::NAMESPACE}}).to_string();
        connection.create("/api/v1/namespaces", namespace.into()).await?;
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/default", load::NAMESPACE);
        wait("the service account", LIMIT, Duration::from_millis(10), async || connection.get(&path).await.ok())
            .await?;
        Ok(Self { connection, watch: target.watch(&collection()).await? })
    }

    async fn warm_up(&mut self) -> Result<()> {
        for number in 0..3 {
            let names = [format!("warm-{number}")];
            self.start(&names).await?;
            self.remove(&names).await?;
        }
        Ok(())
    }

    /// Creates pods one right after the other; how long each took to be Running, and all of them together.
    async fn start(&mut self, names: &[String]) -> Result<(Samples, Duration)> {
        let began = Instant::now();
        let mut sent = HashMap::new();
        for name in names {
            sent.insert(name.clone(), Instant::now());
            self.connection.create(&collection(), pod(name)).await?;
        }
        let mut times = Samples::default();
        let mut last = began;
        while !sent.is_empty() {
            let seen = self.next().await?;
            if seen.object()["status"]["phase"] == "Running"
                && let Some(at) = sent.remove(seen.name())
            {
                times.push_time(seen.at - at);
                last = seen.at;
                if seen.at - at > SLOW {
                    self.explain(seen.name(), seen.at - at).await?;
                }
            }
        }
        Ok((times, last - began))
    }

    /// Says on standard error what happened to a pod that took far too long: the table shows only that one did.
    async fn explain(&mut self, name: &str, took: Duration) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}/events?fieldSelector=involvedObject.name={name}", load::NAMESPACE);
        let events = self.connection.get(&path).await?;
        eprintln!("{name} took {} ms to be Running:", took.as_millis());
        for event in events["items"].as_array().into_iter().flatten() {
            eprintln!("  {} {}: {}", event["firstTimestamp"], event["reason"], event["message"]);
        }
        Ok(())
    }

    async fn remove(&mut self, names: &[String]) -> Result<()> {
        let mut waiting: Vec<&str> = names.iter().map(String::as_str).collect();
        for name in names {
            self.connection.delete(&format!("{}/{name}", collection())).await?;
        }
        while !waiting.is_empty() {
            let seen = self.next().await?;
            if seen.event["type"] == "DELETED" {
                waiting.retain(|name| *name != seen.name());
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Seen> {
        let seen = tokio::time::timeout(LIMIT, self.watch.recv()).await.map_err(|_| "no pod changes any more")?;
        Ok(seen.ok_or("the watch of the pods has ended")?)
    }
}

fn pod(name: &str) -> Bytes {
    let container = json!({"name": "main", "image": IMAGE, "command": ["/bin/busybox", "sleep", "100000"]});
    json!({"metadata": {"name": name}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}})
        .to_string()
        .into()
}
