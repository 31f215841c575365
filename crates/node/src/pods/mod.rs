//! Pod life cycle: one level-triggered reconcile per pod. [`plan`] decides and [`status`] describes, both pure;
//! [`execute`] acts.

pub(crate) mod backoff;
mod execute;
mod hooks;
mod images;
mod observed;
mod orphans;
mod plan;
mod prepare;
mod references;
#[cfg(test)]
mod scenario;
mod status;
mod supervise;
mod termination;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use lotse_client::{Informer, Key, Next, Reconciler};
use lotse_network::PodNetwork;
use lotse_runtime::{ContainerId, ContainerRuntime};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::{
    observed::ID_PREFIX,
    references::{Kind as ReferenceKind, refers_to},
};
use self::{
    observed::{Memory, Observed},
    plan::{Action, Plan},
};
use crate::{
    Config,
    containers::{self, fields::Capacity},
    error::{Context, Error, Result},
    events::Events,
    sources::Caches,
    volumes::{Mounts, Tokens},
};

/// More steps than any pod needs at once; beyond it something contradicts itself and the driver's back-off takes over.
const MAX_ROUNDS: usize = 64;

/// What every pod's steps need.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) pods: Informer<Pod>,
    pub(crate) sources: Caches,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) network: Arc<dyn PodNetwork>,
    pub(crate) events: Events,
    pub(crate) mounts: Box<dyn Mounts>,
    pub(crate) tokens: Tokens,
    pub(crate) capacity: Capacity,
    pub(crate) host_ip: IpAddr,
    entries: Mutex<HashMap<String, Arc<Entry>>>,
    trigger: OnceLock<Box<dyn Fn(Key) + Send + Sync>>,
}

/// What this process holds for one pod.
pub(crate) struct Entry {
    key: Key,
    uid: String,
    memory: Mutex<Memory>,
    tasks: Mutex<Tasks>,
    written: Mutex<Option<(PodStatus, u64)>>,
}

/// Work that outlasts one reconcile; dropping the entry cancels it.
#[derive(Default)]
struct Tasks {
    pulls: HashMap<String, AbortOnDropHandle<()>>,
    supervisors: HashMap<ContainerId, AbortOnDropHandle<()>>,
    stops: HashMap<ContainerId, AbortOnDropHandle<()>>,
    termination: Option<(AbortOnDropHandle<()>, Timestamp)>,
}

// === impl Entry ===

impl Entry {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shared ===

impl Shared {
    #[allow(clippy::too_many_arguments, reason = "the one place where the node's parts are put together")]
    pub(crate) fn new(
        config: Config,
        client: Client,
        pods: Informer<Pod>,
        sources: Caches,
        runtime: Arc<dyn ContainerRuntime>,
        network: Arc<dyn PodNetwork>,
        events: Events,
        mounts: Box<dyn Mounts>,
        tokens: Tokens,
        capacity: Capacity,
    ) -> Self {
        let host_ip = config.node_ip.unwrap_or_else(|| IpAddr::V4(network.host_ip()));
        Self {
            config,
            client,
            pods,
            sources,
            runtime,
            network,
            events,
            mounts,
            tokens,
            capacity,
            host_ip,
            entries: Mutex::default(),
            trigger: OnceLock::new(),
        }
    }

    /// Sets how a pod is looked at again; only the first call counts.
    pub(crate) fn set_trigger(&self, trigger: impl Fn(Key) + Send + Sync + 'static) {
        let _ = self.trigger.set(Box::new(trigger));
    }

    fn trigger(&self, key: &Key) {
        if let Some(trigger) = self.trigger.get() {
            trigger(key.clone());
        }
    }

    /// Looks again at the pod with this uid.
    pub(crate) fn trigger_uid(&self, uid: &str) {
        let key = self.entries().get(uid).map(|entry| entry.key.clone());
        if let Some(key) = key {
            self.trigger(&key);
        }
    }

