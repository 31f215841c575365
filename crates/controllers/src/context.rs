//! What every controller works with: the caches, writes that wait for their own echo, and Events.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::ObjectMeta,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use lotse_client::{Informer, Informers, Key, Next, Object, Reconciler};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::Error;

/// How long a writer waits for its own write in the cache before it gives up and lets the next reconcile look again.
const ECHO: Duration = Duration::from_secs(5);

/// What the controllers must know about the installation.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the one node, as in `Node.metadata.name`.
    pub node_name: String,
    /// Where the local provisioner keeps one directory per PersistentVolume; absolute, owned by us alone.
    pub volumes_dir: PathBuf,
    /// The certificate authority of the API server (PEM), published as ConfigMap `kube-root-ca.crt` everywhere.
    pub ca_pem: String,
    /// The cluster's DNS domain, e.g. `cluster.local`.
    pub cluster_domain: String,
    /// Terminated pods above this number are deleted, oldest first (Kubernetes: 12500).
    pub terminated_pods_limit: usize,
}

/// A controller: one [`Controller::reconcile`] over a shared [`Context`].
pub(crate) trait Controller: Send + Sync + 'static {
    /// The name in logs; the field manager is `lotse-` and this.
    const NAME: &'static str;

    /// One idempotent step for `key`.
    fn reconcile(&self, context: &Context, key: &Key) -> impl Future<Output = Result<Next, Error>> + Send;
}

/// Runs a [`Controller`] under the shared driver. A conflict is the normal outcome of two writers and only means that
/// the cache was older than the object: it is looked at again soon and not reported as a failure.
pub(crate) struct Managed<C> {
    controller: C,
    context: Context,
}

/// Everything a controller needs; cloning is cheap.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) informers: Informers,
    pub(crate) config: Arc<Config>,
    recorders: Arc<Mutex<HashMap<&'static str, Recorder>>>,
}

// === impl Config ===

impl Config {
    /// A configuration with Kubernetes' defaults for what is not named.
    pub fn new(node_name: impl Into<String>, volumes_dir: impl Into<PathBuf>, ca_pem: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            volumes_dir: volumes_dir.into(),
            ca_pem: ca_pem.into(),
            cluster_domain: "cluster.local".to_owned(),
            terminated_pods_limit: 12_500,
        }
    }
}

// === impl Managed ===

impl<C: Controller> Managed<C> {
    pub(crate) fn new(controller: C, context: &Context) -> Self {
        Self { controller, context: context.clone() }
    }
}

impl<C: Controller> Reconciler for Managed<C> {
    type Error = Error;

    fn name(&self) -> &'static str {
        C::NAME
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        match self.controller.reconcile(&self.context, key).await {
            Err(error) if error.is_conflict() => {
                tracing::debug!(controller = C::NAME, %key, %error, "somebody else wrote first, looking again");
                Ok(Next::After(Duration::from_millis(20)))
            }
            outcome => outcome,
        }
    }
}

// === impl Context ===

impl Context {
    pub(crate) fn new(informers: Informers, config: Config) -> Self {
        Self { informers, config: Arc::new(config), recorders: Arc::default() }
    }

    pub(crate) fn client(&self) -> Client {
        self.informers.client().clone()
    }

    pub(crate) fn cache<K: Object>(&self) -> Informer<K> {
        self.informers.get()
    }

