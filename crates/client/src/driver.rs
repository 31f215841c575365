//! The one loop that runs reconcilers: a queue of keys with delay, deduplication, single flight and backoff.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::core::Status;
use tokio::{
    sync::{Notify, broadcast::error::RecvError},
    task::JoinSet,
    time::Instant,
};

use crate::{Change, Informer, Key, Object};

/// First delay after a failure; it doubles up to [`BACKOFF_MAX`] and is forgotten after a success.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// So many times in a row a race with another writer is not worth a warning.
const RACES: u32 = 3;

/// A reconciler that takes longer is broken: it is cancelled and tried again with backoff.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a reconciler wants next for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Done,
    /// Look again after this time, even if nothing changes.
    After(Duration),
}

/// Compares desired with observed for one key and takes one idempotent step.
///
/// It gets no more than the key, so the path after a restart is the path of every day: it reads the state itself and
/// must cope with the object being gone. It does not retry inside; an error is retried by the driver with backoff.
pub trait Reconciler: Send + Sync + 'static {
    /// Why a step failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// For logs and metrics, e.g. `deployment`.
    fn name(&self) -> &'static str;

    /// One step for `key`. Never runs twice at once for one key.
    fn reconcile(&self, key: &Key) -> impl Future<Output = Result<Next, Self::Error>> + Send;
}

/// Runs a [`Reconciler`] for every key that its sources name.
pub struct Driver<R> {
    reconciler: Arc<R>,
    queue: Arc<Queue>,
    concurrency: usize,
    sources: JoinSet<()>,
}

// === impl Driver ===

impl<R: Reconciler> Driver<R> {
    /// A driver without sources. Must be called within a tokio runtime.
    pub fn new(reconciler: R) -> Self {
        Self { reconciler: Arc::new(reconciler), queue: Arc::default(), concurrency: 8, sources: JoinSet::new() }
    }

    /// How many keys may be reconciled at once (8 unless told).
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.max(1);
        self
    }

    /// Reconciles the keys that `keys` derives from each object of `informer`, now and whenever it changes or goes.
    #[must_use]
    pub fn on<K: Object>(
        mut self,
        informer: &Informer<K>,
        keys: impl Fn(&K) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        let (informer, queue) = (informer.clone(), self.queue.clone());
        self.sources.spawn(async move {
            let mut changes = informer.subscribe();
            let add = |object: &K| keys(object).into_iter().for_each(|key| queue.add(key));
            informer.ready().await;
            informer.list().iter().for_each(|object| add(object));
            loop {
                match changes.recv().await {
                    Ok(Change::Applied(object) | Change::Deleted(object)) => add(&object),
                    Err(RecvError::Lagged(_)) => informer.list().iter().for_each(|object| add(object)),
                    Err(RecvError::Closed) => return,
                }
            }
        });
        self
    }

    /// Reconciles the objects of `informer` themselves.
    #[must_use]
    pub fn on_kind<K: Object>(self, informer: &Informer<K>) -> Self {
        self.on(informer, |object| vec![Key::of(object)])
    }

    /// Reconciles the controllers (owner references with `controller: true` and kind `Owner`) of `informer`'s objects.
    #[must_use]
    pub fn on_owned<Owner: Object, K: Object>(self, informer: &Informer<K>) -> Self {
        self.on(informer, |object| {
            let meta = object.meta();
            meta.owner_references
                .iter()
                .flatten()
                .filter(|owner| owner.controller == Some(true) && owner.kind == Owner::kind(&()))
                .map(|owner| Key { namespace: meta.namespace.clone(), name: owner.name.clone() })
                .collect()
        })
    }

    /// A handle that adds keys from outside (file events, timers).
    pub fn trigger(&self) -> impl Fn(Key) + Send + Sync + Clone + 'static {
        let queue = self.queue.clone();
        move |key| queue.add(key)
    }

    /// Runs until the returned future is dropped; running reconciles are cancelled then.
    pub async fn run(self) {
        let mut running: JoinSet<(Key, Option<Next>)> = JoinSet::new();
        // Keeps the sources alive; dropping the set aborts them.
        let _sources = self.sources;
        let mut failures: HashMap<Key, u32> = HashMap::new();
        loop {
            while running.len() < self.concurrency {
                let Some(key) = self.queue.start() else { break };
                let failed = failures.get(&key).copied().unwrap_or(0);
                running.spawn(step(self.reconciler.clone(), key, failed));
            }
            let wake = self.queue.next_due();
            tokio::select! {
                () = self.queue.changed.notified() => {}
                () = sleep_until(wake), if running.len() < self.concurrency => {}
                Some(done) = running.join_next(), if !running.is_empty() => {
                    let Ok((key, outcome)) = done else {
                        // `step` catches panics by running the reconcile in its own task.
                        continue;
                    };
                    let delay = match outcome {
                        Some(next) => {
                            failures.remove(&key);
                            match next { Next::Done => None, Next::After(delay) => Some(delay) }
                        }
                        None => {
                            let count = failures.entry(key.clone()).or_default();
                            let delay = BACKOFF_MAX.min(BACKOFF_MIN.saturating_mul(1 << (*count).min(16)));
                            *count += 1;
                            Some(delay)
                        }
                    };
                    self.queue.finish(key, delay);
                }
            }
        }
    }
}

