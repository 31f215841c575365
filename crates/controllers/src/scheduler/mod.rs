//! The scheduler: gives each pending pod a node, the most important pods first.
//!
//! One pass looks at all pending pods at once, `plan` decides (pure), then the bindings are written. A single key makes
//! passes strictly sequential, so no resource is given away twice.

mod plan;
pub(crate) mod predicates;

use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Binding, Namespace, Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod, PodCondition,
};
use kube::{ResourceExt, api::PostParams, core::ObjectMeta, runtime::events::EventType};
use lotse_client::{Driver, Key, Next};

use self::plan::{Decision, Observed};
use crate::{
    Context, Error,
    context::{Controller, Managed, describe},
    pod,
};

const NAME: &str = "scheduler";
const QUEUE: &str = "pending-pods";
/// The value of `spec.schedulerName` that is meant for us.
const SCHEDULER_NAME: &str = "default-scheduler";

struct Scheduler;

/// Runs the scheduler until dropped.
pub(crate) async fn run(context: Context) {
    let (pods, nodes) = (context.cache::<Pod>(), context.cache::<Node>());
    let (claims, volumes) = (context.cache::<PersistentVolumeClaim>(), context.cache::<PersistentVolume>());
    let namespaces = context.cache::<Namespace>();
    pods.ready().await;
    nodes.ready().await;
    claims.ready().await;
    volumes.ready().await;
    namespaces.ready().await;
    let queue = || vec![Key::cluster(QUEUE)];
    let waiting = pods.clone();
    Driver::new(Managed::new(Scheduler, &context))
        .on(&pods, move |pod| {
            // A new pod wants a place; one that ends or goes makes room.
            let interesting = is_pending(pod) || pod::is_terminal(pod) || pod::is_terminating(pod);
            if interesting { vec![Key::cluster(QUEUE)] } else { Vec::new() }
        })
        .on(&nodes, move |_| {
            // Nodes report every few seconds: only worth a pass if somebody waits.
            if waiting.filter(is_pending).is_empty() { Vec::new() } else { queue() }
        })
        .on(&claims, move |_| queue())
        .concurrency(1)
        .run()
        .await;
}

fn is_pending(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.node_name.as_deref().unwrap_or_default().is_empty()
        && spec.scheduler_name.as_deref().unwrap_or(SCHEDULER_NAME) == SCHEDULER_NAME
        && pod::is_active(pod)
}

impl Controller for Scheduler {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, _: &Key) -> Result<Next, Error> {
        let pods = context.cache::<Pod>();
        let pending = pods.filter(is_pending);
        if pending.is_empty() {
            return Ok(Next::Done);
        }
        let placed = pods.filter(|pod| {
            !pod::is_terminal(pod)
                && pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|name| !name.is_empty())
        });
        let nodes = context.cache::<Node>().list();
        let claims = context.cache::<PersistentVolumeClaim>();
        let volumes = context.cache::<PersistentVolume>();
        let namespaces = context.cache::<Namespace>();
        let observed = Observed {
            nodes: &nodes,
            placed: &placed,
            pending,
            claim: &|key| claims.get(key),
            volume: &|name| volumes.get(&Key::cluster(name)),
            namespace_labels: &|name| namespaces.get(&Key::cluster(name)).and_then(|n| n.metadata.labels.clone()),
        };
        let decisions = plan::plan(observed);
        let outcomes: Vec<_> = futures::stream::iter(decisions)
            .map(|decision| async move {
                match decision {
                    Decision::Bind { pod, node } => bind(context, &pod, &node).await,
                    Decision::Wait { pod, reason, message } => refuse(context, &pod, reason, &message).await,
                }
            })
            .buffer_unordered(16)
            .collect()
            .await;
        // A pod that went meanwhile is no reason to try again; anything else is.
        for outcome in outcomes {
            match outcome {
                Err(error) if error.is_not_found() => {}
                outcome => outcome?,
            }
        }
        Ok(Next::Done)
    }
}

async fn bind(context: &Context, pod: &Arc<Pod>, node: &str) -> Result<(), Error> {
    let namespace = pod.namespace().unwrap_or_default();
    let name = pod.name_any();
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: pod.uid(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let body =
        serde_json::to_vec(&binding).map_err(|source| Error::Encode { object: describe(pod.as_ref()), source })?;
    let request = kube::core::Request::new(format!("/api/v1/namespaces/{namespace}/pods"))
        .create_subresource("binding", &name, &PostParams::default(), body)
        .map_err(|source| Error::api("bind", describe(pod.as_ref()))(kube::Error::BuildRequest(source)))?;
    let outcome = context.client().request::<serde_json::Value>(request).await;
    outcome.map_err(Error::api("bind", describe(pod.as_ref())))?;
    let uid = pod.uid();
    context
        .wait(&Key::of(pod.as_ref()), |cached: Option<&Pod>| {
            cached.is_none_or(|cached| cached.uid() != uid || !is_pending(cached))
        })
        .await;
    let note = format!("Successfully assigned {namespace}/{name} to {node}");
    context.event(NAME, pod.as_ref(), EventType::Normal, "Scheduled", note).await;
    Ok(())
}

/// Says on the pod why it waits; a message that stands there already is not written again.
async fn refuse(context: &Context, pod: &Arc<Pod>, reason: &str, message: &str) -> Result<(), Error> {
    let current = pod::condition(pod, "PodScheduled");
    if current.is_some_and(|c| c.reason.as_deref() == Some(reason) && c.message.as_deref() == Some(message)) {
        return Ok(());
    }
    let since = current.filter(|c| c.status == "False").and_then(|c| c.last_transition_time.clone());
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(since.unwrap_or_else(|| pod::time(Timestamp::now()))),
        ..PodCondition::default()
    };
    let mut status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    conditions.push(condition);
    context.status(NAME, pod.as_ref(), pod.status.as_ref(), &status).await?;
    if reason == "Unschedulable" {
        context.event(NAME, pod.as_ref(), EventType::Warning, "FailedScheduling", message.to_owned()).await;
    }
    Ok(())
}
