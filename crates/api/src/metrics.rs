//! Counts of requests, as Prometheus reads them.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Verbs with a counter of their own, and the rest.
const VERBS: [&str; 9] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "other"];

/// Counters of the server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: [[AtomicU64; 5]; VERBS.len()],
    microseconds: [AtomicU64; VERBS.len()],
    watches: Arc<AtomicI64>,
}

/// Counts something as long as it lives.
#[derive(Debug)]
pub(crate) struct Gauge(Arc<AtomicI64>);

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// One answered request.
    pub(crate) fn answered(&self, verb: &str, code: u16, took: Duration) {
        let index = VERBS.iter().position(|v| *v == verb).unwrap_or(VERBS.len() - 1);
        let class = usize::from((code / 100).clamp(1, 5)) - 1;
        if let Some(counter) = self.requests.get(index).and_then(|row| row.get(class)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(sum) = self.microseconds.get(index) {
            sum.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// One running watch.
    pub(crate) fn watch(&self) -> Gauge {
        self.watches.fetch_add(1, Ordering::Relaxed);
        Gauge(self.watches.clone())
    }

    /// The text format.
    pub(crate) fn render(&self, revision: u64) -> String {
        let mut text = String::from("# TYPE apiserver_request_total counter\n");
        for (verb, classes) in VERBS.iter().zip(&self.requests) {
            for (class, count) in classes.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let _ =
                        writeln!(text, "apiserver_request_total{{verb=\"{verb}\",code=\"{}xx\"}} {count}", class + 1);
                }
            }
        }
        text.push_str("# TYPE apiserver_request_seconds_total counter\n");
        for (verb, sum) in VERBS.iter().zip(&self.microseconds) {
            let sum = sum.load(Ordering::Relaxed);
            if sum > 0 {
                let _ = writeln!(text, "apiserver_request_seconds_total{{verb=\"{verb}\"}} {}", sum as f64 / 1e6);
            }
        }
        let _ = writeln!(
            text,
            "# TYPE apiserver_watches gauge\napiserver_watches {}",
            self.watches.load(Ordering::Relaxed)
        );
        let _ = writeln!(text, "# TYPE apiserver_store_revision counter\napiserver_store_revision {revision}");
        text
    }
}