impl<R> fmt::Debug for Driver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}

/// One reconcile after `failed` failures in a row; `None` when it failed, panicked or took too long, which is logged here and
/// nowhere else.
async fn step<R: Reconciler>(reconciler: Arc<R>, key: Key, failed: u32) -> (Key, Option<Next>) {
    let name = reconciler.name();
    let task = {
        let key = key.clone();
        let mut set = JoinSet::new();
        set.spawn(async move { tokio::time::timeout(DEADLINE, reconciler.reconcile(&key)).await });
        set.join_next().await
    };
    let outcome = match task {
        Some(Ok(Ok(Ok(next)))) => Some(next),
        Some(Ok(Ok(Err(error)))) if in_vain(&error) => {
            tracing::debug!(controller = name, %key, error = %chain(&error), "reconcile ended with its namespace");
            Some(Next::Done)
        }
        Some(Ok(Ok(Err(error)))) if failed < RACES && is_race(&error) => {
            tracing::debug!(controller = name, %key, error = %chain(&error), "reconcile was overtaken");
            None
        }
        Some(Ok(Ok(Err(error)))) => {
            tracing::warn!(controller = name, %key, error = %chain(&error), "reconcile failed");
            None
        }
        Some(Ok(Err(_))) => {
            tracing::error!(controller = name, %key, "reconcile exceeded {DEADLINE:?} and was cancelled");
            None
        }
        Some(Err(panic)) => {
            tracing::error!(controller = name, %key, %panic, "reconcile panicked");
            None
        }
        None => None,
    };
    (key, outcome)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What the API has said, if that is at the bottom of an error.
fn status_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Status> {
    let mut next = Some(error);
    while let Some(error) = next {
        let status = as_status(error);
        if status.is_some() {
            return status;
        }
        next = error.source();
    }
    None
}

fn as_status<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Status> {
    // The errors of all crates hold it in a box.
    let boxed = || error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
    match error.downcast_ref().or_else(boxed) {
        Some(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

/// Nothing can be made any more in a namespace that is going, and what is there goes too: trying again is noise.
fn in_vain(error: &(dyn std::error::Error + 'static)) -> bool {
    let details = status_of(error).and_then(|status| status.details.as_ref());
    details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}

/// Somebody else has changed or deleted the object since it was read: ordinary, unless it happens again and again.
fn is_race(error: &(dyn std::error::Error + 'static)) -> bool {
    status_of(error).is_some_and(|status| matches!(status.code, 404 | 409))
}

/// The error and its sources in one line; of an answer of the API only its sentence.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        match as_status(error) {
            Some(status) => {
                text.push_str(&status.message);
                break;
            }
            None => text.push_str(&error.to_string()),
        }
        next = error.source();
    }
    text
}

/// Keys that wait, that are due at a time, and that run; a key that is named while it runs is run again afterwards.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    waiting: HashSet<Key>,
    running: HashSet<Key>,
    again: HashSet<Key>,
    due: BTreeSet<(Instant, Key)>,
    due_at: HashMap<Key, Instant>,
}

// === impl Queue ===

impl Queue {
    fn add(&self, key: Key) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.push(key);
        drop(state);
        self.changed.notify_one();
    }

    fn start(&self) -> Option<Key> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while let Some((at, key)) = state.due.first().cloned() {
            if at > now {
                break;
            }
            state.due.pop_first();
            state.due_at.remove(&key);
            state.push(key);
        }
        let key = state.ready.pop_front()?;
        state.waiting.remove(&key);
        state.running.insert(key.clone());
        Some(key)
    }

    fn finish(&self, key: Key, delay: Option<Duration>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running.remove(&key);
        if let Some(delay) = delay {
            let at = Instant::now() + delay;
            if let Some(old) = state.due_at.insert(key.clone(), at) {
                state.due.remove(&(old, key.clone()));
            }
            state.due.insert((at, key.clone()));
        }
        if state.again.remove(&key) {
            state.push(key);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ready.is_empty() { state.due.first().map(|(at, _)| *at) } else { Some(Instant::now()) }
    }
}

// === impl State ===

impl State {
    fn push(&mut self, key: Key) {
        if self.running.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
