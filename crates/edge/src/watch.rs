//! Keeps the served table equal to the cluster, and says on each Ingress what of it could not be honoured.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{
    core::v1::{Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};
use kube::{
    Resource, ResourceExt,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use lotse_client::{Change, Informer, Informers, Key, Object};
use tokio::{
    sync::{Notify, broadcast::error::RecvError, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    build::{Observed, Problem, Problems, build},
    config::Config,
    registry::Registry,
    table::{Backend, Served},
};

/// The least time between two tables: a rollout changes many objects within a moment.
const PACE: Duration = Duration::from_millis(5);

/// Events that wait to be written; beyond it they are dropped with a log line.
const EVENTS_MAX: usize = 256;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

struct Sources {
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    secrets: Informer<Secret>,
}

/// Serves the cluster's state through `served` for ever; `ready` hears when the first table is there.
pub(crate) async fn run(
    informers: Informers,
    config: Config,
    registry: Arc<Registry>,
    served: Arc<Served>,
    ready: oneshot::Sender<()>,
) {
    let sources = Sources {
        ingresses: informers.get(),
        classes: informers.get(),
        services: informers.get(),
        slices: informers.get(),
        secrets: informers.get(),
    };
    let changed = Arc::new(Notify::new());
    let mut watchers = JoinSet::new();
    watchers.spawn(listen(sources.ingresses.clone(), changed.clone(), |_| true));
    watchers.spawn(listen(sources.classes.clone(), changed.clone(), |_| true));
    watchers.spawn(listen(sources.services.clone(), changed.clone(), |_| true));
    watchers.spawn(listen(sources.slices.clone(), changed.clone(), |_| true));
    // Releases and tokens are Secrets too, and no concern of ours.
    watchers.spawn(listen(sources.secrets.clone(), changed.clone(), |secret| {
        !matches!(secret.type_.as_deref(), Some("helm.sh/release.v1" | "kubernetes.io/service-account-token"))
    }));
    sources.ready().await;
    let (events, queue) = mpsc::channel(EVENTS_MAX);
    watchers.spawn(report(informers.clone(), queue));
    let mut ready = Some(ready);
    let mut known = Problems::new();
    loop {
        let started = Instant::now();
        let problems = refresh(&sources, &config, &registry, &served);
        if let Some(ready) = ready.take() {
            let _ = ready.send(());
        }
        announce(&sources, &events, &known, &problems);
        known = problems;
        sleep_until(started + PACE).await;
        changed.notified().await;
    }
}

fn refresh(sources: &Sources, config: &Config, registry: &Registry, served: &Served) -> Problems {
    let observed = sources.observe();
    let (table, problems) = build(&observed, config, registry);
    served.swap(table);
    let table = served.load();
    let lists = table.routes().filter_map(|route| match &route.backend {
        Backend::Endpoints(endpoints) => Some(endpoints.list()),
        Backend::Unavailable(_) => None,
    });
    let used: HashSet<_> = lists.flatten().map(|endpoint| (endpoint.address, endpoint.protocol)).collect();
    registry.forget_unused(|endpoint| used.contains(&(endpoint.address, endpoint.protocol)));
    let names: HashSet<String> =
        observed.ingresses.iter().map(|ingress| Key::of(ingress.as_ref()).to_string()).collect();
    registry.metrics.retain(|name| names.contains(name));
    problems
}

/// Notifies of the changes of `informer` that `concerns` us.
async fn listen<K: Object>(informer: Informer<K>, changed: Arc<Notify>, concerns: fn(&K) -> bool) {
    let mut changes = informer.subscribe();
    loop {
        match changes.recv().await {
            Ok(Change::Applied(object) | Change::Deleted(object)) if !concerns(&object) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => changed.notify_one(),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Queues an Event for each problem that is new.
fn announce(sources: &Sources, events: &mpsc::Sender<(Arc<Ingress>, Problem)>, known: &Problems, now: &Problems) {
    for (key, problems) in now {
        let old = known.get(key);
        for problem in problems.iter().filter(|problem| old.is_none_or(|old| !old.contains(problem))) {
            let Some(ingress) = sources.ingresses.get(key) else { continue };
            tracing::warn!(ingress = %key, reason = problem.reason, "{}", problem.message);
            if events.try_send((ingress, problem.clone())).is_err() {
                tracing::warn!(ingress = %key, "too many events wait; this one is only in the log");
            }
        }
    }
}

async fn report(informers: Informers, mut queue: mpsc::Receiver<(Arc<Ingress>, Problem)>) {
    let reporter = Reporter { controller: "lotse-edge".to_owned(), instance: None };
    let recorder = Recorder::new(informers.client().clone(), reporter);
    while let Some((ingress, problem)) = queue.recv().await {
        let event = Event {
            type_: EventType::Warning,
            reason: problem.reason.to_owned(),
            // The API limits notes to 1 kB.
            note: Some(problem.message.chars().take(1000).collect()),
            action: "Route".to_owned(),
            secondary: None,
        };
        let reference = ingress.object_ref(&());
        let publishing = recorder.publish(&event, &reference);
        match timeout(Duration::from_secs(10), publishing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(ingress = %ingress.name_any(), %error, "cannot write an event"),
            Err(_) => tracing::warn!(ingress = %ingress.name_any(), "writing an event took too long"),
        }
    }
}

// === impl Sources ===

impl Sources {
    async fn ready(&self) {
        self.ingresses.ready().await;
        self.classes.ready().await;
        self.services.ready().await;
        self.slices.ready().await;
        self.secrets.ready().await;
    }

    fn observe(&self) -> Observed {
        let mut slices: HashMap<Key, Vec<Arc<EndpointSlice>>> = HashMap::new();
        for slice in self.slices.list() {
            if let Some(service) = slice.labels().get(SERVICE_NAME_LABEL) {
                let key = Key { namespace: slice.namespace(), name: service.clone() };
                slices.entry(key).or_default().push(slice);
            }
        }
        Observed {
            ingresses: self.ingresses.list(),
            classes: self.classes.list(),
            services: by_key(self.services.list()),
            slices,
            secrets: by_key(self.secrets.list()),
        }
    }
}

fn by_key<K: Object>(objects: Vec<Arc<K>>) -> HashMap<Key, Arc<K>> {
    objects.into_iter().map(|object| (Key::of(object.as_ref()), object)).collect()
}
