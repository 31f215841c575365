//! One watch and one cache per kind for the whole process.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use futures::StreamExt;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{broadcast, watch},
    time::timeout,
};

use crate::Key;

/// What a cached type must be able to do. Implemented for every typed Kubernetes object.
pub trait Object: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K> Object for K where K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

/// How many changes a slow subscriber may fall behind before it is told to look at everything again.
const BACKLOG: usize = 4096;

/// A difference between two moments of the cache.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// The object is new or different; this is its state now.
    Applied(Arc<K>),
    /// The object is gone; this is its last known state.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The object that changed.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Change::Applied(object) | Change::Deleted(object) => object,
        }
    }
}

/// The caches of this process. Cloning is cheap and shares them.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    kinds: Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>>,
}

/// A live copy of all objects of one kind, in all namespaces. Cloning is cheap and shares it.
///
/// The copy lags behind the server by about a millisecond in-process. A reconciler that has just written calls
/// [`Informer::observed`] before it next decides from the cache.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    objects: RwLock<HashMap<Key, Arc<K>>>,
    changes: broadcast::Sender<Change<K>>,
    /// `None` until the first list is complete, then the highest revision seen.
    revision: watch::Sender<Option<u64>>,
}

// === impl Informers ===

impl Informers {
    /// Caches that are filled through `client`. No watch starts before [`Informers::get`] asks for its kind.
    pub fn new(client: Client) -> Self {
        Self { client, kinds: Arc::default() }
    }

    /// The client behind the caches, for writes.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The cache of kind `K`; its watch starts with the first call and lives as long as the process. Must be called
    /// within a tokio runtime.
    pub fn get<K: Object>(&self) -> Informer<K> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(informer) = kinds.get(&TypeId::of::<K>()).and_then(|any| any.downcast_ref::<Informer<K>>()) {
            return informer.clone();
        }
        let informer = Informer::<K> {
            shared: Arc::new(Shared {
                objects: RwLock::default(),
                changes: broadcast::channel(BACKLOG).0,
                revision: watch::channel(None).0,
            }),
        };
        kinds.insert(TypeId::of::<K>(), Box::new(informer.clone()));
        tokio::spawn(run(Api::<K>::all(self.client.clone()), informer.shared.clone()));
        informer
    }
}

/// Keeps the cache equal to the server until the process ends; the watcher reconnects with backoff by itself.
async fn run<K: Object>(api: Api<K>, shared: Arc<Shared<K>>) {
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut listed: HashMap<Key, Arc<K>> = HashMap::new();
    while let Some(event) = events.next().await {
        match event.map(without_bookkeeping) {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(Key::of(&object), Arc::new(object));
            }
            Ok(watcher::Event::InitDone) => shared.replace(std::mem::take(&mut listed)),
            Ok(watcher::Event::Apply(object)) => shared.apply(object),
            Ok(watcher::Event::Delete(object)) => shared.delete(object),
            // The API server in this process has been stopped, and so will be whoever watches.
            Err(watcher::Error::WatchStartFailed(kube::Error::Service(error))) => {
                tracing::debug!(kind = %K::kind(&()), %error, "the API is gone");
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), error = %DisplayChain(&error), "watch failed, retrying");
            }
        }
    }
}

/// Drops what no reconciler reads and what is often half of an object: who owns which field.
fn without_bookkeeping<K: Object>(event: watcher::Event<K>) -> watcher::Event<K> {
    event.modify(|object| object.meta_mut().managed_fields = None)
}

// === impl Shared ===

impl<K: Object> Shared<K> {
    fn replace(&self, listed: HashMap<Key, Arc<K>>) {
        let revision = listed.values().filter_map(|object| revision_of(object.as_ref())).max().unwrap_or(0);
        let previous = {
            let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *objects, listed.clone())
        };
        for (key, object) in &previous {
            if !listed.contains_key(key) {
                let _ = self.changes.send(Change::Deleted(object.clone()));
            }
        }
        for (key, object) in listed {
            let same = previous.get(&key).is_some_and(|old| old.resource_version() == object.resource_version());
            if !same {
                let _ = self.changes.send(Change::Applied(object));
            }
        }
        self.advance(revision);
    }

    fn apply(&self, object: K) {
        let (revision, object) = (revision_of(&object), Arc::new(object));
        self.objects.write().unwrap_or_else(PoisonError::into_inner).insert(Key::of(object.as_ref()), object.clone());
        let _ = self.changes.send(Change::Applied(object));
        self.advance(revision.unwrap_or(0));
    }

    fn delete(&self, object: K) {
        let revision = revision_of(&object);
        self.objects.write().unwrap_or_else(PoisonError::into_inner).remove(&Key::of(&object));
        let _ = self.changes.send(Change::Deleted(Arc::new(object)));
        self.advance(revision.unwrap_or(0));
    }

    fn advance(&self, revision: u64) {
        self.revision.send_modify(|seen| *seen = Some(seen.unwrap_or(0).max(revision)));
    }
}

fn revision_of<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

// === impl Informer ===

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Object> Informer<K> {
    /// The object called `key`, if it exists.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.shared.objects.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Every object, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.objects.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The objects for which `predicate` holds, in no order.
    pub fn filter(&self, predicate: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let objects = self.shared.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.values().filter(|object| predicate(object)).cloned().collect()
    }

    /// The objects of one namespace, in no order.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.filter(|object| object.meta().namespace.as_deref() == Some(namespace))
    }

    /// Changes from now on. A receiver that lags must look at [`Informer::list`] again.
    pub fn subscribe(&self) -> broadcast::Receiver<Change<K>> {
        self.shared.changes.subscribe()
    }

    /// Waits until the first list has arrived; before that, an absent object proves nothing.
    pub async fn ready(&self) {
        let mut revision = self.shared.revision.subscribe();
        // The sender lives in `shared`, which we hold: the wait cannot fail.
        let _ = revision.wait_for(Option::is_some).await;
    }

    /// Waits until the cache contains the write that returned `object`, so that the next decision from the cache
    /// knows of it. Gives up after five seconds (a broken watch must not stop a reconciler for good) and says so.
    pub async fn observed(&self, object: &K) -> bool {
        let Some(wanted) = revision_of(object) else { return false };
        let mut revision = self.shared.revision.subscribe();
        timeout(Duration::from_secs(5), revision.wait_for(|seen| seen.is_some_and(|seen| seen >= wanted)))
            .await
            .is_ok_and(|outcome| outcome.is_ok())
    }
}

/// Prints an error with its sources, as one line.
struct DisplayChain<'a>(&'a (dyn std::error::Error + 'a));

impl std::fmt::Display for DisplayChain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
