//! The decision: which pending pod goes where, and why the others wait. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, PodAffinityTerm};
use kube::ResourceExt;
use lotse_client::Key;

use super::predicates::{self, HostPort, Resources};
use crate::{quantity, selector};

type Labels = BTreeMap<String, String>;

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) nodes: &'a [Arc<Node>],
    /// The pods that have a node and are not terminal.
    pub(super) placed: &'a [Arc<Pod>],
    pub(super) pending: Vec<Arc<Pod>>,
    pub(super) claim: &'a dyn Fn(&Key) -> Option<Arc<PersistentVolumeClaim>>,
    pub(super) volume: &'a dyn Fn(&str) -> Option<Arc<PersistentVolume>>,
    pub(super) namespace_labels: &'a dyn Fn(&str) -> Option<Labels>,
}

/// What happens to one pending pod.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    Bind {
        pod: Arc<Pod>,
        node: String,
    },
    /// `reason` and `message` of the condition PodScheduled=False.
    Wait {
        pod: Arc<Pod>,
        reason: &'static str,
        message: String,
    },
}

/// A node and what is left on it.
struct Place {
    node: Arc<Node>,
    free: Resources,
    ports: Vec<HostPort>,
    pods: Vec<Arc<Pod>>,
}

/// Decides for every pending pod; each placement counts for the next.
pub(super) fn plan(observed: Observed<'_>) -> Vec<Decision> {
    let mut places: Vec<Place> = observed.nodes.iter().map(|node| Place::new(node.clone())).collect();
    let by_name: HashMap<String, usize> =
        places.iter().enumerate().map(|(index, place)| (place.node.name_any(), index)).collect();
    for pod in observed.placed {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if let Some(place) = node.and_then(|node| by_name.get(node)).and_then(|index| places.get_mut(*index)) {
            place.take(pod.clone());
        }
    }
    places.sort_by_key(|place| place.node.name_any());
    let mut pending = observed.pending.clone();
    let priority = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    pending.sort_by(|a, b| {
        priority(b)
            .cmp(&priority(a))
            .then_with(|| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp))
            .then_with(|| Key::of(a.as_ref()).cmp(&Key::of(b.as_ref())))
    });
    pending
        .into_iter()
        .map(|pod| match place(&observed, &mut places, &pod) {
            Ok(node) => Decision::Bind { pod, node },
            Err((reason, message)) => Decision::Wait { pod, reason, message },
        })
        .collect()
}

/// The name of the chosen node, or reason and message.
fn place(observed: &Observed<'_>, places: &mut [Place], pod: &Arc<Pod>) -> Result<String, (&'static str, String)> {
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty()) {
        return Err(("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates".to_owned()));
    }
    let volumes = volumes_of(observed, pod).map_err(|why| {
        let total = places.len();
        let message = format!("0/{total} nodes are available: {why}. preemption: 0/{total} nodes are available: {total} Preemption is not helpful for scheduling.");
        ("Unschedulable", message)
    })?;
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(usize, i128)> = None;
    for (index, candidate) in places.iter().enumerate() {
        let mut why = Vec::new();
        refusals(observed, places, candidate, pod, &volumes, &mut why);
        if why.is_empty() {
            let score = candidate.score();
            if best.is_none_or(|(_, most)| score > most) {
                best = Some((index, score));
            }
        }
        for reason in why {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    if let Some(chosen) = best.and_then(|(index, _)| places.get_mut(index)) {
        chosen.take(pod.clone());
        return Ok(chosen.node.name_any());
    }
    let total = places.len();
    if total == 0 {
        return Err(("Unschedulable", "no nodes available to schedule pods".to_owned()));
    }
    let mut reasons: Vec<_> = reasons.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    reasons.sort();
    let message = format!(
        "0/{total} nodes are available: {}. preemption: 0/{total} nodes are available: {total} No preemption victims found for incoming pod.",
        reasons.join(", ")
    );
    Err(("Unschedulable", message))
}

/// The bound volumes of a pod, or why it has to wait for them.
fn volumes_of(observed: &Observed<'_>, pod: &Pod) -> Result<Vec<Arc<PersistentVolume>>, String> {
    let mut volumes = Vec::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let name = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => source.claim_name.clone(),
            (None, Some(_)) => format!("{}-{}", pod.name_any(), volume.name),
            (None, None) => continue,
        };
        let key = Key { namespace: pod.namespace(), name };
        let Some(claim) = (observed.claim)(&key) else {
            return Err(format!("persistentvolumeclaim {:?} not found", key.name));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim {:?} is being deleted", key.name));
        }
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Lost") {
            return Err(format!("persistentvolumeclaim {:?} bound to non-existent persistentvolume", key.name));
        }
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
        let volume = bound.filter(|_| phase == Some("Bound")).and_then(|name| (observed.volume)(name));
        let Some(volume) = volume else {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        };
        volumes.push(volume);
    }
    Ok(volumes)
}

