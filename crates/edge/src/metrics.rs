//! Counters of what went through, per Ingress.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;

/// Upper bounds of the latency buckets in milliseconds; the last bucket has none.
pub const LATENCY_BOUNDS_MS: [u64; 11] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];

/// Counters of what went through. Cloning is cheap and shares them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    ingresses: Arc<Mutex<HashMap<String, Arc<IngressMetrics>>>>,
    /// Requests that no Ingress was responsible for.
    unrouted: Arc<IngressMetrics>,
    connections: Arc<AtomicU64>,
}

/// Counters of one Ingress.
#[derive(Debug, Default)]
pub struct IngressMetrics {
    /// By class: 1xx to 5xx.
    statuses: [AtomicU64; 5],
    latency: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    latency_sum_us: AtomicU64,
    retries: AtomicU64,
}

// === impl Metrics ===

impl Metrics {
    /// The counters of every Ingress that ever had a request, keyed `namespace/name`; the empty key counts requests that
    /// no Ingress was responsible for.
    pub fn snapshot(&self) -> Vec<(String, Arc<IngressMetrics>)> {
        let ingresses = self.ingresses.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ingresses.iter().map(|(name, metrics)| (name.clone(), metrics.clone()));
        known.chain([(String::new(), self.unrouted.clone())]).collect()
    }

    /// Client connections that are open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    pub(crate) fn ingress(&self, name: &str) -> Arc<IngressMetrics> {
        let mut ingresses = self.ingresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = ingresses.get(name) {
            return metrics.clone();
        }
        ingresses.entry(name.to_owned()).or_default().clone()
    }

    /// Forgets the Ingresses that are not in `names` any more.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.ingresses.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| keep(name));
    }

    pub(crate) fn unrouted(&self) -> &IngressMetrics {
        &self.unrouted
    }

    pub(crate) fn connection_gauge(&self) -> &AtomicU64 {
        &self.connections
    }
}

// === impl IngressMetrics ===

impl IngressMetrics {
    /// Responses by status class: index 0 is 1xx, index 4 is 5xx.
    pub fn statuses(&self) -> [u64; 5] {
        self.statuses.each_ref().map(|counter| counter.load(Relaxed))
    }

    /// Requests per latency bucket (time to the response head), bounds as in [`LATENCY_BOUNDS_MS`], not cumulative.
    pub fn latencies(&self) -> [u64; LATENCY_BOUNDS_MS.len() + 1] {
        self.latency.each_ref().map(|counter| counter.load(Relaxed))
    }

    /// Sum of all latencies in microseconds.
    pub fn latency_sum_us(&self) -> u64 {
        self.latency_sum_us.load(Relaxed)
    }

    /// How often a request was sent again, to another endpoint or on a fresh connection.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    pub(crate) fn count_retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn count(&self, status: StatusCode, latency: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(4);
        self.statuses[class].fetch_add(1, Relaxed);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MS.iter().position(|bound| micros <= bound * 1000);
        self.latency[bucket.unwrap_or(LATENCY_BOUNDS_MS.len())].fetch_add(1, Relaxed);
        self.latency_sum_us.fetch_add(micros, Relaxed);
    }
}
