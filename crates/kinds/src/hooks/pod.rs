//! Pod.

use lotse_schema::Cause;
use serde_json::{Value, json};

use super::{CONTAINER_LISTS, pod_defaults, pod_spec, pod_update};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, is_empty},
    quantity,
};

pub(crate) fn default(pod: &mut Value) {
    pod_defaults::default_pod(pod);
}

/// A new pod waits and has its class of service; what admission plugins of Kubernetes add without looking at other objects
/// (ServiceAccount's name, tolerations of a lost node for five minutes) is added here. Priorities of named classes, the token
/// volume and the node are the business of those who know the other objects.
pub(crate) fn prepare(strategy: Strategy, new: &mut Value, old: Option<&Value>) -> Result<(), Vec<Cause>> {
    if strategy != Strategy::Create || old.is_some() {
        return Ok(());
    }
    let class = qos_class(new);
    new.set("status", json!({"phase": "Pending", "qosClass": class}));
    if let Some(spec) = new.at_mut("spec") {
        spec.set_default("serviceAccountName", "default");
        spec.set_default("serviceAccount", "default");
        tolerate_short_failures(spec);
    }
    Ok(())
}

fn tolerate_short_failures(spec: &mut Value) {
    const SECONDS: i64 = 300;
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = spec.items("tolerations").iter().any(|toleration| {
            let effect = toleration.filled("effect");
            toleration.filled("key").is_none_or(|tolerated| tolerated == key)
                && effect.is_none_or(|effect| effect == "NoExecute")
        });
        if tolerated {
            continue;
        }
        let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
        match spec.get_mut("tolerations") {
            Some(Value::Array(tolerations)) => tolerations.push(toleration),
            None | Some(Value::Null) => spec.set("tolerations", vec![toleration]),
            Some(_) => {}
        }
    }
}

/// `Guaranteed` where every container limits cpu and memory and requests exactly that; `BestEffort` where no container says
/// anything; `Burstable` otherwise. <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>
pub(crate) fn qos_class(pod: &Value) -> &'static str {
    let Some(spec) = pod.at("spec") else { return "BestEffort" };
    let resources: Vec<_> = match spec.at("resources").filter(|resources| !is_empty(Some(resources))) {
        Some(of_the_pod) => vec![Some(of_the_pod)],
        None => ["initContainers", "containers"]
            .iter()
            .flat_map(|list| spec.items(list))
            .map(|container| container.at("resources"))
            .collect(),
    };
    let amount = |resources: Option<&Value>, list: &str, name: &str| {
        resources
            .and_then(|resources| resources.path(&[list, name]))
            .and_then(quantity::parse)
            .filter(|amount| !amount.is_zero())
    };
    let says_something = |resources: Option<&Value>| {
        ["limits", "requests"]
            .iter()
            .any(|list| ["cpu", "memory"].iter().any(|name| amount(resources, list, name).is_some()))
    };
    let guaranteed = |resources: Option<&Value>| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = amount(resources, "limits", name);
            let request = amount(resources, "requests", name).or(limit);
            limit.is_some() && limit == request
        })
    };
    if !resources.iter().any(|resources| says_something(*resources)) {
        "BestEffort"
    } else if resources.iter().all(|resources| guaranteed(*resources)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

pub(crate) fn validate(strategy: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    super::metadata::name(new, lotse_schema::names::dns1123_subdomain, &mut findings);
    let path = Path::new("spec");
    let spec = new.at("spec").unwrap_or(&Value::Null);
    match old {
        None => pod_spec::validate(&path, spec, &[], &mut findings),
        Some(old) => pod_update::validate(&path, spec, old.at("spec").unwrap_or(&Value::Null), &mut findings),
    }
    if old.is_none() && CONTAINER_LISTS.last().is_some_and(|ephemeral| !spec.items(ephemeral).is_empty()) {
        findings.forbidden(&path.field("ephemeralContainers"), "cannot be set on create");
    }
    findings.0
}