/// Why `pod` cannot go to `candidate`, in the words of the Kubernetes scheduler.
fn refusals(
    observed: &Observed<'_>,
    places: &[Place],
    candidate: &Place,
    pod: &Arc<Pod>,
    volumes: &[Arc<PersistentVolume>],
    why: &mut Vec<String>,
) {
    let (node, Some(spec)) = (&candidate.node, &pod.spec) else { return };
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
        && !tolerations.iter().any(|toleration| {
            let taint = k8s_openapi::api::core::v1::Taint {
                key: "node.kubernetes.io/unschedulable".to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Default::default()
            };
            predicates::tolerates(toleration, &taint)
        })
    {
        why.push("node(s) were unschedulable".to_owned());
        return;
    }
    if let Some(taint) = predicates::untolerated_taint(node, tolerations, &["NoSchedule", "NoExecute"]) {
        let value = taint.value.as_deref().unwrap_or_default();
        why.push(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key));
        return;
    }
    if !predicates::matches_node(spec, node) {
        why.push("node(s) didn't match Pod's node affinity/selector".to_owned());
        return;
    }
    let local = |volume: &PersistentVolume| {
        let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
        let required = affinity.and_then(|affinity| affinity.required.as_ref());
        required
            .is_none_or(|selector| selector.node_selector_terms.iter().any(|term| predicates::matches_term(term, node)))
    };
    if !volumes.iter().all(|volume| local(volume)) {
        why.push("node(s) had volume node affinity conflict".to_owned());
        return;
    }
    let wanted_ports = predicates::host_ports(pod);
    if wanted_ports.iter().any(|port| candidate.ports.iter().any(|taken| predicates::ports_clash(port, taken))) {
        why.push("node(s) didn't have free ports for the requested pod ports".to_owned());
    }
    if candidate.free.get("pods").is_some_and(|free| *free < 1_000_000_000) {
        why.push("Too many pods".to_owned());
    }
    for (name, amount) in predicates::requests(spec) {
        if amount > 0 && candidate.free.get(&name).copied().unwrap_or(0) < amount {
            why.push(format!("Insufficient {name}"));
        }
    }
    if why.is_empty() {
        affinity(observed, places, candidate, pod, why);
    }
    if why.is_empty() {
        spread(places, candidate, pod, why);
    }
}

fn topology<'a>(place: &'a Place, key: &str) -> Option<&'a String> {
    place.node.metadata.labels.as_ref()?.get(key)
}

/// Whether `other` is one of the pods that a term of `owner` speaks of.
fn selects(observed: &Observed<'_>, term: &PodAffinityTerm, owner: &Pod, other: &Pod) -> bool {
    let Some(wanted) = &term.label_selector else { return false };
    let namespace = other.namespace().unwrap_or_default();
    let listed = term.namespaces.as_deref().unwrap_or_default();
    let in_scope = if listed.is_empty() && term.namespace_selector.is_none() {
        owner.namespace() == other.namespace()
    } else {
        let labels = (observed.namespace_labels)(&namespace);
        listed.contains(&namespace)
            || term.namespace_selector.as_ref().is_some_and(|wanted| selector::matches(wanted, labels.as_ref()))
    };
    in_scope && selector::matches(wanted, other.metadata.labels.as_ref())
}