    /// Looks again at every pod.
    pub(crate) fn trigger_all(&self) {
        let keys: Vec<Key> = self.entries().values().map(|entry| entry.key.clone()).collect();
        keys.iter().for_each(|key| self.trigger(key));
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the pod is to run on this node.
    pub(crate) fn is_ours(&self, pod: &Pod) -> bool {
        pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(self.config.node_name.as_str())
    }

    /// `<log_dir>/<namespace>_<pod>_<uid>`.
    pub(crate) fn log_dir(&self, pod: &Pod) -> PathBuf {
        let meta = &pod.metadata;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        self.config.log_dir.join(format!("{}_{}_{}", text(&meta.namespace), text(&meta.name), text(&meta.uid)))
    }

    fn entry(&self, key: &Key, uid: &str) -> Arc<Entry> {
        let new = || {
            Arc::new(Entry {
                key: key.clone(),
                uid: uid.to_owned(),
                memory: Mutex::default(),
                tasks: Mutex::default(),
                written: Mutex::default(),
            })
        };
        self.entries().entry(uid.to_owned()).or_insert_with(new).clone()
    }
}

/// The reconciler of pods.
#[derive(Clone)]
pub(crate) struct Pods(pub(crate) Arc<Shared>);

impl Reconciler for Pods {
    type Error = Error;

    fn name(&self) -> &'static str {
        "kubelet"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next> {
        let pod = self.0.pods.get(key).filter(|pod| self.0.is_ours(pod));
        let uid = pod.as_ref().and_then(|pod| pod.metadata.uid.clone());
        self.0.release_former(key, uid.as_deref()).await?;
        let (Some(pod), Some(uid)) = (pod, uid) else { return Ok(Next::Done) };
        if !safe_name(&uid)
            || ![&pod.metadata.name, &pod.metadata.namespace].into_iter().flatten().all(|name| safe_name(name))
        {
            tracing::error!(%key, "the pod's name, namespace or uid cannot be a directory name, the pod is ignored");
            return Ok(Next::Done);
        }
        self.step(&pod, &self.0.entry(key, &uid)).await
    }
}

/// Names become parts of paths: letters, digits, `-` and `.` only, whatever the API server let pass.
pub(crate) fn safe_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

// === impl Pods ===

impl Pods {
    /// Plans, acts and reports until nothing is left to do now.
    async fn step(&self, pod: &Arc<Pod>, entry: &Arc<Entry>) -> Result<Next> {
        self.0.admit(entry, pod);
        for _ in 0..MAX_ROUNDS {
            let sandbox = self.0.runtime.pod(&entry.uid);
            self.0.supervise_all(pod, entry, sandbox.as_ref());
            let Some((plan, previous, status)) = self.0.decide(pod, entry, sandbox.as_ref()) else {
                return Ok(Next::Done);
            };
            let finish = plan.actions.contains(&Action::Finish);
            let report = self.0.write_status(pod, entry, &previous, status);
            if finish {
                // The last status must be there before the object goes: a Job's controller reads it.
                report.await?;
                self.0.finish(pod, entry).await?;
                return Ok(Next::Done);
            }
            let again = plan.actions.iter().any(|action| !matches!(action, Action::StopAll { .. }));
            let delay = plan::delay(&plan, Timestamp::now());
            let (reported, acted) = tokio::join!(report, self.0.execute(pod, entry, plan.actions));
            reported?;
            acted?;
            if !again {
                return Ok(delay.map_or(Next::Done, Next::After));
            }
        }
        tracing::error!(key = %entry.key, "the pod's plan does not come to an end");
        Ok(Next::After(Duration::from_secs(10)))
    }
}

// === impl Shared ===

impl Shared {
    /// Refuses a pod beyond the node's limit, as the kubelet's admission does.
    fn admit(&self, entry: &Entry, pod: &Pod) {
        let terminal = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        if self.runtime.pod(&entry.uid).is_some() || terminal(pod) || entry.memory().verdict.is_some() {
            return;
        }
        let max = self.config.max_pods;
        // Counting is only worth it when the limit is near.
        if self.entries().len() <= max {
            return;
        }
        let created = |pod: &Pod| (pod.metadata.creation_timestamp.clone(), pod.metadata.uid.clone());
        let own = created(pod);
        let earlier = self.pods.filter(|other| self.is_ours(other) && !terminal(other) && created(other) < own).len();
        if earlier >= max {
            entry.memory().verdict = Some(observed::Verdict {
                reason: "OutOfpods".into(),
                message: format!(
                    "Node didn't have enough resource: pods, requested: 1, used: {earlier}, capacity: {max}"
                ),
            });
        }
    }

