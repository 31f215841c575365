//! What is in the cluster: discovery, and one metadata watch for each kind that some Application manages.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt;
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    core::PartialObjectMeta,
    discovery::{self, Scope},
    runtime::{WatchStreamExt, watcher},
};
use lotse_client::Key;

use crate::{
    Error,
    application::{Application, SYNC_OPTIONS, TRACKING_ID},
    tools::{self, Context},
};

/// Identity of an object across versions of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    /// API group.
    pub(crate) group: String,
    /// Kind.
    pub(crate) kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
}

/// An object that carries a tracking annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tracked {
    /// Its Application.
    pub(crate) application: Key,
    /// Its current revision.
    pub(crate) resource_version: String,
    /// Its sync options.
    pub(crate) sync_options: Option<String>,
    /// API version under which it is watched.
    pub(crate) version: String,
    /// Being deleted.
    pub(crate) deleting: bool,
}

/// A kind as the cluster serves it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServedKind {
    /// Group, version, plural.
    pub(crate) resource: ApiResource,
    /// Whether objects live in namespaces.
    pub(crate) namespaced: bool,
}

/// The live side. Cloning is cheap and shares it.
#[derive(Clone)]
pub(crate) struct Live {
    client: Client,
    shared: Arc<Shared>,
}

/// How long the list of what the cluster serves is believed.
const SERVED_FOR: Duration = Duration::from_secs(30);

/// A version, and groups with versions and kinds.
type Served = (String, Vec<String>);

struct Shared {
    served: Mutex<Option<(Instant, Arc<Served>)>>,
    kinds: Mutex<HashMap<GroupVersionKind, ServedKind>>,
    watched: Mutex<HashMap<GroupVersionKind, tokio::sync::watch::Receiver<bool>>>,
    tracked: Mutex<HashMap<ObjectId, Tracked>>,
    changed: Box<dyn Fn(Key) + Send + Sync>,
}

// === impl Live ===

impl Live {
    /// Calls `changed` for the Application of every tracked object that changes, appears or goes.
    pub(crate) fn new(client: Client, changed: impl Fn(Key) + Send + Sync + 'static) -> Self {
        let shared = Shared {
            served: Mutex::default(),
            kinds: Mutex::default(),
            watched: Mutex::default(),
            tracked: Mutex::default(),
            changed: Box::new(changed),
        };
        Self { client, shared: Arc::new(shared) }
    }

    /// What rendering depends on besides the source. What the cluster serves is asked anew after [`SERVED_FOR`].
    pub(crate) async fn context(&self, key: &Key, application: &Application) -> Result<Context, Error> {
        let known = lock(&self.shared.served).clone();
        let served = match known {
            Some((at, served)) if at.elapsed() < SERVED_FOR => served,
            _ => {
                let asked = self.served().await;
                let asked = asked.map_err(|error| Error::api("discovery of what the cluster serves", error))?;
                let served = Arc::new(asked);
                *lock(&self.shared.served) = Some((Instant::now(), served.clone()));
                served
            }
        };
        Ok(Context {
            name: key.name.clone(),
            namespace: key.namespace().to_owned(),
            destination: application.spec.destination.namespace.clone(),
            kube_version: served.0.clone(),
            api_versions: served.1.clone(),
            now: tools::clock(application.metadata.creation_timestamp.as_ref().map(|time| time.0), Timestamp::now()),
        })
    }

    /// The cluster's version; groups with versions, and with kinds.
    async fn served(&self) -> Result<Served, kube::Error> {
        let version = self.client.apiserver_version().await?.git_version;
        let mut all = Vec::new();
        let mut add = |list: k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList| {
            let kinds = list.resources.iter().filter(|resource| !resource.name.contains('/'));
            all.extend(kinds.map(|resource| format!("{}/{}", list.group_version, resource.kind)));
            all.push(list.group_version);
        };
        add(self.client.list_core_api_resources("v1").await?);
        for group in self.client.list_api_groups().await?.groups {
            for version in group.versions {
                // A group may go between the two questions.
                match self.client.list_api_group_resources(&version.group_version).await {
                    Ok(list) => add(list),
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => return Err(error),
                }
            }
        }
        all.sort_unstable();
        Ok((version, all))
    }

