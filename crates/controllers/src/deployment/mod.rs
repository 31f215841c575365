//! Deployments: ReplicaSets by revision of the template, rolled without going below or above what the strategy allows.
//!
//! `plan` decides (pure), this file carries out. Behaviour, annotations, conditions and reasons are those of the
//! Kubernetes deployment controller, so that `kubectl rollout status|history|undo|pause` read them as usual.

mod plan;
mod status;

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::{ResourceExt, runtime::events::EventType};
use lotse_client::{Driver, Key, Next};
use serde_json::json;

use self::plan::{Observed, Step};
use crate::{
    Context, Error, claim,
    context::{Controller, Managed, now},
    selector,
};

const NAME: &str = "deployment";

struct Rollouts;

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (deployments, sets, pods) =
        (context.cache::<Deployment>(), context.cache::<ReplicaSet>(), context.cache::<Pod>());
    deployments.ready().await;
    sets.ready().await;
    pods.ready().await;
    let (by_selector, owners) = (deployments.clone(), sets.clone());
    Driver::new(Managed::new(Rollouts, &context))
        .on_kind(&deployments)
        .on_owned::<Deployment, ReplicaSet>(&sets)
        .on(&sets, move |set| {
            if claim::controller_of(&set.metadata).is_some() {
                return Vec::new();
            }
            let matching = by_selector.filter(|deployment| {
                deployment.metadata.namespace == set.metadata.namespace
                    && selector::matches(&deployment.spec.selector, set.metadata.labels.as_ref())
            });
            matching.iter().map(|deployment| Key::of(deployment.as_ref())).collect()
        })
        // Recreate waits for the old pods to be gone, which no ReplicaSet status tells.
        .on(&pods, move |pod| {
            let owner = claim::controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet");
            let set = owner.and_then(|owner| {
                owners.get(&Key { namespace: pod.metadata.namespace.clone(), name: owner.name.clone() })
            });
            let deployment = set.as_ref().and_then(|set| claim::controller_of(&set.metadata));
            deployment
                .map(|owner| Key { namespace: pod.metadata.namespace.clone(), name: owner.name.clone() })
                .into_iter()
                .collect()
        })
        .run()
        .await;
}

impl Controller for Rollouts {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(deployment) = context.cache::<Deployment>().get(key) else { return Ok(Next::Done) };
        if selector::is_empty(&deployment.spec.selector) {
            let note = "This deployment is selecting all pods. A non-empty selector is required.".to_owned();
            context.event(NAME, deployment.as_ref(), EventType::Warning, "SelectingAll", note).await;
            return Ok(Next::Done);
        }
        let sets: Vec<Arc<ReplicaSet>> =
            claim::claim(context, NAME, deployment.as_ref(), &deployment.spec.selector).await?;
        let plan = {
            let pods = context.cache::<Pod>();
            let running = |set: &ReplicaSet| {
                let uid = set.uid().unwrap_or_default();
                let alive = |pod: &Pod| claim::is_controlled_by(&pod.metadata, &uid) && !crate::pod::is_terminal(pod);
                !pods.filter(alive).is_empty()
            };
            let observed = Observed { deployment: &deployment, sets: &sets, now: now(), running: &running };
            plan::plan(&observed)
        };
        let mut failure = None;
        for step in &plan.steps {
            if let Err(error) = carry_out(context, &deployment, step).await {
                failure = Some(error);
                break;
            }
        }
        if failure.as_ref().is_some_and(Error::is_conflict) {
            return failure.map_or(Ok(Next::Done), Err);
        }
        let mut status = plan.status;
        if let Some(error) = &failure {
            if error.is_already_exists() {
                status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
            } else if plan.steps.iter().any(|step| matches!(step, Step::Create(_))) {
                status::set_failed_create(&mut status, &error.user_message(), now());
            }
        }
        // A step may have changed the Deployment itself (its revision annotation): continue from what it is now.
        let Some(current) = context.cache::<Deployment>().get(key) else { return Ok(Next::Done) };
        if current.uid() == deployment.uid() {
            context.status(NAME, current.as_ref(), current.status.as_ref(), &status).await?;
        }
        match failure {
            Some(error) if error.is_already_exists() => Ok(Next::After(std::time::Duration::from_millis(20))),
            Some(error) => Err(error),
            None => Ok(plan.next.map_or(Next::Done, Next::After)),
        }
    }
}

async fn carry_out(context: &Context, deployment: &Arc<Deployment>, step: &Step) -> Result<(), Error> {
    match step {
        Step::Create(set) => {
            let created = context.create(NAME, set.as_ref()).await;
            if let Err(error) = &created
                && !error.is_already_exists()
            {
                let note = format!("Failed to create new replica set {:?}: {}", set.name_any(), error.user_message());
                context.event(NAME, deployment.as_ref(), EventType::Warning, "ReplicaSetCreateError", note).await;
            }
            let created = created?;
            let size = created.spec.replicas.unwrap_or(0);
            if size > 0 {
                let note = format!("Scaled up replica set {} from 0 to {size}", created.name_any());
                context.event(NAME, deployment.as_ref(), EventType::Normal, "ScalingReplicaSet", note).await;
            }
            Ok(())
        }
        Step::Scale { set, replicas, annotations } => {
            let old = set.spec.replicas.unwrap_or(1);
            let patch = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}});
            context.merge(NAME, set.as_ref(), patch).await?;
            if old != *replicas {
                let direction = if old < *replicas { "up" } else { "down" };
                let note = format!("Scaled {direction} replica set {} from {old} to {replicas}", set.name_any());
                context.event(NAME, deployment.as_ref(), EventType::Normal, "ScalingReplicaSet", note).await;
            }
            Ok(())
        }
        Step::Annotate { set, annotations, min_ready_seconds } => {
            let patch =
                json!({"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": min_ready_seconds}});
            context.merge(NAME, set.as_ref(), patch).await.map(drop)
        }
        Step::Revision(revision) => {
            let patch = json!({"metadata": {"annotations": {plan::REVISION: revision.to_string()}}});
            context.merge(NAME, deployment.as_ref(), patch).await.map(drop)
        }
        Step::Delete(set) => context.delete(set.as_ref()).await,
    }
}
