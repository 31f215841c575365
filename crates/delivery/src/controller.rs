//! The Application controller: one reconcile looks at everything and takes one step.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{ConfigMap, Pod, Secret},
};
use kube::{
    Api, Client,
    api::{GroupVersionKind, Patch, PatchParams},
};
use lotse_client::{Driver, Informer, Informers, Key, Next, Reconciler};
use serde_json::{Value, json};

use crate::{
    Error,
    application::*,
    compare::{self, Cache, Compared, Desired},
    credentials,
    file_events::FileEvents,
    git::Location,
    health::HealthStatus,
    live::{CONTROL_NAMESPACE, Live, ObjectId, Tracked},
    operation::{
        fail_operation, failure_message, finish, keep_transition_times, merge_results, previous_results, record,
        running_revision, set_message,
    },
    plan::{self, Decision, Situation},
    project::{self, Target},
    remotes::CredentialsOf,
    sources::{Rendered, Sources, WORKTREE},
    summary::{prunable, worst_health},
    sync::{self, Permissions, Progress},
    trust, webhook,
};

/// How delivery is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory for copies of remote repositories; created when missing.
    pub mirrors: PathBuf,
    /// How often a remote repository is asked for new commits.
    pub poll: Duration,
}

/// While something is on its way, causes outside the watched kinds (pods) are looked at this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Something that has failed is looked at this often.
const DEGRADED_INTERVAL: Duration = Duration::from_secs(5);
/// Identical comparisons are repeated this seldom when there are file events; they are a safety net only.
const SAFETY_INTERVAL: Duration = Duration::from_secs(180);

type Trigger = Box<dyn Fn(Key) + Send + Sync>;

/// Continuous delivery, not yet running. Cloning is cheap and means the same.
#[derive(Clone)]
pub struct Delivery {
    informers: Informers,
    sources: Sources,
    /// The driver needs the controller and the controller the driver's trigger: it is filled in once both exist.
    trigger: Arc<OnceLock<Trigger>>,
}

// === impl Delivery ===

impl Delivery {
    /// Delivery into the cluster behind `informers`.
    pub fn new(informers: Informers, config: Config) -> Self {
        Self { informers, sources: Sources::new(config.mirrors, config.poll), trigger: Arc::default() }
    }

    /// `POST /api/webhook` for Git servers: a push is looked at now instead of at the next poll.
    pub fn webhook(&self) -> axum::Router {
        let (sources, changed) = (self.sources.clone(), self.changed());
        webhook::router(self.informers.clone(), move |key, url| {
            sources.refresh(url);
            changed(key);
        })
    }

    fn changed(&self) -> impl Fn(Key) + Clone + Send + Sync + 'static {
        let trigger = self.trigger.clone();
        move |key| {
            if let Some(trigger) = trigger.get() {
                trigger(key);
            }
        }
    }

    /// Runs until the returned future is dropped. To be called once.
    pub async fn run(self) {
        let (informers, changed) = (&self.informers, self.changed());
        let applications = informers.get::<Application>();
        let controller = Controller {
            client: informers.client().clone(),
            applications: applications.clone(),
            pods: informers.get(),
            replica_sets: informers.get(),
            secrets: informers.get(),
            config_maps: informers.get(),
            sources: self.sources.clone(),
            live: Live::new(informers.client().clone(), changed.clone()),
            events: Mutex::new(FileEvents::new(changed)),
            cache: Mutex::default(),
            heals: Mutex::default(),
        };
        let driver = Driver::new(controller).concurrency(8).on_kind(&applications);
        let _ = self.trigger.set(Box::new(driver.trigger()));
        driver.run().await;
    }
}

pub(crate) struct Controller {
    client: Client,
    applications: Informer<Application>,
    pub(crate) pods: Informer<Pod>,
    pub(crate) replica_sets: Informer<ReplicaSet>,
    secrets: Informer<Secret>,
    config_maps: Informer<ConfigMap>,
    sources: Sources,
    live: Live,
    events: Mutex<FileEvents>,
    cache: Mutex<Cache>,
    /// How often self-healing has repeated and when it last did. Losing it costs one immediate repair.
    heals: Mutex<HashMap<Key, (u32, Timestamp)>>,
}

