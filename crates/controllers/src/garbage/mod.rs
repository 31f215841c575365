//! The garbage collector: what nobody owns any more goes; deletion in the foreground waits for what is owned; orphaning
//! cuts the references first. Generic for every kind the server has.
//!
//! It watches the metadata of all kinds (never their content) and keeps a graph of uids. Before it deletes, it asks the
//! server itself whether the owner is really gone and whether the object is still the one it knows.

mod graph;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::{ApiResource, DynamicObject, ObjectMeta, PartialObjectMeta},
    runtime::{WatchStreamExt, watcher},
};
use lotse_client::{Driver, Key, Next};
use serde_json::json;
use tokio::{sync::Notify, task::JoinSet};

use self::graph::{FOREGROUND, Graph, Node, ORPHAN, Owner, Propagation, Verdict};
use crate::{
    Context, Error,
    context::{Controller, Managed},
    discovery,
};

/// Kinds that are watched for nothing: Events have no owners and come by the thousand.
const IGNORED: [&str; 1] = ["Event"];
/// How long to wait for more news of CustomResourceDefinitions before looking at the list of kinds again.
const SETTLE: Duration = Duration::from_millis(200);
/// The list of kinds is looked at again at least this often.
const REDISCOVER: Duration = Duration::from_secs(300);

/// What watches and the reconciler share.
#[derive(Default)]
struct Shared {
    graph: Mutex<Graph>,
    /// Kinds whose first list is not complete.
    unsynced: AtomicUsize,
    /// A CustomResourceDefinition changed.
    kinds_changed: Notify,
    /// Puts a uid into the queue; set once the queue exists.
    queue: OnceLock<Box<dyn Fn(Key) + Send + Sync>>,
}

struct Collector {
    shared: Arc<Shared>,
}

// === impl Shared ===

impl Shared {
    fn enqueue(&self, uid: &str) {
        if let Some(queue) = self.queue.get() {
            queue(Key::cluster(uid));
        }
    }
}

/// Runs the collector until dropped.
pub(crate) async fn run(context: Context) {
    let shared = Arc::new(Shared::default());
    // Until the first discovery nothing counts as known.
    shared.unsynced.store(1, Ordering::SeqCst);
    let driver = Driver::new(Managed::new(Collector { shared: shared.clone() }, &context));
    // Set here only, so it cannot be set already.
    let _ = shared.queue.set(Box::new(driver.trigger()));
    tokio::join!(driver.run(), keep_watching(context, shared));
}

/// Keeps exactly one metadata watch per kind that the server has.
async fn keep_watching(context: Context, shared: Arc<Shared>) {
    let mut watches: HashMap<String, (ApiResource, JoinSet<()>)> = HashMap::new();
    let mut first = true;
    loop {
        let mut pause = REDISCOVER;
        match discovery::kinds(&context.client()).await {
            Ok(kinds) => {
                let kinds = kinds
                    .into_iter()
                    .filter(|kind| kind.watchable && kind.deletable && !IGNORED.contains(&kind.resource.kind.as_str()));
                let mut found = HashSet::new();
                for kind in kinds {
                    let name = format!("{}/{}/{}", kind.resource.group, kind.resource.version, kind.resource.plural);
                    found.insert(name.clone());
                    watches.entry(name).or_insert_with(|| {
                        shared.unsynced.fetch_add(1, Ordering::SeqCst);
                        let mut task = JoinSet::new();
                        task.spawn(watch(context.clone(), shared.clone(), kind.resource.clone()));
                        (kind.resource, task)
                    });
                }
                let gone: Vec<_> = watches.keys().filter(|name| !found.contains(*name)).cloned().collect();
                for name in gone {
                    if let Some((resource, task)) = watches.remove(&name) {
                        drop(task);
                        forget(&shared, &resource);
                    }
                }
                if std::mem::take(&mut first) {
                    shared.unsynced.fetch_sub(1, Ordering::SeqCst);
                }
            }
            Err(error) => {
                tracing::warn!(error = %error.user_message(), "the garbage collector cannot list the kinds");
                pause = Duration::from_secs(1);
            }
        }
        if tokio::time::timeout(pause, shared.kinds_changed.notified()).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
    }
}

