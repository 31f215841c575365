//! The decision: which ReplicaSets a Deployment needs next. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use kube::ResourceExt;

use super::status::{self, Rollout};
use crate::{
    claim, hash,
    intstr::{Round, scaled},
};

/// The revision of a template, on the Deployment and on its ReplicaSets.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const HASH: &str = "pod-template-hash";

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) deployment: &'a Deployment,
    /// The ReplicaSets that belong to it.
    pub(super) sets: &'a [Arc<ReplicaSet>],
    pub(super) now: Timestamp,
    /// Whether a set still has pods that are not terminal (terminating ones count).
    pub(super) running: &'a dyn Fn(&ReplicaSet) -> bool,
}

/// One write.
#[derive(Debug)]
pub(super) enum Step {
    Create(Box<ReplicaSet>),
    Scale { set: Arc<ReplicaSet>, replicas: i32, annotations: BTreeMap<String, String> },
    Annotate { set: Arc<ReplicaSet>, annotations: BTreeMap<String, String>, min_ready_seconds: Option<i32> },
    Revision(i64),
    Delete(Arc<ReplicaSet>),
}

/// What to do now, the status to report, and when to look again even if nothing changes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) status: DeploymentStatus,
    pub(super) next: Option<Duration>,
}

/// The numbers of the strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) desired: i32,
    pub(super) max_surge: i32,
    pub(super) max_unavailable: i32,
    pub(super) recreate: bool,
}

// === impl Limits ===

impl Limits {
    /// maxSurge rounds up, maxUnavailable down; both zero would never move, so one may be unavailable then.
    pub(super) fn of(deployment: &Deployment) -> Self {
        let desired = deployment.spec.replicas.unwrap_or(1);
        let strategy = deployment.spec.strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Self { desired, max_surge: 0, max_unavailable: desired, recreate: true };
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".to_owned());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
        let max_surge = scaled(surge, desired, Round::Up);
        let mut max_unavailable = scaled(unavailable, desired, Round::Down);
        if max_surge == 0 && max_unavailable == 0 {
            max_unavailable = 1;
        }
        Self { desired, max_surge, max_unavailable: max_unavailable.min(desired), recreate: false }
    }

    fn max_total(self) -> i32 {
        if self.desired == 0 { 0 } else { self.desired.saturating_add(self.max_surge) }
    }
}

/// The template without the label that the controller itself adds.
fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(meta) = &mut template.metadata {
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH);
            if labels.is_empty() {
                meta.labels = None;
            }
        }
        meta.creation_timestamp = None;
        if *meta == ObjectMeta::default() {
            template.metadata = None;
        }
    }
    template
}

pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// Available pods as far as they are still wanted: a set that was just scaled down reports its former pods for a moment.
fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0).min(size(set))
}

fn annotation<T: std::str::FromStr>(meta: &ObjectMeta, name: &str) -> Option<T> {
    meta.annotations.as_ref()?.get(name)?.parse().ok()
}

/// The set whose template is the Deployment's; the oldest if several have it.
fn current<'a>(deployment: &Deployment, sets: &'a [Arc<ReplicaSet>]) -> Option<&'a Arc<ReplicaSet>> {
    let wanted = bare(&deployment.spec.template);
    sets.iter()
        .filter(|set| set.spec.template.as_ref().is_some_and(|template| bare(template) == wanted))
        .min_by(|a, b| by_age(a, b))
}

fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> std::cmp::Ordering {
    a.metadata
        .creation_timestamp
        .cmp(&b.metadata.creation_timestamp)
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// Decides the next steps.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let Observed { deployment, sets, now, running } = *observed;
    let limits = Limits::of(deployment);
    let new = current(deployment, sets).cloned();
    let mut old: Vec<Arc<ReplicaSet>> = sets
        .iter()
        .filter(|set| new.as_ref().is_none_or(|new| new.metadata.uid != set.metadata.uid))
        .cloned()
        .collect();
    old.sort_by(|a, b| by_age(a, b));

    let mut steps = Vec::new();
    let rollout = Rollout { deployment, limits, sets, new: new.as_ref(), now };
    if deployment.metadata.deletion_timestamp.is_some() {
        return Plan { steps, status: status::counts_only(&rollout), next: None };
    }
    let paused = deployment.spec.paused.unwrap_or(false);
    let scaling = sets.iter().any(|set| {
        size(set) > 0 && annotation::<i32>(&set.metadata, DESIRED).is_some_and(|desired| desired != limits.desired)
    });
    let mut created = None;
    if paused || scaling {
        if let Some(new) = &new
            && !paused
        {
            revise(deployment, new, &old, &mut steps);
        }
        if steps.iter().any(|step| matches!(step, Step::Annotate { .. })) {
            // One write per set and pass: its echo brings us back.
            let (status, next) = status::report(&rollout, paused, scaling, None);
            return Plan { steps, status, next };
        }
        scale(deployment, limits, new.as_ref(), &old, &mut steps);
        if paused {
            clean_up(deployment, new.as_ref(), &old, &mut steps);
        }
    } else {
        match (&new, limits.recreate) {
            (_, true) if old.iter().any(|set| size(set) > 0) => {
                for set in old.iter().filter(|set| size(set) > 0) {
                    steps.push(resize(set, 0, limits));
                }
            }
            // Recreate: the new pods must not start before the last old one is gone.
            (_, true) if old.iter().any(|set| running(set)) => {}
            (None, _) => {
                let others = old.iter().map(|set| size(set)).sum();
                let set = new_set(deployment, new_size(limits, 0, others), &old, limits);
                created = Some(set.name_any());
                steps.push(Step::Revision(next_revision(&old)));
                steps.push(Step::Create(Box::new(set)));
            }
            (Some(new), _) => {
                revise(deployment, new, &old, &mut steps);
                // One write per set and pass: its echo brings us back.
                let annotated = steps.iter().any(|step| matches!(step, Step::Annotate { .. }));
                let others: i32 = old.iter().map(|set| size(set)).sum();
                let wanted = new_size(limits, size(new), others);
                if annotated {
                } else if wanted != size(new) {
                    steps.push(resize(new, wanted, limits));
                } else if !limits.recreate {
                    shrink_old(limits, new, &old, &mut steps);
                }
            }
        }
        if steps.is_empty() && status::is_complete(&rollout) {
            clean_up(deployment, new.as_ref(), &old, &mut steps);
        }
    }
    let (status, next) = status::report(&rollout, paused, scaling, created.as_deref());
    Plan { steps, status, next }
}

fn max_revision(sets: &[Arc<ReplicaSet>]) -> i64 {
    sets.iter().filter_map(|set| annotation::<i64>(&set.metadata, REVISION)).max().unwrap_or(0)
}

fn next_revision(old: &[Arc<ReplicaSet>]) -> i64 {
    max_revision(old).saturating_add(1)
}

/// The Deployment's own annotations that its ReplicaSets carry too (the change cause among them).
fn inherited(deployment: &Deployment) -> impl Iterator<Item = (&String, &String)> {
    let own = [REVISION, REVISION_HISTORY, DESIRED, MAX, LAST_APPLIED];
    deployment
        .metadata
        .annotations
        .iter()
        .flatten()
        .filter(move |(name, _)| !own.contains(&name.as_str()) && !name.starts_with("deprecated.deployment.rollback"))
}