    /// The pure part: plan and status from one consistent picture.
    fn decide(
        &self,
        pod: &Pod,
        entry: &Entry,
        sandbox: Option<&lotse_runtime::PodStatus>,
    ) -> Option<(Plan, PodStatus, PodStatus)> {
        let spec = pod.spec.as_ref()?;
        let previous = self.newest_status(pod, entry);
        let containers = containers::with_roles(spec);
        let mut digests = BTreeMap::new();
        for container in sandbox.iter().flat_map(|sandbox| &sandbox.containers) {
            if !digests.contains_key(&container.image)
                && let Some(digest) =
                    self.runtime.image(&container.image).and_then(|image| image.digests.into_iter().next())
            {
                digests.insert(container.image.clone(), digest);
            }
        }
        let host_ip = self.host_ip.to_string();
        let memory = entry.memory();
        let observed = Observed {
            pod,
            spec,
            containers: &containers,
            previous: &previous,
            sandbox,
            memory: &memory,
            fingerprint: references::fingerprint(pod, &self.sources),
            digests: &digests,
            host_ip: &host_ip,
            now: Timestamp::now(),
        };
        let (plan, status) = (plan::plan(&observed), status::status(&observed));
        drop(memory);
        // A pod that is over keeps the status that it ended with: the runtime forgets it.
        let over = matches!(previous.phase.as_deref(), Some("Succeeded" | "Failed"));
        let status = if over { previous.clone() } else { status };
        Some((plan, previous, status))
    }

    /// The status in the cache, or what was written last if the cache has not seen that yet.
    fn newest_status(&self, pod: &Pod, entry: &Entry) -> PodStatus {
        let revision = revision_of(pod);
        match &*entry.written.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((status, written)) if *written > revision => status.clone(),
            _ => pod.status.clone().unwrap_or_default(),
        }
    }

    /// Writes the difference, if there is one.
    async fn write_status(&self, pod: &Pod, entry: &Entry, previous: &PodStatus, status: PodStatus) -> Result<()> {
        let Some(changes) = status::patch(previous, &status) else { return Ok(()) };
        let (namespace, name) = (entry.key.namespace(), &entry.key.name);
        // The uid makes the server refuse the patch for a new pod of the same name. Where others write conditions too,
        // the revision makes sure that theirs are not overwritten with an older state.
        let mut metadata = json!({"uid": entry.uid});
        let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
        if gates.is_some_and(|gates| !gates.is_empty()) {
            let written = entry.written.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, at)| *at);
            metadata["resourceVersion"] = json!(revision_of(pod).max(written.unwrap_or(0)).to_string());
        }
        let patch = Patch::Merge(json!({"metadata": metadata, "status": changes}));
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let back_offs = status::new_back_offs(pod, previous, &status);
        match api.patch_status(name, &PatchParams::default(), &patch).await {
            Ok(written) => {
                for (container, severity, note) in back_offs {
                    self.events.pod(pod, Some(&container), severity, "BackOff", note);
                }
                let revision = revision_of(&written);
                let status = written.status.unwrap_or_default();
                *entry.written.lock().unwrap_or_else(PoisonError::into_inner) = Some((status, revision));
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).context(|| format!("cannot write the status of pod {}", entry.key)),
        }
    }
}

fn revision_of(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}