/// Everything that one reconcile has seen.
pub(crate) struct Observation {
    pub(crate) rendered: Rendered,
    pub(crate) targets: Vec<(Desired, Compared)>,
    pub(crate) surplus: Vec<(ObjectId, Tracked)>,
}

impl Reconciler for Controller {
    type Error = Error;

    fn name(&self) -> &'static str {
        "application"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(application) = self.applications.get(key) else {
            lock(&self.events).forget(key);
            lock(&self.cache).forget(key);
            lock(&self.heals).remove(key);
            return Ok(Next::Done);
        };
        if application.metadata.deletion_timestamp.is_some() {
            return self.finalize(key, &application).await;
        }
        let now = Timestamp::now();
        if application.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(REFRESH)) {
            application.spec.all_sources().iter().for_each(|source| self.sources.refresh(&source.repo_url));
            self.sources.refresh_remotes();
            self.remove_annotation(key, REFRESH).await?;
        }
        let previous = application.status.clone().unwrap_or_default();
        let mut status = previous.clone();
        let operation = application.operation.clone();
        let revision = operation
            .as_ref()
            .and_then(|operation| operation.sync.as_ref())
            .map(|sync| sync.revision.as_str())
            .or_else(|| running_revision(&previous))
            .filter(|revision| !revision.is_empty());
        let next = match self.observe(key, &application, revision).await {
            Ok(mut observation) => {
                status.conditions.retain(|condition| !OBSERVED_CONDITIONS.contains(&condition.kind.as_str()));
                let next = self.advance(key, &application, &mut observation, &mut status, now).await?;
                self.summarize(&application.spec, &observation, &mut status);
                next
            }
            Err(error) => {
                let kind =
                    if matches!(error, Error::InvalidSpec { .. }) { "InvalidSpecError" } else { "ComparisonError" };
                status.conditions.retain(|condition| !OBSERVED_CONDITIONS.contains(&condition.kind.as_str()));
                status.conditions.push(Condition {
                    kind: kind.to_owned(),
                    message: error.to_string(),
                    last_transition_time: None,
                });
                "Unknown".clone_into(&mut status.sync.status);
                if operation.is_some() {
                    fail_operation(&mut status, &application, &error.to_string(), now);
                }
                Next::After(self.sources.poll().max(DEGRADED_INTERVAL))
            }
        };
        keep_transition_times(&previous.conditions, &mut status.conditions, now);
        self.write_status(key, &previous, &mut status, operation.is_some(), now).await?;
        Ok(next)
    }
}

/// Conditions that are decided anew by every reconcile.
const OBSERVED_CONDITIONS: [&str; 5] =
    ["ComparisonError", "InvalidSpecError", "SyncError", "SharedResourceWarning", "SyncWarning"];

impl Controller {
    /// Renders, completes and compares.
    async fn observe(
        &self,
        key: &Key,
        application: &Application,
        revision: Option<&str>,
    ) -> Result<Observation, Error> {
        let spec = &application.spec;
        let source = match spec.all_sources().as_slice() {
            [source] => (*source).clone(),
            [] => return Err(invalid("spec.source", "is missing: name a repository")),
            _ => {
                return Err(invalid(
                    "spec.sources",
                    "several sources are not supported yet: use one Application for each",
                ));
            }
        };
        let destination = &spec.destination;
        let in_cluster = matches!(destination.server.as_str(), "" | "https://kubernetes.default.svc")
            && matches!(destination.name.as_str(), "" | "in-cluster");
        if !in_cluster {
            return Err(invalid(
                "spec.destination",
                "only this cluster (https://kubernetes.default.svc) is supported yet; other clusters cannot be registered",
            ));
        }
        let project = self.project(key, spec).await?;
        if let Some(refusal) = project.as_ref().and_then(|project| project::refuse_spec(project, spec)) {
            return Err(invalid("spec.project", refusal));
        }
        let worktree = source.target_revision == WORKTREE;
        lock(&self.events).watch(key, &source.repo_url, worktree);
        let certificates = self.config_maps.get(&Key::namespaced(CONTROL_NAMESPACE, trust::CONFIG_MAP));
        let certificates = certificates.and_then(|map| map.data.clone());
        self.sources.trust().set(certificates.unwrap_or_default());
        let credentials = self.credentials(key, project.clone());
        let context = self.live.context(key, application).await?;
        let rendered = self.sources.render(&source, revision, credentials, context).await?;
        let desired = compare::desired(&self.live, key, spec, &rendered.manifests).await?;
        if let Some(project) = &project {
            for object in &desired {
                let namespaced = !object.id.namespace.is_empty();
                let target = Target {
                    group: &object.id.group,
                    kind: &object.id.kind,
                    namespace: namespaced.then_some(object.id.namespace.as_str()),
                };
                if let Some(refusal) = project::refuse_object(project, spec, target) {
                    return Err(invalid("spec.project", object.told(&refusal)));
                }
            }
        }
        self.watch_kinds(&desired, application.status.as_ref()).await?;
        let mut targets = Vec::with_capacity(desired.len());
        for object in desired {
            if plan::is_hook(&object.object) {
                continue;
            }
            let known = lock(&self.cache).current(key, &object, &self.live);
            let compared = match known {
                Some(compared) => compared,
                None => {
                    let (version, compared) = compare::compare(&self.live, key, spec, &object).await?;
                    lock(&self.cache).put(key, &object, version, compared.clone());
                    compared
                }
            };
            targets.push((object, compared));
        }
        let wanted: BTreeSet<&ObjectId> = targets.iter().map(|(desired, _)| &desired.id).collect();
        let surplus = self.live.tracked_by(key).into_iter().filter(|(id, _)| !wanted.contains(id)).collect();
        Ok(Observation { rendered, targets, surplus })
    }