/// Brings revision and annotations of an existing current set, and the Deployment's revision, up to date. A rolled-back
/// template gets a new, highest revision; the former one goes to the history annotation.
fn revise(deployment: &Deployment, new: &Arc<ReplicaSet>, old: &[Arc<ReplicaSet>], steps: &mut Vec<Step>) {
    let mut changed: BTreeMap<String, String> = inherited(deployment)
        .filter(|(name, value)| new.metadata.annotations.as_ref().and_then(|all| all.get(*name)) != Some(*value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let revision = next_revision(old);
    let own = annotation::<i64>(&new.metadata, REVISION);
    if own.is_none_or(|own| own < revision) {
        changed.insert(REVISION.to_owned(), revision.to_string());
        if let Some(own) = own {
            let history = new.metadata.annotations.as_ref().and_then(|all| all.get(REVISION_HISTORY));
            let history = history.filter(|history| !history.is_empty());
            let history = history.map_or_else(|| own.to_string(), |history| format!("{history},{own}"));
            changed.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    let min_ready = deployment.spec.min_ready_seconds.unwrap_or(0);
    if !changed.is_empty() || new.spec.min_ready_seconds.unwrap_or(0) != min_ready {
        steps.push(Step::Annotate { set: new.clone(), annotations: changed, min_ready_seconds: Some(min_ready) });
    }
    let revision = own.unwrap_or(0).max(revision);
    if annotation::<i64>(&deployment.metadata, REVISION) != Some(revision) {
        steps.push(Step::Revision(revision));
    }
}

/// The set for a template that has none yet.
fn new_set(deployment: &Deployment, replicas: i32, old: &[Arc<ReplicaSet>], limits: Limits) -> ReplicaSet {
    let mut template = bare(&deployment.spec.template);
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash::stable(&template, collisions, 10);
    let meta = template.metadata.get_or_insert_default();
    let labels = meta.labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = deployment.spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH.to_owned(), hash.clone());
    let mut annotations: BTreeMap<_, _> =
        inherited(deployment).map(|(name, value)| (name.clone(), value.clone())).collect();
    annotations.insert(REVISION.to_owned(), next_revision(old).to_string());
    annotations.extend(sizes(limits));
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![claim::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: deployment.spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}

fn sizes(limits: Limits) -> BTreeMap<String, String> {
    [
        (DESIRED.to_owned(), limits.desired.to_string()),
        (MAX.to_owned(), limits.desired.saturating_add(limits.max_surge).to_string()),
    ]
    .into()
}

fn resize(set: &Arc<ReplicaSet>, replicas: i32, limits: Limits) -> Step {
    Step::Scale { set: set.clone(), replicas, annotations: sizes(limits) }
}

/// How many pods the current set may have now, given how many the others have.
fn new_size(limits: Limits, own: i32, others: i32) -> i32 {
    if limits.recreate || own >= limits.desired {
        return limits.desired;
    }
    let room = limits.desired.saturating_add(limits.max_surge) - others - own;
    own + room.min(limits.desired - own).max(0)
}

/// Takes pods from the old sets, unhealthy ones first, as far as the number of available pods allows.
fn shrink_old(limits: Limits, new: &Arc<ReplicaSet>, old: &[Arc<ReplicaSet>], steps: &mut Vec<Step>) {
    let others: i32 = old.iter().map(|set| size(set)).sum();
    if others == 0 {
        return;
    }
    let min_available = limits.desired - limits.max_unavailable;
    let new_unavailable = size(new) - available(new);
    let may_go = others + size(new) - min_available - new_unavailable;
    if may_go <= 0 {
        return;
    }
    let mut target: Vec<i32> = old.iter().map(|set| size(set)).collect();
    let mut gone = 0;
    for (set, target) in old.iter().zip(&mut target) {
        // Pods that are not available cost nothing when they go.
        let unhealthy = (*target - available(set)).min(may_go - gone).max(0);
        *target -= unhealthy;
        gone += unhealthy;
    }
    let total_available: i32 = available(new) + old.iter().map(|set| available(set)).sum::<i32>();
    let mut healthy = (total_available - min_available).min(may_go - gone).max(0);
    for target in &mut target {
        let count = (*target).min(healthy);
        *target -= count;
        healthy -= count;
    }
    for (set, target) in old.iter().zip(target) {
        if target != size(set) {
            steps.push(resize(set, target, limits));
        }
    }
}

/// Reacts to a changed `spec.replicas` outside of a rollout's own steps: the one active set takes all; during a rollout
/// the difference is spread in proportion, so that the risk stays as it was.
fn scale(
    deployment: &Deployment,
    limits: Limits,
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
    steps: &mut Vec<Step>,
) {
    let mut active: Vec<_> = old.iter().chain(new).filter(|set| size(set) > 0).collect();
    if active.len() <= 1 {
        if let Some(set) = active.first().copied().or(new).or(old.last())
            && (size(set) != limits.desired || outdated(set, limits))
        {
            steps.push(resize(set, limits.desired, limits));
        }
        return;
    }
    if let Some(new) = new
        && size(new) == limits.desired
        && annotation::<i32>(&new.metadata, DESIRED) == Some(limits.desired)
        && available(new) == limits.desired
    {
        steps.extend(old.iter().filter(|set| size(set) > 0).map(|set| resize(set, 0, limits)));
        return;
    }
    if limits.recreate {
        // Nothing to spread, but the new number has been seen.
        steps.extend(active.iter().filter(|set| outdated(set, limits)).map(|set| resize(set, size(set), limits)));
        return;
    }
    let to_add = limits.max_total() - active.iter().map(|set| size(set)).sum::<i32>();
    // Bigger sets first; of equal ones the newer when growing, the older when shrinking.
    active.sort_by(|a, b| size(b).cmp(&size(a)).then_with(|| if to_add > 0 { by_age(b, a) } else { by_age(a, b) }));
    let mut added = 0;
    let mut targets: Vec<i32> = Vec::with_capacity(active.len());
    for set in &active {
        let share = share(deployment, limits, set, to_add, added);
        added += share;
        targets.push(size(set) + share);
    }
    if let Some(first) = targets.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (set, target) in active.into_iter().zip(targets) {
        if target != size(set) || outdated(set, limits) {
            steps.push(resize(set, target, limits));
        }
    }
}

fn outdated(set: &ReplicaSet, limits: Limits) -> bool {
    annotation::<i32>(&set.metadata, DESIRED) != Some(limits.desired)
}

/// One set's share of `to_add`, in proportion to its size before the change.
fn share(deployment: &Deployment, limits: Limits, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if size(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = if limits.desired == 0 {
        -size(set)
    } else {
        let before = annotation::<i32>(&set.metadata, MAX)
            .filter(|max| *max > 0)
            .or_else(|| deployment.status.as_ref().and_then(|status| status.replicas))
            .filter(|max| *max > 0)
            .unwrap_or(1);
        let (size, total, before) =
            (i64::from(size(set)), i64::from(limits.desired) + i64::from(limits.max_surge), i64::from(before));
        let rounded = (2 * size * total + before) / (2 * before);
        i32::try_from(rounded - size).unwrap_or(i32::MAX)
    };
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

/// Deletes the oldest empty old sets beyond the history limit.
fn clean_up(deployment: &Deployment, new: Option<&Arc<ReplicaSet>>, old: &[Arc<ReplicaSet>], steps: &mut Vec<Step>) {
    let limit = usize::try_from(deployment.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let mut alive: Vec<_> = old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
    let excess = alive.len().saturating_sub(limit);
    alive.sort_by_key(|set| annotation::<i64>(&set.metadata, REVISION).unwrap_or(0));
    let replaced = alive.into_iter().filter(|set| new.is_none_or(|new| new.metadata.uid != set.metadata.uid));
    for set in replaced.take(excess) {
        let empty = size(set) == 0
            && set.status.as_ref().is_none_or(|status| status.replicas == 0)
            && set.status.as_ref().and_then(|status| status.observed_generation) >= set.metadata.generation;
        if empty {
            steps.push(Step::Delete(set.clone()));
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
