//! DaemonSets: one pod on every node that may run it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus},
        core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodTemplateSpec, Toleration},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{ResourceExt, runtime::events::EventType};
use lotse_client::{Driver, Key, Next};

use crate::{
    Context, Error, claim,
    context::{Controller, Managed, now},
    intstr::{Round, scaled},
    pod, revision,
    scheduler::predicates,
};

const NAME: &str = "daemonset";

struct Sets;

/// One write.
#[derive(Debug, PartialEq)]
enum Step {
    Create { node: String },
    Delete(Arc<Pod>),
}

/// Everything the decision may look at.
struct Observed<'a> {
    set: &'a DaemonSet,
    /// The nodes, and whether a pod of the template may start there and may stay there.
    nodes: &'a [(Arc<Node>, Fit)],
    pods: &'a [Arc<Pod>],
    /// Value of the revision label of the present template.
    update: &'a str,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fit {
    start: bool,
    stay: bool,
}

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (sets, pods, nodes) = (context.cache::<DaemonSet>(), context.cache::<Pod>(), context.cache::<Node>());
    sets.ready().await;
    pods.ready().await;
    nodes.ready().await;
    context.cache::<ControllerRevision>().ready().await;
    let all = sets.clone();
    Driver::new(Managed::new(Sets, &context))
        .on_kind(&sets)
        .on_owned::<DaemonSet, Pod>(&pods)
        .on(&nodes, move |_| all.list().iter().map(|set| Key::of(set.as_ref())).collect())
        .run()
        .await;
}