/// Required pod affinity and anti-affinity, of the pod and of those that are there.
fn affinity(observed: &Observed<'_>, places: &[Place], candidate: &Place, pod: &Arc<Pod>, why: &mut Vec<String>) {
    let rules = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let same_domain = |key: &str| -> Vec<&Arc<Pod>> {
        let domain = topology(candidate, key);
        let same = places.iter().filter(|place| domain.is_some() && topology(place, key) == domain);
        same.flat_map(|place| place.pods.iter()).collect()
    };
    let required = rules.and_then(|rules| rules.pod_affinity.as_ref());
    for term in required.iter().flat_map(|r| r.required_during_scheduling_ignored_during_execution.iter().flatten()) {
        let found = same_domain(&term.topology_key).into_iter().any(|other| selects(observed, term, pod, other));
        // The first pod of a group that wants to be together has nobody to be with.
        let alone = || {
            let nobody = places.iter().flat_map(|place| &place.pods).all(|other| !selects(observed, term, pod, other));
            nobody && selects(observed, term, pod, pod) && topology(candidate, &term.topology_key).is_some()
        };
        if !found && !alone() {
            why.push("node(s) didn't match pod affinity rules".to_owned());
            return;
        }
    }
    let anti = rules.and_then(|rules| rules.pod_anti_affinity.as_ref());
    for term in anti.iter().flat_map(|r| r.required_during_scheduling_ignored_during_execution.iter().flatten()) {
        if same_domain(&term.topology_key).into_iter().any(|other| selects(observed, term, pod, other)) {
            why.push("node(s) didn't match pod anti-affinity rules".to_owned());
            return;
        }
    }
    for (place, other) in places.iter().flat_map(|place| place.pods.iter().map(move |other| (place, other))) {
        let anti = other
            .spec
            .as_ref()
            .and_then(|spec| spec.affinity.as_ref())
            .and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        for term in anti.iter().flat_map(|r| r.required_during_scheduling_ignored_during_execution.iter().flatten()) {
            let domain = topology(candidate, &term.topology_key);
            if domain.is_some() && topology(place, &term.topology_key) == domain && selects(observed, term, other, pod)
            {
                why.push("node(s) didn't satisfy existing pods anti-affinity rules".to_owned());
                return;
            }
        }
    }
}

/// Hard topology spread constraints: the chosen domain must not get more than `maxSkew` ahead of the emptiest.
fn spread(places: &[Place], candidate: &Place, pod: &Arc<Pod>, why: &mut Vec<String>) {
    let constraints = pod.spec.iter().flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
    for constraint in constraints.filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule") {
        let Some(own) = topology(candidate, &constraint.topology_key) else {
            why.push("node(s) didn't match pod topology spread constraints (missing required label)".to_owned());
            return;
        };
        let matching = |other: &Arc<Pod>| {
            other.namespace() == pod.namespace()
                && constraint
                    .label_selector
                    .as_ref()
                    .is_some_and(|wanted| selector::matches(wanted, other.metadata.labels.as_ref()))
        };
        let mut domains: BTreeMap<&String, i32> = BTreeMap::new();
        for place in places {
            if let Some(domain) = topology(place, &constraint.topology_key) {
                let count = place.pods.iter().filter(|other| matching(other)).count();
                *domains.entry(domain).or_default() += i32::try_from(count).unwrap_or(i32::MAX);
            }
        }
        let least = domains.values().min().copied().unwrap_or(0);
        let least =
            if i32::try_from(domains.len()).unwrap_or(0) < constraint.min_domains.unwrap_or(1) { 0 } else { least };
        let mine = domains.get(own).copied().unwrap_or(0) + i32::from(matching(pod));
        if mine - least > constraint.max_skew {
            why.push("node(s) didn't match pod topology spread constraints".to_owned());
            return;
        }
    }
}

// === impl Place ===

impl Place {
    fn new(node: Arc<Node>) -> Self {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let free = allocatable.into_iter().flatten().map(|(name, amount)| (name.clone(), quantity::value(amount)));
        Self { free: free.collect(), ports: Vec::new(), pods: Vec::new(), node }
    }

    fn take(&mut self, pod: Arc<Pod>) {
        for (name, amount) in pod.spec.as_ref().map(predicates::requests).unwrap_or_default() {
            *self.free.entry(name).or_default() -= amount;
        }
        if let Some(pods) = self.free.get_mut("pods") {
            *pods -= 1_000_000_000;
        }
        self.ports.extend(predicates::host_ports(&pod));
        self.pods.push(pod);
    }

    /// Most free memory first.
    fn score(&self) -> i128 {
        self.free.get("memory").copied().unwrap_or(0)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