/// Counts its kind as unsynced until its first list is complete, however the watch ends.
struct Unsynced(Arc<Shared>, bool);

impl Unsynced {
    fn done(&mut self) {
        if std::mem::take(&mut self.1) {
            self.0.unsynced.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        self.done();
    }
}

async fn watch(context: Context, shared: Arc<Shared>, resource: ApiResource) {
    let mut unsynced = Unsynced(shared.clone(), true);
    let resource = Arc::new(resource);
    let defines_kinds = resource.kind == "CustomResourceDefinition";
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(context.client(), &*resource);
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let apply = |meta: &ObjectMeta| {
        let affected = shared.graph.lock().unwrap_or_else(PoisonError::into_inner).apply(&resource, meta);
        affected.iter().for_each(|uid| shared.enqueue(uid));
        if defines_kinds {
            shared.kinds_changed.notify_one();
        }
    };
    let remove = |uid: &str| {
        let affected = shared.graph.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        affected.iter().for_each(|uid| shared.enqueue(uid));
        if defines_kinds {
            shared.kinds_changed.notify_one();
        }
    };
    let mut stale = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => {
                stale = shared.graph.lock().unwrap_or_else(PoisonError::into_inner).of_kind(&resource);
            }
            Ok(watcher::Event::InitApply(object)) => {
                if let Some(uid) = object.metadata.uid.as_deref() {
                    stale.remove(uid);
                }
                apply(&object.metadata);
            }
            Ok(watcher::Event::InitDone) => {
                std::mem::take(&mut stale).iter().for_each(|uid| remove(uid));
                unsynced.done();
            }
            Ok(watcher::Event::Apply(object)) => apply(&object.metadata),
            Ok(watcher::Event::Delete(object)) => {
                if let Some(uid) = object.metadata.uid.as_deref() {
                    remove(uid);
                }
            }
            Err(error) => {
                // A kind that went with its definition ends here until the next discovery drops this watch.
                tracing::debug!(kind = %resource.kind, %error, "metadata watch failed, retrying");
                shared.kinds_changed.notify_one();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// A kind is gone, and with it its objects.
fn forget(shared: &Shared, resource: &ApiResource) {
    let mut graph = shared.graph.lock().unwrap_or_else(PoisonError::into_inner);
    let uids = graph.of_kind(resource);
    let affected: Vec<_> = uids.iter().flat_map(|uid| graph.remove(uid)).collect();
    drop(graph);
    affected.iter().for_each(|uid| shared.enqueue(uid));
}

impl Controller for Collector {
    const NAME: &'static str = "garbage-collector";

    /// `key.name` is a uid.
    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let uid = key.name.as_str();
        let Some(node) = self.graph(|graph| graph.get(uid).cloned()) else { return Ok(Next::Done) };
        if self.shared.unsynced.load(Ordering::SeqCst) > 0 {
            return Ok(Next::After(Duration::from_millis(50)));
        }
        if node.orphaning {
            return self.orphan(context, uid, &node).await;
        }
        if node.foreground {
            return self.wait_for_dependents(context, uid, &node).await;
        }
        if node.deleting {
            return Ok(Next::Done);
        }
        let api = api_of(context, &node);
        let Some(live) = get(&api, &node).await?.filter(|live| live.uid.as_deref() == Some(uid)) else {
            return Ok(Next::Done);
        };
        if live.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let mut owners = Vec::new();
        for reference in live.owner_references.iter().flatten() {
            let known = self.graph(|graph| graph.owner(&reference.uid));
            let owner = match known {
                Some(owner) => owner,
                None => match owner_on_server(context, reference, live.namespace.as_deref()).await? {
                    Some(owner) => owner,
                    // The kind of the owner is not known to the server (its definition may come back).
                    None => return Ok(Next::After(Duration::from_secs(30))),
                },
            };
            owners.push((reference.clone(), owner));
        }
        let finalizers = live.finalizers.clone().unwrap_or_default();
        match self.graph(|graph| graph.judge(uid, &finalizers, &owners)) {
            Verdict::Keep => {}
            Verdict::Unlink(stale) => {
                let kept: Vec<_> =
                    live.owner_references.iter().flatten().filter(|r| !stale.contains(&r.uid)).cloned().collect();
                patch(&api, &node, &live, json!({"ownerReferences": none_if_empty(kept)})).await?;
            }
            Verdict::Delete(propagation) => {
                let parameters = match propagation {
                    Propagation::Background => DeleteParams::background(),
                    Propagation::Foreground => DeleteParams::foreground(),
                    Propagation::Orphan => DeleteParams::orphan(),
                };
                let only_this =
                    Preconditions { uid: live.uid.clone(), resource_version: live.resource_version.clone() };
                let outcome = api.delete(&node.name, &parameters.preconditions(only_this)).await;
                match outcome.map_err(Error::api("collect", describe(&node))) {
                    Err(error) if error.is_not_found() => {}
                    outcome => drop(outcome?),
                }
            }
        }
        Ok(Next::Done)
    }
}

impl Collector {
    fn graph<T>(&self, look: impl FnOnce(&Graph) -> T) -> T {
        look(&self.shared.graph.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Cuts the references of all dependents, then lets the object go.
    async fn orphan(&self, context: &Context, uid: &str, node: &Node) -> Result<Next, Error> {
        for dependent in self.graph(|graph| graph.dependents(uid, false)) {
            self.unlink(context, &dependent, uid).await?;
        }
        remove_finalizer(context, uid, node, ORPHAN).await
    }

    /// Deletes the dependents; lets the object go when no dependent blocks it any more.
    async fn wait_for_dependents(&self, context: &Context, uid: &str, node: &Node) -> Result<Next, Error> {
        let blocking = self.graph(|graph| graph.dependents(uid, true));
        if blocking.is_empty() {
            return remove_finalizer(context, uid, node, FOREGROUND).await;
        }
        for dependent in self.graph(|graph| graph.dependents(uid, false)) {
            let Some(waits) = self.graph(|graph| graph.get(&dependent).map(|node| node.foreground)) else { continue };
            if waits && self.is_circle(uid, &dependent) {
                // Both wait for each other: the circle is cut here.
                self.unblock(context, &dependent, uid).await?;
            } else {
                // It finds its owner waiting and goes.
                self.shared.enqueue(&dependent);
            }
        }
        Ok(Next::Done)
    }

    /// Whether `uid` depends, through objects that wait, on `dependent`.
    fn is_circle(&self, uid: &str, dependent: &str) -> bool {
        self.graph(|graph| {
            let (mut seen, mut next) = (HashSet::new(), vec![dependent.to_owned()]);
            while let Some(current) = next.pop() {
                if current == uid {
                    return true;
                }
                if seen.insert(current.clone()) {
                    let waits = graph.get(&current).is_some_and(|node| node.foreground);
                    let below = if waits { graph.dependents(&current, true) } else { Vec::new() };
                    next.extend(below.iter().map(ToString::to_string));
                }
            }
            false
        })
    }

    async fn unlink(&self, context: &Context, dependent: &str, owner: &str) -> Result<(), Error> {
        let change = |references: Vec<OwnerReference>| references.into_iter().filter(|r| r.uid != owner).collect();
        self.change_references(context, dependent, change).await
    }

    async fn unblock(&self, context: &Context, dependent: &str, owner: &str) -> Result<(), Error> {
        let change = |mut references: Vec<OwnerReference>| {
            for reference in references.iter_mut().filter(|reference| reference.uid == owner) {
                reference.block_owner_deletion = Some(false);
            }
            references
        };
        self.change_references(context, dependent, change).await
    }

    async fn change_references(
        &self,
        context: &Context,
        uid: &str,
        change: impl FnOnce(Vec<OwnerReference>) -> Vec<OwnerReference>,
    ) -> Result<(), Error> {
        let Some(node) = self.graph(|graph| graph.get(uid).cloned()) else { return Ok(()) };
        let api = api_of(context, &node);
        let Some(live) = get(&api, &node).await?.filter(|live| live.uid.as_deref() == Some(uid)) else { return Ok(()) };
        let references = live.owner_references.clone().unwrap_or_default();
        let changed = change(references.clone());
        if changed != references {
            patch(&api, &node, &live, json!({"ownerReferences": none_if_empty(changed)})).await?;
        }
        Ok(())
    }
}

fn api_of(context: &Context, node: &Node) -> Api<DynamicObject> {
    match &node.namespace {
        Some(namespace) => Api::namespaced_with(context.client(), namespace, &*node.resource),
        None => Api::all_with(context.client(), &*node.resource),
    }
}

fn describe(node: &Node) -> String {
    match &node.namespace {
        Some(namespace) => format!("{} {namespace}/{}", node.resource.kind, node.name),
        None => format!("{} {}", node.resource.kind, node.name),
    }
}

async fn get(api: &Api<DynamicObject>, node: &Node) -> Result<Option<ObjectMeta>, Error> {
    let live = api.get_metadata_opt(&node.name).await.map_err(Error::api("get", describe(node)))?;
    Ok(live.map(|live| live.metadata))
}

/// Null removes the field; an empty list is not what an object without owners has.
fn none_if_empty(references: Vec<OwnerReference>) -> Option<Vec<OwnerReference>> {
    Some(references).filter(|references| !references.is_empty())
}

async fn patch(
    api: &Api<DynamicObject>,
    node: &Node,
    live: &ObjectMeta,
    mut metadata: serde_json::Value,
) -> Result<(), Error> {
    metadata["resourceVersion"] = json!(live.resource_version);
    let parameters =
        PatchParams { field_manager: Some("lotse-garbage-collector".to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let outcome = api.patch_metadata(&node.name, &parameters, &patch).await;
    match outcome.map_err(Error::api("patch", describe(node))) {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome.map(drop),
    }
}

async fn remove_finalizer(context: &Context, uid: &str, node: &Node, finalizer: &str) -> Result<Next, Error> {
    let api = api_of(context, node);
    let Some(live) = get(&api, node).await?.filter(|live| live.uid.as_deref() == Some(uid)) else {
        return Ok(Next::Done);
    };
    let finalizers: Vec<_> = live.finalizers.iter().flatten().filter(|name| *name != finalizer).cloned().collect();
    if Some(&finalizers) != live.finalizers.as_ref() {
        patch(&api, node, &live, json!({"finalizers": finalizers})).await?;
    }
    Ok(Next::Done)
}

/// Asks the server for an owner that no watch has shown. `None` if the server does not know its kind.
async fn owner_on_server(
    context: &Context,
    reference: &OwnerReference,
    namespace: Option<&str>,
) -> Result<Option<Owner>, Error> {
    let kinds = discovery::kinds(&context.client()).await?;
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    let kind = kinds.into_iter().find(|kind| kind.resource.kind == reference.kind && kind.resource.group == group);
    let Some(kind) = kind else { return Ok(None) };
    let api: Api<DynamicObject> = match (kind.namespaced, namespace) {
        (true, Some(namespace)) => Api::namespaced_with(context.client(), namespace, &kind.resource),
        // A cluster-scoped object cannot be owned by a namespaced one.
        (true, None) => return Ok(Some(Owner::Absent)),
        (false, _) => Api::all_with(context.client(), &kind.resource),
    };
    let subject = format!("{} {}", reference.kind, reference.name);
    let live = api.get_metadata_opt(&reference.name).await.map_err(Error::api("get", subject))?;
    let same = live.filter(|live| live.metadata.uid.as_deref() == Some(&reference.uid));
    Ok(Some(same.map_or(Owner::Absent, |live| {
        let foreground = live.metadata.finalizers.iter().flatten().any(|name| name == FOREGROUND);
        if foreground && live.metadata.deletion_timestamp.is_some() { Owner::Waiting } else { Owner::Present }
    })))
}