    /// The API of `K` in `namespace`.
    pub(crate) fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// Creates `object` in its namespace and waits until the cache knows it.
    pub(crate) async fn create<K>(&self, manager: &'static str, object: &K) -> Result<K, Error>
    where
        K: Object + Resource<Scope = NamespaceResourceScope> + Serialize,
    {
        let api = self.namespaced::<K>(&object.namespace().unwrap_or_default());
        self.create_with(api, manager, object).await
    }

    /// Creates `object` through `api` and waits until the cache knows it.
    pub(crate) async fn create_with<K>(&self, api: Api<K>, manager: &'static str, object: &K) -> Result<K, Error>
    where
        K: Object + Serialize,
    {
        let parameters = PostParams { dry_run: false, field_manager: Some(field_manager(manager)) };
        let created = api.create(&parameters, object).await.map_err(Error::api("create", describe(object)))?;
        self.cache::<K>().observed(&created).await;
        Ok(created)
    }

    /// Replaces `object` (with its resourceVersion) through `api` and waits until the cache knows it.
    pub(crate) async fn replace_with<K>(&self, api: Api<K>, manager: &'static str, object: &K) -> Result<K, Error>
    where
        K: Object + Serialize,
    {
        let parameters = PostParams { dry_run: false, field_manager: Some(field_manager(manager)) };
        let replaced = api
            .replace(&object.name_any(), &parameters, object)
            .await
            .map_err(Error::api("update", describe(object)))?;
        self.cache::<K>().observed(&replaced).await;
        Ok(replaced)
    }

    /// A JSON merge patch that only applies to the very state of `object` that was looked at (its resourceVersion).
    pub(crate) async fn merge_with<K>(
        &self,
        api: Api<K>,
        manager: &'static str,
        object: &K,
        patch: Value,
    ) -> Result<K, Error>
    where
        K: Object + Serialize,
    {
        let patch = at_revision(object.meta(), patch);
        let parameters = PatchParams { field_manager: Some(field_manager(manager)), ..PatchParams::default() };
        let patched = api
            .patch(&object.name_any(), &parameters, &Patch::Merge(patch))
            .await
            .map_err(Error::api("patch", describe(object)))?;
        self.cache::<K>().observed(&patched).await;
        Ok(patched)
    }

    /// [`Context::merge_with`] in the object's own namespace.
    pub(crate) async fn merge<K>(&self, manager: &'static str, object: &K, patch: Value) -> Result<K, Error>
    where
        K: Object + Resource<Scope = NamespaceResourceScope> + Serialize,
    {
        let api = self.namespaced::<K>(&object.namespace().unwrap_or_default());
        self.merge_with(api, manager, object, patch).await
    }

    /// Writes `new` as the status of `object` if it differs from `old`; only the difference is sent.
    pub(crate) async fn status_with<K, S: Serialize>(
        &self,
        api: Api<K>,
        manager: &'static str,
        object: &K,
        old: Option<&S>,
        new: &S,
    ) -> Result<(), Error>
    where
        K: Object,
    {
        let encode = |status: Option<&S>| {
            serde_json::to_value(status).map_err(|source| Error::Encode { object: describe(object), source })
        };
        let Some(difference) = merge_difference(&encode(old)?, &encode(Some(new))?) else { return Ok(()) };
        let patch = at_revision(object.meta(), json!({ "status": difference }));
        let parameters = PatchParams { field_manager: Some(field_manager(manager)), ..PatchParams::default() };
        let patched = api
            .patch_status(&object.name_any(), &parameters, &Patch::Merge(patch))
            .await
            .map_err(Error::api("patch status of", describe(object)))?;
        self.cache::<K>().observed(&patched).await;
        Ok(())
    }

    /// [`Context::status_with`] in the object's own namespace.
    pub(crate) async fn status<K, S: Serialize>(
        &self,
        manager: &'static str,
        object: &K,
        old: Option<&S>,
        new: &S,
    ) -> Result<(), Error>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
    {
        let api = self.namespaced::<K>(&object.namespace().unwrap_or_default());
        self.status_with(api, manager, object, old, new).await
    }

    /// Deletes exactly this `object` (uid) and waits until the cache shows it deleted or on its way.
    /// An object that is gone already is a success.
    pub(crate) async fn delete<K>(&self, object: &K) -> Result<(), Error>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
    {
        let api = self.namespaced::<K>(&object.namespace().unwrap_or_default());
        self.delete_with(api, object, DeleteParams::background()).await
    }

    /// [`Context::delete`] through any API and with a propagation policy.
    pub(crate) async fn delete_with<K: Object>(
        &self,
        api: Api<K>,
        object: &K,
        parameters: DeleteParams,
    ) -> Result<(), Error> {
        let uid = object.uid();
        let parameters = parameters.preconditions(Preconditions { uid: uid.clone(), resource_version: None });
        match api.delete(&object.name_any(), &parameters).await.map_err(Error::api("delete", describe(object))) {
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.wait(&Key::of(object), |cached: Option<&K>| {
            cached.is_none_or(|cached| cached.uid() != uid || cached.meta().deletion_timestamp.is_some())
        })
        .await;
        Ok(())
    }

    /// Waits until `holds` is true of the cached object called `key`, at most five seconds.
    pub(crate) async fn wait<K: Object>(&self, key: &Key, holds: impl Fn(Option<&K>) -> bool) -> bool {
        let cache = self.cache::<K>();
        let mut changes = cache.subscribe();
        let wait = async {
            while !holds(cache.get(key).as_deref()) {
                // Closed cannot happen while we hold the cache; lagging only means that we look again.
                let _ = changes.recv().await;
            }
        };
        timeout(ECHO, wait).await.is_ok()
    }

    /// Publishes an Event about `object`. Events inform people; a failure to write one is no failure of the step.
    pub(crate) async fn event<K>(&self, manager: &'static str, object: &K, kind: EventType, reason: &str, note: String)
    where
        K: Resource<DynamicType = ()>,
    {
        let recorder = {
            let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
            recorders
                .entry(manager)
                .or_insert_with(|| {
                    let instance = Some(self.config.node_name.clone());
                    Recorder::new(self.client(), Reporter { controller: reporter(manager), instance })
                })
                .clone()
        };
        let mut reference = object.object_ref(&());
        // Which state of the object it was is of no use to anybody and defeats the counting of equal events.
        reference.resource_version = None;
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note.chars().take(1024).collect()),
            action: reason.to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &reference).await {
            tracing::debug!(%reason, object = %describe(object), %error, "event not written");
        }
    }
}

/// The component that Kubernetes' users know for a controller, as shown by `kubectl describe`.
fn reporter(manager: &str) -> String {
    match manager {
        "scheduler" => "default-scheduler".to_owned(),
        name => format!("{name}-controller"),
    }
}

fn field_manager(name: &str) -> String {
    format!("lotse-{name}")
}

/// `Kind namespace/name`, for messages.
pub(crate) fn describe<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let meta = object.meta();
    let name = meta.name.as_deref().or(meta.generate_name.as_deref()).unwrap_or_default();
    match &meta.namespace {
        Some(namespace) => format!("{} {namespace}/{name}", K::kind(&())),
        None => format!("{} {name}", K::kind(&())),
    }
}

/// The current time.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

fn at_revision(meta: &ObjectMeta, mut patch: Value) -> Value {
    if let (Some(revision), Some(object)) = (&meta.resource_version, patch.as_object_mut()) {
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("resourceVersion".to_owned(), Value::String(revision.clone()));
        }
    }
    patch
}

/// The JSON merge patch (RFC 7386) that turns `old` into `new`, or `None` when they are equal.
pub(crate) fn merge_difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for (name, value) in new {
        match old.get(name) {
            Some(previous) => {
                if let Some(difference) = merge_difference(previous, value) {
                    patch.insert(name.clone(), difference);
                }
            }
            None => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_merge_difference_is_what_changed_and_nothing_else() {
        let table = [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"a": 2}), Some(json!({"a": 2}))),
            (json!({"a": 1, "b": 1}), json!({"a": 1}), Some(json!({"b": null}))),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": 1, "y": 3}}), Some(json!({"a": {"y": 3}}))),
            (json!(null), json!({"a": 1}), Some(json!({"a": 1}))),
            (json!({"l": [1, 2]}), json!({"l": [2]}), Some(json!({"l": [2]}))),
        ];
        for (old, new, expected) in table {
            assert_eq!(merge_difference(&old, &new), expected, "{old} -> {new}");
        }
    }
}