    /// Watches every kind that is desired, or that was managed before and may have to be pruned.
    async fn watch_kinds(&self, desired: &[Desired], status: Option<&ApplicationStatus>) -> Result<(), Error> {
        let mut kinds: HashMap<GroupVersionKind, crate::live::ServedKind> = HashMap::new();
        for object in desired {
            if let Some(served) = &object.served {
                kinds.insert(object.gvk.clone(), served.clone());
            }
        }
        for resource in status.into_iter().flat_map(|status| &status.resources) {
            let gvk = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
            if kinds.contains_key(&gvk) {
                continue;
            }
            let served = self.live.kind(&gvk).await;
            if let Some(served) = served.map_err(|error| Error::api(format!("discovery of {}", gvk.kind), error))? {
                kinds.insert(gvk, served);
            }
        }
        for (gvk, served) in &kinds {
            self.live.watch(gvk, served).await;
        }
        Ok(())
    }

    /// Decides, syncs one step, and records it in `status`.
    async fn advance(
        &self,
        key: &Key,
        application: &Application,
        observation: &mut Observation,
        status: &mut ApplicationStatus,
        now: Timestamp,
    ) -> Result<Next, Error> {
        let spec = &application.spec;
        let revision = observation.rendered.commit.id.clone();
        let (heals, last_heal) = lock(&self.heals).get(key).map_or((0, None), |(count, at)| (*count, Some(*at)));
        let running = status.operation_state.as_ref().filter(|state| state.phase == "Running");
        let requested = application.operation.as_ref().or(running.map(|state| &state.operation)).cloned();
        let by_user = requested
            .as_ref()
            .is_some_and(|operation| operation.initiated_by.as_ref().is_none_or(|initiator| !initiator.automated));
        let decision = match &requested {
            Some(operation) if by_user => Decision::Sync {
                prune: operation.sync.as_ref().is_some_and(|sync| sync.prune),
                retry_count: running.map_or(0, |state| state.retry_count),
            },
            _ => plan::decide(
                spec,
                Situation {
                    revision: &revision,
                    out_of_sync: observation.targets.iter().any(|(_, compared)| !compared.in_sync),
                    requires_pruning: observation.surplus.iter().any(|(_, tracked)| prunable(tracked)),
                    empty: observation.targets.is_empty(),
                    last: status.operation_state.as_ref(),
                    heals,
                    last_heal,
                    now,
                },
            ),
        };
        let (prune, retry_count) = match decision {
            Decision::Nothing => {
                if running.is_some() {
                    // What was under way has been finished by others, or automation was switched off.
                    finish(status, "Succeeded", "successfully synced (all tasks run)", now);
                }
                return Ok(self.next_look(application, observation));
            }
            Decision::Wait(delay) => return Ok(Next::After(delay)),
            Decision::Sync { prune, retry_count } => (prune, retry_count),
        };
        let started = running.and_then(|state| state.started_at).unwrap_or(now);
        let was_running = running.is_some();
        let heal = !by_user
            && !was_running
            && status.operation_state.as_ref().is_some_and(|last| {
                last.phase == "Succeeded" && last.sync_result.as_ref().is_some_and(|result| result.revision == revision)
            });
        if heal {
            let mut all = lock(&self.heals);
            let (count, at) = all.entry(key.clone()).or_insert((0, now));
            let quiet = at.duration_until(now).unsigned_abs() > Duration::from_secs(60);
            *count = if quiet { 1 } else { *count + 1 };
            *at = now;
        } else if !was_running {
            // A new commit or a person's wish: what fought over the old state may be over.
            lock(&self.heals).remove(key);
        }
        let dry_run = requested.as_ref().and_then(|operation| operation.sync.as_ref()).is_some_and(|sync| sync.dry_run);
        let (progress, results) = if dry_run {
            (Progress::Done, Vec::new())
        } else {
            let permissions = Permissions { prune };
            sync::step(&self.live, &self.client, spec, &observation.targets, &observation.surplus, permissions).await?
        };
        let operation = requested.unwrap_or_else(|| Operation {
            sync: Some(SyncOperation { prune, ..SyncOperation::default() }),
            initiated_by: Some(InitiatedBy { automated: true, username: String::new() }),
            retry: None,
        });
        let source = spec.all_sources().first().map(|source| (*source).clone()).unwrap_or_default();
        let mut merged = if was_running { previous_results(status) } else { Vec::new() };
        merge_results(&mut merged, results);
        let initiated_by = operation.initiated_by.clone();
        status.operation_state = Some(OperationState {
            operation,
            phase: "Running".to_owned(),
            message: String::new(),
            started_at: Some(started),
            finished_at: None,
            retry_count,
            sync_result: Some(SyncResult { revision: revision.clone(), source: source.clone(), resources: merged }),
        });
        // What was just applied is compared again at once, so that the status is never behind the deed.
        self.compare_again(key, spec, observation).await?;
        match progress {
            Progress::Done => {
                finish(status, "Succeeded", "successfully synced (all tasks run)", now);
                if !dry_run {
                    record(status, spec, &revision, source, initiated_by, started, by_user);
                }
                Ok(self.next_look(application, observation))
            }
            Progress::WaitingForWave(wave) => {
                set_message(status, format!("waiting for the objects of wave {wave} to become healthy"));
                Ok(Next::After(PROGRESS_INTERVAL))
            }
            Progress::Failed => {
                let message = failure_message(status);
                finish(status, "Failed", &message, now);
                let retry = spec.sync_policy.as_ref().and_then(|policy| policy.retry.as_ref());
                Ok(Next::After(plan::retry_delay(retry, retry_count)))
            }
        }
    }

