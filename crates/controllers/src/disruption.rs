//! PodDisruptionBudgets: how many pods may be evicted now.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        core::v1::{Pod, ReplicationController},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{apis::meta::v1::Condition, util::intstr::IntOrString},
};
use kube::ResourceExt;
use lotse_client::{Driver, Key, Next};

use crate::{
    Context, Error, claim,
    context::{Controller, Managed, now},
    intstr::{Round, scaled},
    pod, selector,
};

const NAME: &str = "disruption";

struct Budgets;

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (budgets, pods) = (context.cache::<PodDisruptionBudget>(), context.cache::<Pod>());
    budgets.ready().await;
    pods.ready().await;
    context.cache::<ReplicaSet>().ready().await;
    context.cache::<Deployment>().ready().await;
    context.cache::<StatefulSet>().ready().await;
    context.cache::<ReplicationController>().ready().await;
    let by_pod = budgets.clone();
    Driver::new(Managed::new(Budgets, &context))
        .on_kind(&budgets)
        .on(&pods, move |pod| {
            let matching =
                by_pod.filter(|budget| budget.metadata.namespace == pod.metadata.namespace && selects(budget, pod));
            matching.iter().map(|budget| Key::of(budget.as_ref())).collect()
        })
        .run()
        .await;
}

/// An empty selector means all pods of the namespace, an absent one none.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let wanted = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    wanted.is_some_and(|wanted| selector::matches(wanted, pod.metadata.labels.as_ref()))
}

impl Controller for Budgets {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(budget) = context.cache::<PodDisruptionBudget>().get(key) else { return Ok(Next::Done) };
        let pods = context
            .cache::<Pod>()
            .filter(|pod| pod.metadata.namespace == key.namespace && selects(&budget, pod) && !pod::is_terminal(pod));
        let status = plan(&budget, &pods, expected(context, key, &pods));
        context.status(NAME, budget.as_ref(), budget.status.as_ref(), &status).await?;
        Ok(Next::Done)
    }
}

/// How many pods the controllers of these pods want: the size that percentages refer to.
fn expected(context: &Context, key: &Key, pods: &[Arc<Pod>]) -> i32 {
    let named = |name: &str| Key { namespace: key.namespace.clone(), name: name.to_owned() };
    let mut wanted: HashMap<String, i32> = HashMap::new();
    for pod in pods {
        let Some(owner) = claim::controller_of(&pod.metadata) else {
            // A bare pod stands for itself.
            wanted.insert(pod.uid().unwrap_or_default(), 1);
            continue;
        };
        let key = named(&owner.name);
        let set = context.cache::<ReplicaSet>().get(&key).filter(|set| set.metadata.uid.as_ref() == Some(&owner.uid));
        let deployment = set.as_ref().and_then(|set| claim::controller_of(&set.metadata)).and_then(|owner| {
            let found = context.cache::<Deployment>().get(&named(&owner.name));
            found.filter(|deployment| deployment.metadata.uid.as_ref() == Some(&owner.uid))
        });
        let stateful =
            context.cache::<StatefulSet>().get(&key).filter(|set| set.metadata.uid.as_ref() == Some(&owner.uid));
        let controller = context.cache::<ReplicationController>().get(&key);
        let controller = controller.filter(|controller| controller.metadata.uid.as_ref() == Some(&owner.uid));
        let (uid, replicas) = if let Some(deployment) = deployment {
            (deployment.uid(), deployment.spec.replicas.unwrap_or(1))
        } else if let Some(set) = set {
            (set.uid(), set.spec.replicas.unwrap_or(1))
        } else if let Some(set) = stateful {
            (set.uid(), set.spec.replicas.unwrap_or(1))
        } else if let Some(controller) = controller {
            (controller.uid(), controller.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1))
        } else {
            (pod.uid(), 1)
        };
        wanted.insert(uid.unwrap_or_default(), replicas);
    }
    wanted.values().fold(0, |sum, replicas| sum.saturating_add(*replicas))
}

fn plan(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], expected: i32) -> PodDisruptionBudgetStatus {
    let spec = budget.spec.clone().unwrap_or_default();
    let old = budget.status.clone().unwrap_or_default();
    let count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    let healthy = pods.iter().filter(|pod| pod::is_ready(pod) && !pod::is_terminating(pod)).count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let (total, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (expected, (expected - scaled(most, expected, Round::Up)).max(0)),
        (None, Some(IntOrString::Int(least))) => (count, *least),
        (None, Some(share)) => (expected, scaled(share, expected, Round::Up)),
        (None, None) => (count, 1),
    };
    // Evictions under way that the pods do not show yet (the eviction API notes them) count as done.
    let disrupted: std::collections::BTreeMap<_, _> = old
        .disrupted_pods
        .clone()
        .unwrap_or_default()
        .into_iter()
        .filter(|(name, _)| pods.iter().any(|pod| pod.name_any() == *name && !pod::is_terminating(pod)))
        .filter(|(_, since)| now().duration_since(since.0).as_secs() < 120)
        .collect();
    let healthy = healthy - i32::try_from(disrupted.len()).unwrap_or(0).min(healthy);
    let allowed = if total > 0 { (healthy - desired).max(0) } else { 0 };
    let (value, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let previous = old.conditions.iter().flatten().find(|c| c.type_ == "DisruptionAllowed" && c.status == value);
    let condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: budget.metadata.generation,
        last_transition_time: previous.map_or_else(|| pod::time(now()), |c| c.last_transition_time.clone()),
    };
    PodDisruptionBudgetStatus {
        conditions: Some(vec![condition]),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(total),
        observed_generation: budget.metadata.generation,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn the_budget_is_what_healthy_pods_exceed() {
        let pod = |ready: bool| -> Arc<Pod> {
            let status = if ready { "True" } else { "False" };
            Arc::new(
                serde_json::from_value(
                    json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}),
                )
                .unwrap(),
            )
        };
        let pods = [pod(true), pod(true), pod(false)];
        let table = [
            (json!({"minAvailable": 1}), 1, 1),
            (json!({"minAvailable": 2}), 0, 2),
            (json!({"maxUnavailable": 1}), 0, 2),
            (json!({"maxUnavailable": 2}), 1, 1),
            (json!({"minAvailable": "50%"}), 0, 2),
            (json!({"maxUnavailable": "100%"}), 2, 0),
        ];
        for (spec, allowed, desired) in table {
            let budget: PodDisruptionBudget = serde_json::from_value(json!({"spec": spec})).unwrap();
            let status = plan(&budget, &pods, 3);
            assert_eq!((status.disruptions_allowed, status.desired_healthy), (Some(allowed), Some(desired)), "{spec}");
        }
        let budget: PodDisruptionBudget = serde_json::from_value(json!({"spec": {"maxUnavailable": 1}})).unwrap();
        assert_eq!(plan(&budget, &[], 0).disruptions_allowed, Some(0));
    }
}