    /// How the cluster serves a kind; `None` when it does not. Positive answers are remembered until [`Live::forget_kind`].
    pub(crate) async fn kind(&self, gvk: &GroupVersionKind) -> Result<Option<ServedKind>, kube::Error> {
        if let Some(served) = lock(&self.shared.kinds).get(gvk) {
            return Ok(Some(served.clone()));
        }
        match discovery::pinned_kind(&self.client, gvk).await {
            Ok((resource, capabilities)) => {
                let served = ServedKind { resource, namespaced: capabilities.scope == Scope::Namespaced };
                lock(&self.shared.kinds).insert(gvk.clone(), served.clone());
                Ok(Some(served))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The versions (`apps/v1`) in which the cluster served a kind of this group and name when it was last asked.
    pub(crate) fn versions_of(&self, gvk: &GroupVersionKind) -> Vec<String> {
        let known = lock(&self.shared.served).clone();
        let (group, kind) = (gvk.group.as_str(), gvk.kind.as_str());
        let all = known.iter().flat_map(|(_, served)| &served.1);
        all.filter_map(|served| {
            let (version, of) = served.rsplit_once('/').filter(|(_, of)| *of == kind)?;
            (version.rsplit_once('/').map_or("", |(of, _)| of) == group && of == kind).then(|| version.to_owned())
        })
        .collect()
    }

    /// Asks discovery again next time.
    pub(crate) fn forget_kind(&self, gvk: &GroupVersionKind) {
        lock(&self.shared.kinds).remove(gvk);
    }

    /// The API for objects of a kind.
    pub(crate) fn api(&self, served: &ServedKind, namespace: &str) -> Api<DynamicObject> {
        if served.namespaced {
            Api::namespaced_with(self.client.clone(), namespace, &served.resource)
        } else {
            Api::all_with(self.client.clone(), &served.resource)
        }
    }

    /// Watches a kind from now on and waits until its first list is complete.
    pub(crate) async fn watch(&self, gvk: &GroupVersionKind, served: &ServedKind) {
        let mut ready = {
            let mut watched = lock(&self.shared.watched);
            if let Some(ready) = watched.get(gvk) {
                ready.clone()
            } else {
                let (sender, ready) = tokio::sync::watch::channel(false);
                watched.insert(gvk.clone(), ready.clone());
                let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(self.client.clone(), &served.resource);
                tokio::spawn(follow(api, gvk.clone(), self.shared.clone(), sender));
                ready
            }
        };
        // Bounded: a kind that cannot be listed (its definition is being removed) must not hold up everything else.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), ready.wait_for(|ready| *ready)).await;
    }

    /// One tracked object.
    pub(crate) fn tracked(&self, id: &ObjectId) -> Option<Tracked> {
        lock(&self.shared.tracked).get(id).cloned()
    }

    /// Everything that carries the mark of `application`.
    pub(crate) fn tracked_by(&self, application: &Key) -> Vec<(ObjectId, Tracked)> {
        let tracked = lock(&self.shared.tracked);
        let mut found: Vec<_> = tracked
            .iter()
            .filter(|(_, object)| object.application == *application)
            .map(|(id, object)| (id.clone(), object.clone()))
            .collect();
        found.sort_by(|(left, _), (right, _)| left.cmp(right));
        found
    }
}

/// Keeps `tracked` equal to the cluster for one kind.
async fn follow(
    api: Api<PartialObjectMeta<DynamicObject>>,
    gvk: GroupVersionKind,
    shared: Arc<Shared>,
    ready: tokio::sync::watch::Sender<bool>,
) {
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut listed: HashMap<ObjectId, Tracked> = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                if let Some(tracked) = tracked(&object, &gvk) {
                    listed.insert(object_id(&object, &gvk), tracked);
                }
            }
            Ok(watcher::Event::InitDone) => {
                let mut touched: Vec<Key> = Vec::new();
                {
                    let mut all = lock(&shared.tracked);
                    all.retain(|id, object| {
                        let same_kind = id.group == gvk.group && id.kind == gvk.kind && object.version == gvk.version;
                        let keep = !same_kind || listed.contains_key(id);
                        if !keep {
                            touched.push(object.application.clone());
                        }
                        keep
                    });
                    for (id, object) in listed.drain() {
                        touched.push(object.application.clone());
                        all.insert(id, object);
                    }
                }
                let _ = ready.send(true);
                touched.into_iter().for_each(|key| (shared.changed)(key));
            }
            Ok(watcher::Event::Apply(object)) => {
                let (id, new) = (object_id(&object, &gvk), tracked(&object, &gvk));
                let old = match &new {
                    Some(new) => lock(&shared.tracked).insert(id, new.clone()),
                    None => lock(&shared.tracked).remove(&id),
                };
                tell(&shared, old, new);
            }
            Ok(watcher::Event::Delete(object)) => {
                let old = lock(&shared.tracked).remove(&object_id(&object, &gvk));
                tell(&shared, old, None);
            }
            Err(error) => tracing::debug!(kind = gvk.kind, %error, "watch failed, retrying"),
        }
    }
}