    async fn compare_again(
        &self,
        key: &Key,
        spec: &ApplicationSpec,
        observation: &mut Observation,
    ) -> Result<(), Error> {
        for (desired, compared) in &mut observation.targets {
            if !compared.in_sync {
                if desired.served.is_none() {
                    desired.served = self.live.kind(&desired.gvk).await.ok().flatten();
                }
                let (version, fresh) = compare::compare(&self.live, key, spec, desired).await?;
                lock(&self.cache).put(key, desired, version, fresh.clone());
                *compared = fresh;
            }
        }
        Ok(())
    }

    /// When to look again although nothing has told us to.
    fn next_look(&self, application: &Application, observation: &Observation) -> Next {
        let worst = worst_health(observation);
        let source = application.spec.all_sources().first().map(|source| source.repo_url.clone()).unwrap_or_default();
        let polled =
            observation.rendered.depends_on_others() || matches!(Location::parse(&source), Ok(Location::Remote(_)));
        let quiet = if polled { self.sources.poll() } else { SAFETY_INTERVAL };
        Next::After(match worst {
            HealthStatus::Progressing | HealthStatus::Missing => PROGRESS_INTERVAL,
            HealthStatus::Degraded | HealthStatus::Unknown => DEGRADED_INTERVAL,
            HealthStatus::Healthy | HealthStatus::Suspended => quiet,
        })
    }