impl Controller for Sets {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(set) = context.cache::<DaemonSet>().get(key) else { return Ok(Next::Done) };
        let pods: Vec<Arc<Pod>> = claim::claim(context, NAME, set.as_ref(), &set.spec.selector).await?;
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let revisions = revision::sync(context, NAME, set.as_ref(), &set.spec.selector, &set.spec.template).await?;
        let update = revisions.update.labels().get(revision::HASH).cloned().unwrap_or_default();
        let template = with_tolerations(&set.spec.template);
        let nodes: Vec<_> =
            context.cache::<Node>().list().into_iter().map(|node| (node.clone(), fit(&template, &node))).collect();
        let observed = Observed { set: &set, nodes: &nodes, pods: &pods, update: &update, now: now() };
        let mut failure = None;
        for step in plan(&observed) {
            let outcome = match &step {
                Step::Create { node } => create(context, &set, &template, node, &update).await,
                Step::Delete(pod) => match context.delete(pod.as_ref()).await {
                    Ok(()) => {
                        let note = format!("Deleted pod: {}", pod.name_any());
                        context.event(NAME, set.as_ref(), EventType::Normal, "SuccessfulDelete", note).await;
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = outcome {
                failure = Some(error);
                break;
            }
        }
        let uid = set.uid().unwrap_or_default();
        let pods = context
            .cache::<Pod>()
            .filter(|pod| pod.metadata.namespace == key.namespace && claim::is_controlled_by(&pod.metadata, &uid));
        let observed = Observed { pods: &pods, now: now(), ..observed };
        context.status(NAME, set.as_ref(), set.status.as_ref(), &status(&observed)).await?;
        if let Some(error) = failure {
            return Err(error);
        }
        let live = |recorded: &ControllerRevision| {
            pods.iter().any(|pod| pod.labels().get(revision::HASH) == recorded.labels().get(revision::HASH))
        };
        revision::clean_up(context, &revisions, set.spec.revision_history_limit, live).await?;
        let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
        let soonest = pods.iter().filter_map(|pod| pod::available_in(pod, min_ready, observed.now)).min();
        Ok(soonest.map_or(Next::Done, |delay| Next::After(delay + Duration::from_millis(10))))
    }
}

/// The template with the tolerations that every daemon pod has: node trouble neither stops nor evicts it.
fn with_tolerations(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let spec = template.spec.get_or_insert_default();
    let host_network = spec.host_network.unwrap_or(false);
    let tolerations = spec.tolerations.get_or_insert_default();
    let always = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    let network = [("node.kubernetes.io/network-unavailable", "NoSchedule")];
    for (key, effect) in always.iter().chain(network.iter().filter(|_| host_network)) {
        let toleration = Toleration {
            key: Some((*key).to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some((*effect).to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    template
}

/// What the node's name, labels and taints allow.
fn fit(template: &PodTemplateSpec, node: &Node) -> Fit {
    let Some(spec) = &template.spec else { return Fit { start: false, stay: false } };
    let named = spec.node_name.as_ref().is_none_or(|name| name.is_empty() || *name == node.name_any());
    let selected = named && predicates::matches_node(spec, node);
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let untolerated = |effects: &[&str]| predicates::untolerated_taint(node, tolerations, effects).is_some();
    Fit {
        start: selected && !untolerated(&["NoSchedule", "NoExecute"]),
        stay: selected && !untolerated(&["NoExecute"]),
    }
}

/// The node of a daemon pod: where it runs, or where its affinity pins it.
fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(name);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let field = fields.find(|field| field.key == "metadata.name" && field.operator == "In")?;
    field.values.as_ref()?.first().map(String::as_str)
}

fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(revision::HASH)).map_or("", String::as_str)
}

fn plan(observed: &Observed<'_>) -> Vec<Step> {
    let set = observed.set;
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let mut by_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in observed.pods {
        if let Some(node) = node_of(pod) {
            by_node.entry(node).or_default().push(pod);
        }
    }
    let mut steps = Vec::new();
    let (mut surge, mut unavailable) = rolling_limits(observed);
    for (node, fit) in observed.nodes {
        let name = node.name_any();
        let pods = by_node.remove(name.as_str()).unwrap_or_default();
        if !fit.start && (!fit.stay || pods.is_empty()) {
            steps.extend(pods.into_iter().filter(|pod| !pod::is_terminating(pod)).cloned().map(Step::Delete));
            continue;
        }
        let (finished, rest): (Vec<_>, Vec<_>) =
            pods.into_iter().partition(|pod| pod::is_terminal(pod) && !pod::is_terminating(pod));
        steps.extend(finished.into_iter().cloned().map(Step::Delete));
        let (new, old): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .filter(|pod| !pod::is_terminating(pod))
            .partition(|pod| revision_of(pod) == observed.update);
        let terminating = observed.pods.iter().any(|pod| node_of(pod) == Some(&name) && pod::is_terminating(pod));
        // More than one of a revision is a leftover; the oldest stays.
        for extra in surplus(&new).into_iter().chain(surplus(&old)) {
            steps.push(Step::Delete(extra.clone()));
        }
        match (new.first(), old.first()) {
            (None, None) if !terminating => steps.push(Step::Create { node: name }),
            (Some(new), Some(old)) if pod::is_available(new, min_ready, observed.now) => {
                steps.push(Step::Delete((*old).clone()));
            }
            (None, Some(old)) if is_rolling(set) => {
                if surge > 0 {
                    surge -= 1;
                    steps.push(Step::Create { node: name });
                } else if !pod::is_available(old, min_ready, observed.now) {
                    steps.push(Step::Delete((*old).clone()));
                } else if unavailable > 0 && max_surge(observed) == 0 {
                    unavailable -= 1;
                    steps.push(Step::Delete((*old).clone()));
                }
            }
            _ => {}
        }
    }
    // Pods of nodes that exist no more.
    let orphans = by_node.into_values().flatten().filter(|pod| !pod::is_terminating(pod));
    steps.extend(orphans.cloned().map(Step::Delete));
    steps
}

/// All but the oldest.
fn surplus<'a>(pods: &[&'a Arc<Pod>]) -> Vec<&'a Arc<Pod>> {
    let mut pods = pods.to_vec();
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
    pods.into_iter().skip(1).collect()
}

