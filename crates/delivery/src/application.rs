//! Typed view of `Application` (`argoproj.io/v1alpha1`), with the fields that Lotse reads and writes.
//!
//! Fields of Argo CD that Lotse does not know survive, because status is written by merge patch and spec is never written.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};

use crate::tools::{HelmSource, KustomizeSource};

/// The finalizer that makes deletion of an Application delete what it manages.
pub const RESOURCES_FINALIZER: &str = "resources-finalizer.argocd.argoproj.io";
/// Marks an object as managed by an Application: `<application>:<group>/<kind>:<namespace>/<name>`.
pub const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
/// Comma-separated options of one object: `Prune=false`, `Delete=false`, `Replace=true`, ….
pub const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// Objects of a lower wave are applied first.
pub const SYNC_WAVE: &str = "argocd.argoproj.io/sync-wave";
/// Set by a user to have the source looked at again now; removed once done.
pub const REFRESH: &str = "argocd.argoproj.io/refresh";
/// Marks a hook; see `docs/gaps.md`.
pub const HOOK: &str = "argocd.argoproj.io/hook";
/// Marks a hook of a chart.
pub const HELM_HOOK: &str = "helm.sh/hook";

/// What is to be delivered where.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Application {
    /// Standard metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The wish.
    #[serde(default)]
    pub spec: ApplicationSpec,
    /// What was seen and done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ApplicationStatus>,
    /// A sync that a user asks for; removed when it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

impl Resource for Application {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Application".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "argoproj.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1alpha1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "applications".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// `spec`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationSpec {
    /// AppProject; `default` allows everything.
    pub project: String,
    /// Where the manifests are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Several sources in one Application.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// Where they go.
    pub destination: Destination,
    /// When and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_policy: Option<SyncPolicy>,
    /// How many past syncs are kept; 10 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<usize>,
    /// Differences that do not matter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_differences: Vec<IgnoreDifference>,
}

/// `spec.source`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// `https://…`, `ssh://…`, `git@host:path`, `file:///…` or an absolute path; with `chart` a chart repository (`https://…`) or
    /// an OCI registry (`oci://…`, or without a scheme).
    #[serde(rename = "repoURL")]
    pub repo_url: String,
    /// Branch, tag or commit; `HEAD` when empty. A plain working directory is read as it is when this is `WORKTREE`. With `chart`
    /// a version or a constraint such as `1.*`; the newest when empty.
    pub target_revision: String,
    /// Directory in the repository.
    pub path: String,
    /// Options of plain directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
    /// Options of charts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helm: Option<HelmSource>,
    /// Options of kustomizations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<KustomizeSource>,
    /// A chart of a Helm repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<String>,
}

/// `spec.source.directory`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Directory {
    /// Also the directories below.
    pub recurse: bool,
    /// Only these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<String>,
    /// Not these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
}

/// `spec.destination`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Destination {
    /// API server; `https://kubernetes.default.svc` is this cluster.
    pub server: String,
    /// Name of a cluster; `in-cluster` is this one.
    pub name: String,
    /// Namespace for objects that name none.
    pub namespace: String,
}

/// `spec.syncPolicy`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncPolicy {
    /// Sync without being asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automated: Option<Automated>,
    /// `CreateNamespace=true`, `ServerSideApply=true`, `PruneLast=true`, ….
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sync_options: Vec<String>,
    /// What to do after a failed sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Labels and annotations of a namespace made by `CreateNamespace=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_namespace_metadata: Option<NamespaceMetadata>,
}

/// `spec.syncPolicy.automated`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Automated {
    /// Delete what is no longer in the repository.
    pub prune: bool,
    /// Undo changes that others make.
    pub self_heal: bool,
    /// Prune even when the repository has no object left.
    pub allow_empty: bool,
    /// `false` suspends automation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// `spec.syncPolicy.retry`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// How many times; negative means for ever.
    pub limit: i64,
    /// How long to wait in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { limit: 5, backoff: None }
    }
}

/// `spec.syncPolicy.retry.backoff`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Backoff {
    /// First wait, e.g. `5s`.
    pub duration: String,
    /// Growth.
    pub factor: u32,
    /// Longest wait, e.g. `3m`.
    pub max_duration: String,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { duration: "5s".to_owned(), factor: 2, max_duration: "3m".to_owned() }
    }
}

/// `spec.syncPolicy.managedNamespaceMetadata`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct NamespaceMetadata {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// `spec.ignoreDifferences[]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct IgnoreDifference {
    /// API group, `*` for any.
    pub group: String,
    /// Kind, `*` for any.
    pub kind: String,
    /// Name, empty for any.
    pub name: String,
    /// Namespace, empty for any.
    pub namespace: String,
    /// JSON pointers to ignore.
    pub json_pointers: Vec<String>,
}

