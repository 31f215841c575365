//! Load on a store: the same objects, the same number of connections and the same loop for us and for the peer.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::{JoinSet, LocalSet},
};

use crate::{
    Result,
    client::{Connection, Grpc, Target},
    etcd::{self, Etcd},
    process,
    stats::Samples,
};

/// Namespace of what is written.
pub(crate) const NAMESPACE: &str = "bench";

/// Size of an object as it is sent.
pub(crate) const OBJECT_BYTES: usize = 1500;

/// Whom to load.
#[derive(Clone)]
pub(crate) enum Server {
    /// A cluster's API and the process behind it.
    Lotse(Target, u32),
    /// etcd's gRPC address and its process.
    Etcd(std::net::SocketAddr, u32),
}

/// A connection to it.
pub(crate) enum Client {
    Lotse(Connection),
    Etcd(Grpc),
}

/// How a run went.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    /// Milliseconds of each write.
    pub(crate) latencies: Samples,
    /// Processor time of the server for a thousand writes, in seconds.
    pub(crate) server_cpu: f64,
    /// The same of this program.
    pub(crate) client_cpu: f64,
}

// === impl Server ===

impl Server {
    pub(crate) fn etcd(etcd: &Etcd) -> Self {
        Self::Etcd(etcd.address(), etcd.pid())
    }

    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Lotse(_, pid) | Self::Etcd(_, pid) => *pid,
        }
    }

    pub(crate) async fn connect(&self) -> Result<Client> {
        Ok(match self {
            Self::Lotse(target, _) => Client::Lotse(target.connect().await?),
            Self::Etcd(address, _) => Client::Etcd(Grpc::connect(*address).await?),
        })
    }

    async fn connections(&self, count: usize) -> Result<Vec<Client>> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(self.connect().await?);
        }
        Ok(clients)
    }

    /// `count` creates by `clients` clients, each waiting for its answer before it sends the next.
    pub(crate) async fn closed_loop(&self, run: &str, clients: usize, count: usize) -> Result<Outcome> {
        let clients = self.connections(clients).await?;
        let meter = Meter::start(self.pid());
        let next = Rc::new(Cell::new(0));
        let tasks = LocalSet::new();
        let mut running = JoinSet::new();
        for mut client in clients {
            let (next, run) = (next.clone(), run.to_owned());
            running.spawn_local_on(
                async move {
                    let mut latencies = Samples::default();
                    while next.get() < count {
                        let number = next.replace(next.get() + 1);
                        let started = Instant::now();
                        client.create(&run, number).await?;
                        latencies.push_time(started.elapsed());
                    }
                    Ok::<_, crate::Error>(latencies)
                },
                &tasks,
            );
        }
        let latencies = tasks.run_until(gather(running)).await?;
        Ok(meter.finish(latencies))
    }

    /// Creates at a fixed rate, however long the answers take; times count from the moment at which a create was due.
    pub(crate) async fn open_loop(&self, run: &str, per_second: u32, count: usize) -> Result<Outcome> {
        let (give, mut free) = mpsc::unbounded_channel();
        for client in self.connections(64).await? {
            give.send(client)?;
        }
        let meter = Meter::start(self.pid());
        let tasks = LocalSet::new();
        let latencies = tasks
            .run_until(async {
                let started = tokio::time::Instant::now();
                let mut running = JoinSet::new();
                for number in 0..count {
                    let due = started + Duration::from_secs(1) * u32::try_from(number)? / per_second;
                    tokio::time::sleep_until(due).await;
                    let mut client = free.recv().await.ok_or("no client is left")?;
                    let (give, run) = (give.clone(), run.to_owned());
                    running.spawn_local(async move {
                        client.create(&run, number).await?;
                        let mut latencies = Samples::default();
                        latencies.push_time(due.elapsed());
                        let _ = give.send(client);
                        Ok::<_, crate::Error>(latencies)
                    });
                }
                gather(running).await
            })
            .await?;
        Ok(meter.finish(latencies))
    }

    /// Removes everything that runs have written.
    pub(crate) async fn clear(&self) -> Result<()> {
        match self.connect().await? {
            Client::Lotse(mut connection) => connection.delete(&collection()).await,
            Client::Etcd(mut grpc) => {
                grpc.call(etcd::DELETE_RANGE, &etcd::range(collection().as_bytes(), true)).await.map(drop)
            }
        }
    }
}

async fn gather(mut running: JoinSet<Result<Samples>>) -> Result<Samples> {
    let mut all = Samples::default();
    while let Some(joined) = running.join_next().await {
        all.extend(joined??);
    }
    Ok(all)
}

// === impl Client ===

impl Client {
    /// Writes a new object.
    pub(crate) async fn create(&mut self, run: &str, number: usize) -> Result<()> {
        let name = format!("{run}-{number}");
        let object = config_map(&name);
        match self {
            Self::Lotse(connection) => connection.create(&collection(), object).await,
            Self::Etcd(grpc) => {
                let key = format!("{}/{name}", collection());
                grpc.call(etcd::PUT, &etcd::put(key.as_bytes(), &object)).await.map(drop)
            }
        }
    }

    /// Reads everything that was written in one answer; its size in bytes.
    pub(crate) async fn list(&mut self) -> Result<usize> {
        match self {
            Self::Lotse(connection) => {
                Ok(connection.send(http::Method::GET, &collection(), "", Bytes::new()).await?.1.len())
            }
            Self::Etcd(grpc) => Ok(grpc.call(etcd::RANGE, &etcd::range(collection().as_bytes(), true)).await?.len()),
        }
    }
}

/// Path of the collection that is written to; also the prefix of the peer's keys.
pub(crate) fn collection() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps")
}

/// A ConfigMap of [`OBJECT_BYTES`] bytes.
fn config_map(name: &str) -> Bytes {
    let object = |filler: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": filler}})
            .to_string()
    };
    let filler = OBJECT_BYTES.saturating_sub(object("").len());
    object(&"x".repeat(filler)).into()
}

/// Time and processor time from now on.
struct Meter {
    started: Instant,
    server: u32,
    server_cpu: f64,
    client_cpu: f64,
}

impl Meter {
    fn start(server: u32) -> Self {
        let client_cpu = process::cpu_seconds(std::process::id());
        Self { started: Instant::now(), server, server_cpu: process::cpu_seconds(server), client_cpu }
    }

    fn finish(&self, latencies: Samples) -> Outcome {
        let seconds = self.started.elapsed().as_secs_f64();
        let thousands = latencies.len() as f64 / 1e3;
        Outcome {
            per_second: latencies.len() as f64 / seconds,
            latencies,
            server_cpu: (process::cpu_seconds(self.server) - self.server_cpu) / thousands,
            client_cpu: (process::cpu_seconds(std::process::id()) - self.client_cpu) / thousands,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_promised_size() {
        assert_eq!(config_map("a").len(), OBJECT_BYTES);
        assert_eq!(config_map("a-long-name-12345").len(), OBJECT_BYTES);
    }
}
