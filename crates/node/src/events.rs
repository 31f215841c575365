//! Events as the kubelet writes them, through a bounded queue: writing one never delays a pod.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::{sync::mpsc, time::Instant};

use crate::probes::cut;

/// Events beyond this many that wait to be written are dropped.
const QUEUE: usize = 512;
/// The kubelet's spam filter: so many events of one object at once, then one more every [`REFILL_SECONDS`].
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
/// Longest note that the API takes.
const MAX_NOTE: usize = 1024;
/// Objects whose rate is remembered.
const MAX_TRACKED: usize = 4096;

/// Takes events; cloning shares the queue.
#[derive(Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<(ObjectReference, Event)>,
}

/// The severity of an event.
pub(crate) use kube::runtime::events::EventType as Severity;

// === impl Events ===

impl Events {
    /// The queue, and the future that writes it.
    pub(crate) fn new(client: Client, node_name: &str) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let reporter = Reporter { controller: "kubelet".into(), instance: Some(node_name.to_owned()) };
        (Self { queue }, write(receiver, Recorder::new(client, reporter)))
    }

    /// An event about the pod, or about one of its containers.
    pub(crate) fn pod(
        &self,
        pod: &Pod,
        container: Option<&str>,
        severity: Severity,
        reason: &str,
        note: impl Into<String>,
    ) {
        let mut reference = pod.object_ref(&());
        let init = || {
            let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
            inits.into_iter().any(|init| Some(init.name.as_str()) == container)
        };
        let list = if init() { "initContainers" } else { "containers" };
        reference.field_path = container.map(|name| format!("spec.{list}{{{name}}}"));
        self.send(reference, severity, reason, note.into());
    }

    /// An event about the node.
    pub(crate) fn node(&self, name: &str, severity: Severity, reason: &str, note: impl Into<String>) {
        let reference = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(name.to_owned()),
            uid: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        self.send(reference, severity, reason, note.into());
    }

    fn send(&self, reference: ObjectReference, severity: Severity, reason: &str, mut note: String) {
        cut(&mut note, MAX_NOTE);
        // Events that differ in their words must not be counted as one: the recorder tells them apart by action.
        let mut action = note.clone();
        cut(&mut action, 128);
        let event = Event { type_: severity, reason: reason.to_owned(), note: Some(note), action, secondary: None };
        if self.queue.try_send((reference, event)).is_err() {
            tracing::debug!(reason, "event dropped, the queue is full");
        }
    }
}

async fn write(mut queue: mpsc::Receiver<(ObjectReference, Event)>, recorder: Recorder) {
    let mut buckets: HashMap<String, (f64, Instant)> = HashMap::new();
    while let Some((reference, event)) = queue.recv().await {
        if buckets.len() > MAX_TRACKED {
            buckets.retain(|_, (_, seen)| seen.elapsed().as_secs_f64() < REFILL_SECONDS);
        }
        let key = format!("{:?}/{:?}", reference.uid, reference.field_path);
        let (tokens, seen) = buckets.entry(key).or_insert((BURST, Instant::now()));
        *tokens = (*tokens + seen.elapsed().as_secs_f64() / REFILL_SECONDS).min(BURST);
        *seen = Instant::now();
        if *tokens < 1.0 {
            continue;
        }
        *tokens -= 1.0;
        if let Err(error) = recorder.publish(&event, &reference).await {
            // A namespace that is going away refuses new events; that is no news.
            tracing::debug!(error = %crate::error::chain(&error), reason = event.reason, "event not written");
        }
    }
}

/// Short for a normal event.
pub(crate) const NORMAL: EventType = EventType::Normal;
/// Short for a warning.
pub(crate) const WARNING: EventType = EventType::Warning;