/// Both the Application that had the object and the one that has it now.
fn tell(shared: &Shared, old: Option<Tracked>, new: Option<Tracked>) {
    let (old, new) = (old.map(|object| object.application), new.map(|object| object.application));
    if new != old
        && let Some(key) = new.clone()
    {
        (shared.changed)(key);
    }
    if let Some(key) = old {
        (shared.changed)(key);
    }
}

fn object_id(object: &impl ResourceExt, gvk: &GroupVersionKind) -> ObjectId {
    ObjectId {
        group: gvk.group.clone(),
        kind: gvk.kind.clone(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

fn tracked(object: &impl ResourceExt, gvk: &GroupVersionKind) -> Option<Tracked> {
    let tracking = object.annotations().get(TRACKING_ID)?;
    let (application, rest) = tracking.split_once(':')?;
    // A copy of an object (a ReplicaSet made from a Deployment's annotations, a user's duplicate) carries the original's mark.
    let own = format!("{}/{}:{}/{}", gvk.group, gvk.kind, object.namespace().unwrap_or_default(), object.name_any());
    if rest != own {
        return None;
    }
    Some(Tracked {
        application: application_key(application),
        resource_version: object.resource_version().unwrap_or_default(),
        sync_options: object.annotations().get(SYNC_OPTIONS).cloned(),
        version: gvk.version.clone(),
        deleting: object.meta().deletion_timestamp.is_some(),
    })
}

/// Namespace of Applications whose marks carry no namespace.
pub const CONTROL_NAMESPACE: &str = "argocd";

/// The mark for an object: Argo CD's format, with `<namespace>_<name>` for Applications outside the control namespace.
pub(crate) fn tracking_id(application: &Key, id: &ObjectId) -> String {
    let ObjectId { group, kind, namespace, name } = id;
    let application = match application.namespace() {
        CONTROL_NAMESPACE => application.name.clone(),
        other => format!("{other}_{}", application.name),
    };
    format!("{application}:{group}/{kind}:{namespace}/{name}")
}

fn application_key(mark: &str) -> Key {
    match mark.split_once('_') {
        Some((namespace, name)) => Key::namespaced(namespace, name),
        None => Key::namespaced(CONTROL_NAMESPACE, mark),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_lead_back_to_their_application() {
        let id = ObjectId {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: "web".to_owned(),
            name: "shop".to_owned(),
        };
        for key in [Key::namespaced("argocd", "students"), Key::namespaced("team", "students")] {
            let mark = tracking_id(&key, &id);
            assert_eq!(application_key(mark.split(':').next().unwrap_or_default()), key);
        }
        assert_eq!(tracking_id(&Key::namespaced("argocd", "a"), &id), "a:apps/Deployment:web/shop");
    }
}