fn is_rolling(set: &DaemonSet) -> bool {
    set.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

fn wanted_nodes(observed: &Observed<'_>) -> i32 {
    i32::try_from(observed.nodes.iter().filter(|(_, fit)| fit.start).count()).unwrap_or(i32::MAX)
}

fn max_surge(observed: &Observed<'_>) -> i32 {
    let rolling = observed.set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    surge.map_or(0, |surge| scaled(surge, wanted_nodes(observed), Round::Up))
}

/// How many more pods may be created beside old ones, and how many more nodes may be without an available pod.
fn rolling_limits(observed: &Observed<'_>) -> (i32, i32) {
    let set = observed.set;
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let total = wanted_nodes(observed);
    let rolling = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let one = IntOrString::Int(1);
    let surge = max_surge(observed);
    let allowed = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&one);
    let mut allowed = scaled(allowed, total, Round::Up);
    if surge == 0 && allowed == 0 {
        allowed = 1;
    }
    let (mut surging, mut unavailable) = (0, 0);
    for (node, _) in observed.nodes.iter().filter(|(_, fit)| fit.start) {
        let name = node.name_any();
        let mut pods = observed.pods.iter().filter(|pod| node_of(pod) == Some(&name) && pod::is_active(pod)).peekable();
        let mut available = false;
        let mut count = 0;
        for pod in pods.by_ref() {
            count += 1;
            available |= pod::is_available(pod, min_ready, observed.now);
        }
        surging += i32::from(count > 1);
        unavailable += i32::from(!available);
    }
    ((surge - surging).max(0), (allowed - unavailable).max(0))
}

async fn create(
    context: &Context,
    set: &Arc<DaemonSet>,
    template: &PodTemplateSpec,
    node: &str,
    revision: &str,
) -> Result<(), Error> {
    let namespace = set.namespace().unwrap_or_default();
    let mut pod = pod::from_template(
        template,
        &namespace,
        format!("{}-", set.name_any()),
        claim::controller_reference(set.as_ref()),
    );
    pod.metadata.labels.get_or_insert_default().insert(revision::HASH.to_owned(), revision.to_owned());
    pin(&mut pod, node);
    match context.create(NAME, &pod).await {
        Ok(created) => {
            let note = format!("Created pod: {}", created.name_any());
            context.event(NAME, set.as_ref(), EventType::Normal, "SuccessfulCreate", note).await;
            Ok(())
        }
        Err(error) => {
            let note = format!("Error creating: {}", error.user_message());
            context.event(NAME, set.as_ref(), EventType::Warning, "FailedCreate", note).await;
            Err(error)
        }
    }
}

/// Pins a pod to a node by affinity, so that the scheduler (resources, ports) still has its say.
fn pin(pod: &mut Pod, node: &str) {
    let name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let spec = pod.spec.get_or_insert_default();
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    let required = &mut affinity.required_during_scheduling_ignored_during_execution;
    match required {
        // Terms are alternatives: the node has to stand in each of them.
        Some(selector) if !selector.node_selector_terms.is_empty() => {
            for term in &mut selector.node_selector_terms {
                term.match_fields = Some(vec![name.clone()]);
            }
        }
        _ => {
            let term = NodeSelectorTerm { match_fields: Some(vec![name]), match_expressions: None };
            *required = Some(NodeSelector { node_selector_terms: vec![term] });
        }
    }
}

fn status(observed: &Observed<'_>) -> DaemonSetStatus {
    let set = observed.set;
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let mut status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
        collision_count: set.status.as_ref().and_then(|status| status.collision_count),
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    for (node, fit) in observed.nodes {
        let name = node.name_any();
        let mut pods: Vec<_> =
            observed.pods.iter().filter(|pod| node_of(pod) == Some(&name) && pod::is_active(pod)).collect();
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
        if !fit.start {
            status.number_misscheduled += i32::from(!pods.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        if pods.is_empty() {
            continue;
        }
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pods.iter().any(|pod| pod::is_ready(pod)));
        available += i32::from(pods.iter().any(|pod| pod::is_available(pod, min_ready, observed.now)));
        updated += i32::from(pods.iter().any(|pod| revision_of(pod) == observed.update));
    }
    let unavailable = status.desired_number_scheduled - available;
    status.updated_number_scheduled = (updated != 0).then_some(updated);
    status.number_available = (available != 0).then_some(available);
    status.number_unavailable = (unavailable != 0).then_some(unavailable);
    status
}

#[cfg(test)]
#[path = "daemon_set_tests.rs"]
mod tests;
