//! Prints durable writes per second and latencies: `store_bench [DIRECTORY] [SECONDS]`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lotse_store::{Change, Expect, ListOptions, SqliteOptions, SqliteStore, Store};

const KEYS: usize = 10_000;
const VALUE_BYTES: usize = 1024;

fn change(number: usize, expect: Expect) -> Change {
    let key = format!("/registry/bench/{:05}", number % KEYS).into();
    Change::Put { key, expect, encode: Box::new(move |_| Bytes::from(vec![b'x'; VALUE_BYTES])) }
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
}

async fn load(store: &Arc<SqliteStore>, writers: usize, duration: Duration) {
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut number = writer;
                while start.elapsed() < duration {
                    let began = Instant::now();
                    store.commit(change(number, Expect::Present)).await.unwrap();
                    latencies.push(began.elapsed());
                    number += writers;
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(&latencies, share));
    println!("{writers:3} writers: {rate:9.0} writes/s   p50 {p50:.3} ms   p99 {p99:.3} ms   max {max:.1} ms");
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let directory = tempfile::tempdir_in(base).unwrap();
    let path = directory.path().join("store.db");
    let store = Arc::new(SqliteStore::open(&path, SqliteOptions::default()).unwrap());
    let loading: Vec<_> = (0..KEYS).map(|number| tokio::spawn(store.commit(change(number, Expect::Absent)))).collect();
    for task in loading {
        task.await.unwrap().unwrap();
    }
    for writers in [1, 64] {
        load(&store, writers, Duration::from_secs(seconds)).await;
    }
    let began = Instant::now();
    let listed = store.list("/registry/bench/", ListOptions::default()).unwrap().entries.len();
    println!("list of {listed}: {:.3} ms", began.elapsed().as_secs_f64() * 1e3);
    let live = store.statistics().bytes;
    let files: u64 =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    println!("live {:.1} MB, files {:.1} MB under load", live as f64 / 1e6, files as f64 / 1e6);
    store.close();
    drop(store);
    let began = Instant::now();
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    println!("open with {} keys: {:.1} ms", store.count(""), began.elapsed().as_secs_f64() * 1e3);
}