    /// The credentials of the Application's namespace, for repositories that its project may read: what a repository names
    /// elsewhere gets at no more than its Application could.
    fn credentials(&self, key: &Key, project: Option<Value>) -> CredentialsOf {
        let secrets = self.secrets.in_namespace(key.namespace());
        Arc::new(move |url| {
            let permitted = project.as_ref().is_none_or(|project| project::permits_repository(project, url));
            credentials::find(&secrets, url).filter(|_| permitted)
        })
    }

    /// The AppProject, unless it is the default one and does not exist as an object.
    async fn project(&self, key: &Key, spec: &ApplicationSpec) -> Result<Option<Value>, Error> {
        let name = if spec.project.is_empty() { project::DEFAULT } else { &spec.project };
        let gvk = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "AppProject");
        let failure = |error| Error::api(format!("AppProject {name}"), error);
        let found = match self.live.kind(&gvk).await.map_err(failure)? {
            Some(served) => self.live.api(&served, key.namespace()).get_opt(name).await.map_err(failure)?,
            None => None,
        };
        match found {
            Some(project) => Ok(Some(serde_json::to_value(project).unwrap_or_default())),
            None if name == project::DEFAULT => Ok(None),
            None => Err(invalid(
                "spec.project",
                format!("AppProject {name:?} does not exist in namespace {}", key.namespace()),
            )),
        }
    }

    /// Deletes what the Application manages, then lets it go.
    async fn finalize(&self, key: &Key, application: &Application) -> Result<Next, Error> {
        let finalizers = application.metadata.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer.starts_with(RESOURCES_FINALIZER)) {
            return Ok(Next::Done);
        }
        self.watch_kinds(&[], application.status.as_ref()).await?;
        let stays = |tracked: &Tracked| {
            let has = |option| plan::has_sync_option(tracked.sync_options.as_deref(), option);
            has("Prune=false") || has("Delete=false")
        };
        let mut pending: Vec<_> =
            self.live.tracked_by(key).into_iter().filter(|(_, tracked)| !stays(tracked)).collect();
        if !pending.is_empty() {
            pending.sort_by_key(|(id, _)| std::cmp::Reverse(plan::apply_order(&json!({"kind": id.kind})).1));
            for (id, tracked) in &pending {
                sync::delete(&self.live, id, tracked).await?;
            }
            // The watch tells when they are gone; the timer covers objects that wait for finalizers of others.
            return Ok(Next::After(Duration::from_secs(2)));
        }
        let left: Vec<&String> =
            finalizers.iter().filter(|finalizer| !finalizer.starts_with(RESOURCES_FINALIZER)).collect();
        let patch = json!({"metadata": {"finalizers": left, "resourceVersion": application.metadata.resource_version}});
        self.patch(key, &patch).await?;
        Ok(Next::Done)
    }

    async fn remove_annotation(&self, key: &Key, name: &str) -> Result<(), Error> {
        self.patch(key, &json!({"metadata": {"annotations": {name: null}}})).await
    }

    async fn write_status(
        &self,
        key: &Key,
        previous: &ApplicationStatus,
        status: &mut ApplicationStatus,
        had_operation: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        let to_value = |status: &ApplicationStatus| serde_json::to_value(status).unwrap_or_default();
        let change = plan::merge_diff(&to_value(previous), &to_value(status));
        if change.is_none() && !had_operation {
            return Ok(());
        }
        status.reconciled_at = Some(now);
        let mut patch = json!({});
        if let Some(change) = plan::merge_diff(&to_value(previous), &to_value(status)) {
            patch["status"] = change;
        }
        if had_operation {
            patch["operation"] = Value::Null;
        }
        self.patch(key, &patch).await
    }

    async fn patch(&self, key: &Key, patch: &Value) -> Result<(), Error> {
        let api: Api<Application> = Api::namespaced(self.client.clone(), key.namespace());
        let parameters = PatchParams { field_manager: Some("lotse-delivery".to_owned()), ..PatchParams::default() };
        match api.patch(&key.name, &parameters, &Patch::Merge(patch)).await {
            Ok(written) => {
                self.applications.observed(&written).await;
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(Error::api(format!("Application {key}"), error)),
        }
    }
}

fn invalid(field: &'static str, message: impl Into<String>) -> Error {
    Error::InvalidSpec { field, message: message.into() }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