/// `operation`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// A sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncOperation>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<InitiatedBy>,
    /// Retries of this operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// `operation.sync`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncOperation {
    /// Another revision than `targetRevision` (a rollback names the commit).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// Delete what is not in the repository.
    pub prune: bool,
    /// Compare only.
    #[serde(skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Options for this operation only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sync_options: Vec<String>,
    /// The source to use instead of the Application's (rollback).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// For `skip_serializing_if`.
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

/// `operation.initiatedBy`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct InitiatedBy {
    /// A person.
    pub username: String,
    /// The controller itself.
    pub automated: bool,
}

/// `status`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationStatus {
    /// Every object, desired or to be pruned.
    pub resources: Vec<ResourceStatus>,
    /// Whether live equals desired.
    pub sync: SyncStatus,
    /// Worst health of the objects.
    pub health: Health,
    /// What is wrong, for people.
    pub conditions: Vec<Condition>,
    /// Past syncs, oldest first.
    pub history: Vec<HistoryEntry>,
    /// The current or last sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_state: Option<OperationState>,
    /// When the comparison last changed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub reconciled_at: Option<Timestamp>,
    /// `Directory`, `Kustomize` or `Helm`.
    pub source_type: String,
    /// What users look at first.
    pub summary: Summary,
}

/// `status.sync`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncStatus {
    /// `Synced`, `OutOfSync` or `Unknown`.
    pub status: String,
    /// The commit that was compared; of a chart its version.
    pub revision: String,
    /// With what was compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_to: Option<ComparedTo>,
}

/// `status.sync.comparedTo`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ComparedTo {
    /// The source at that time.
    pub source: Source,
    /// The destination at that time.
    pub destination: Destination,
}

/// `status.health`, and of each resource.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct Health {
    /// `Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing` or `Unknown`.
    pub status: String,
    /// The cause, when not healthy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// `status.resources[]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceStatus {
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `Synced` or `OutOfSync`.
    pub status: String,
    /// Health, for kinds that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// In the cluster but no longer in the repository.
    #[serde(skip_serializing_if = "is_false")]
    pub requires_pruning: bool,
    /// Sync wave, when not 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_wave: Option<i64>,
}

/// `status.conditions[]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `ComparisonError`, `InvalidSpecError`, `SyncError`, `OrphanedResourceWarning`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub last_transition_time: Option<Timestamp>,
}

/// `status.history[]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryEntry {
    /// Counts up.
    pub id: i64,
    /// The commit.
    pub revision: String,
    /// When the sync ended.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub deployed_at: Option<Timestamp>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub deploy_started_at: Option<Timestamp>,
    /// The source at that time.
    pub source: Source,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<InitiatedBy>,
}

/// `status.operationState`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationState {
    /// What was asked.
    pub operation: Operation,
    /// `Running`, `Succeeded`, `Failed`, `Error`.
    pub phase: String,
    /// One sentence.
    pub message: String,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub finished_at: Option<Timestamp>,
    /// How often it has been retried.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_count: i64,
    /// What was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_result: Option<SyncResult>,
}

/// Times of Kubernetes' objects are in whole seconds (`metav1.Time`).
#[expect(clippy::ref_option, reason = "serde gives a reference")]
fn whole_seconds<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.and_then(|time| Timestamp::from_second(time.as_second()).ok()).serialize(serializer)
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// `status.operationState.syncResult`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncResult {
    /// The commit.
    pub revision: String,
    /// The source.
    pub source: Source,
    /// One entry for each object.
    pub resources: Vec<ResourceResult>,
}

/// `status.operationState.syncResult.resources[]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceResult {
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `Synced`, `SyncFailed`, `Pruned`, `PruneSkipped`.
    pub status: String,
    /// What the API server said.
    pub message: String,
    /// `Sync`.
    pub sync_phase: String,
}

/// `status.summary`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Container images of the desired state.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Where Ingresses lead to.
    #[serde(rename = "externalURLs", skip_serializing_if = "Vec::is_empty")]
    pub external_urls: Vec<String>,
}

// === impl ApplicationSpec ===

impl ApplicationSpec {
    /// All sources, whether written as `source` or `sources`.
    pub fn all_sources(&self) -> Vec<&Source> {
        if self.sources.is_empty() { self.source.iter().collect() } else { self.sources.iter().collect() }
    }

    /// Whether `Option=true` is among the sync options.
    pub fn has_option(&self, option: &str) -> bool {
        self.sync_policy.as_ref().is_some_and(|policy| policy.sync_options.iter().any(|set| set == option))
    }

    /// The automation, unless it is absent or suspended.
    pub fn automated(&self) -> Option<&Automated> {
        self.sync_policy.as_ref()?.automated.as_ref().filter(|automated| automated.enabled != Some(false))
    }
}
