//! What decides whether a pod fits a node. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration};
use kube::ResourceExt;

use crate::quantity::{self, Nano};

/// Node name, `nodeSelector` and required node affinity.
pub(crate) fn matches_node(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.labels();
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|selector| selector.node_selector_terms.iter().any(|term| matches_term(term, node)))
}

/// Terms are alternatives, the requirements of one are not; an empty term matches nothing.
pub(crate) fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let name = node.name_any();
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| holds(requirement, node.labels().get(&requirement.key)))
        && fields.iter().all(|field| field.key == "metadata.name" && holds(field, Some(&name)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: &String| text.parse::<i64>().ok();
    let compare = |holds: fn(&i64, &i64) -> bool| {
        let bound = values.first().and_then(number);
        value.and_then(number).zip(bound).is_some_and(|(value, bound)| holds(&value, &bound))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

/// The first taint with one of `effects` that no toleration covers.
pub(crate) fn untolerated_taint<'a>(node: &'a Node, tolerations: &[Toleration], effects: &[&str]) -> Option<&'a Taint> {
    let taints = node.spec.as_ref()?.taints.as_ref()?;
    taints
        .iter()
        .find(|taint| effects.contains(&taint.effect.as_str()) && !tolerations.iter().any(|t| tolerates(t, taint)))
}

/// Whether `toleration` covers `taint`.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let empty = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    let effect = empty(&toleration.effect) || toleration.effect.as_deref() == Some(&taint.effect);
    let key = empty(&toleration.key) || toleration.key.as_deref() == Some(&taint.key);
    let value = match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        // An empty key tolerates everything only with Exists.
        "Equal" | "" => {
            !empty(&toleration.key)
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    };
    effect && key && value
}

/// Resources by name.
pub(crate) type Resources = BTreeMap<String, Nano>;

/// What a pod asks for: the sum of its containers and sidecars, but at least what its largest init container needs while
/// it starts, plus the overhead (KEP-753). Pod-level resources replace the sum for what they name.
pub(crate) fn requests(spec: &PodSpec) -> Resources {
    let of = |resources: &Option<k8s_openapi::api::core::v1::ResourceRequirements>| -> Resources {
        let requests = resources.as_ref().and_then(|resources| resources.requests.as_ref());
        requests.into_iter().flatten().map(|(name, amount)| (name.clone(), quantity::value(amount))).collect()
    };
    let mut running = Resources::new();
    for container in &spec.containers {
        add(&mut running, of(&container.resources));
    }
    let (mut sidecars, mut starting) = (Resources::new(), Resources::new());
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, of(&container.resources));
            max(&mut starting, sidecars.clone());
        } else {
            let mut now = of(&container.resources);
            add(&mut now, sidecars.clone());
            max(&mut starting, now);
        }
    }
    add(&mut running, sidecars);
    max(&mut running, starting);
    running.extend(of(&spec.resources));
    let overhead = spec.overhead.iter().flatten().map(|(name, amount)| (name.clone(), quantity::value(amount)));
    add(&mut running, overhead.collect());
    running
}

pub(crate) fn add(total: &mut Resources, more: Resources) {
    for (name, amount) in more {
        *total.entry(name).or_default() += amount;
    }
}

fn max(total: &mut Resources, other: Resources) {
    for (name, amount) in other {
        let entry = total.entry(name).or_default();
        *entry = (*entry).max(amount);
    }
}

/// A port on the node: address, protocol, number.
pub(crate) type HostPort = (String, String, i32);

/// The node ports that a pod takes; with `hostNetwork` every container port is one.
pub(crate) fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let host_network = spec.host_network.unwrap_or(false);
    spec.containers
        .iter()
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let number = port.host_port.or(host_network.then_some(port.container_port)).filter(|number| *number > 0)?;
            let address = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
            Some((address, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), number))
        })
        .collect()
}

/// Whether two node ports cannot be taken at once; the wildcard address meets every other.
pub(crate) fn ports_clash(a: &HostPort, b: &HostPort) -> bool {
    a.1 == b.1 && a.2 == b.2 && (a.0 == b.0 || a.0 == "0.0.0.0" || b.0 == "0.0.0.0")
}
