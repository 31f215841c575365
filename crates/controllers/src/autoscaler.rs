//! HorizontalPodAutoscalers, as far as they need no measurements: the target is kept between `minReplicas` and `maxReplicas`.
//! Nothing here measures pods; the condition `ScalingActive` says so, and between the bounds the target keeps its replicas.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerStatus,
};
use kube::{
    Api,
    api::{DynamicObject, GroupVersionKind, Patch, PatchParams},
    core::ApiResource,
    discovery::oneshot::pinned_kind,
    runtime::events::EventType,
};
use lotse_client::{Driver, Key, Next};
use serde_json::json;

use crate::{
    Context, Error,
    context::{Controller, Managed, now},
    pod,
};

const NAME: &str = "horizontal-pod-autoscaler";
/// How often a target is looked at (`--horizontal-pod-autoscaler-sync-period`).
const PERIOD: Duration = Duration::from_secs(15);
/// The reason of `ScalingActive` where a real autoscaler would go by measurements. `lotse-delivery` does not count it as a failure.
const NOT_MEASURED: &str = "MetricsNotSupported";

struct Autoscalers;

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let autoscalers = context.cache::<HorizontalPodAutoscaler>();
    autoscalers.ready().await;
    Driver::new(Managed::new(Autoscalers, &context)).on_kind(&autoscalers).run().await;
}

/// What the target's scale says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale {
    wanted: i32,
    current: i32,
}

/// What follows from a target's scale.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    desired: i32,
    /// Reason and message of `ScalingLimited`, if a bound was crossed.
    limited: Option<(&'static str, &'static str)>,
    active: (&'static str, &'static str),
}

impl Controller for Autoscalers {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(autoscaler) = context.cache::<HorizontalPodAutoscaler>().get(key) else { return Ok(Next::Done) };
        let spec = &autoscaler.spec;
        let namespace = key.namespace.clone().unwrap_or_default();
        let mut scaled = false;
        let outcome = match target(context, &namespace, &spec.scale_target_ref).await {
            // Whatever the reason is, the status shows it, as Kubernetes does.
            Err(error) => Err(error.told()),
            Ok((api, scale)) => {
                let plan = plan(spec.min_replicas.unwrap_or(1), spec.max_replicas, scale);
                if plan.desired != scale.wanted {
                    let name = &spec.scale_target_ref.name;
                    let object = format!("{} {namespace}/{name}", spec.scale_target_ref.kind);
                    let parameters =
                        PatchParams { field_manager: Some(format!("lotse-{NAME}")), ..PatchParams::default() };
                    let patch = Patch::Merge(json!({"spec": {"replicas": plan.desired}}));
                    api.patch_scale(name, &parameters, &patch).await.map_err(Error::api("scale", object))?;
                    let reason = plan.limited.map_or("", |(_, why)| why);
                    let note = format!("New size: {}; reason: {reason}", plan.desired);
                    context.event(NAME, autoscaler.as_ref(), EventType::Normal, "SuccessfulRescale", note).await;
                    scaled = true;
                }
                Ok((scale, plan))
            }
        };
        let outcome = outcome.as_ref().map_err(String::as_str);
        let status = status(&autoscaler, outcome, scaled, now());
        context.status(NAME, autoscaler.as_ref(), autoscaler.status.as_ref(), &status).await?;
        Ok(Next::After(PERIOD))
    }
}

/// The target's API and what its scale subresource says.
async fn target(
    context: &Context,
    namespace: &str,
    reference: &CrossVersionObjectReference,
) -> Result<(Api<DynamicObject>, Scale), Error> {
    let object = || format!("{} {namespace}/{}", reference.kind, reference.name);
    let resource = resource(context, reference).await?;
    let api = Api::<DynamicObject>::namespaced_with(context.client(), namespace, &resource);
    let scale = api.get_scale(&reference.name).await.map_err(Error::api("get the scale of", object()))?;
    let wanted = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
    let current = scale.status.map_or(0, |status| status.replicas);
    Ok((api, Scale { wanted, current }))
}

async fn resource(context: &Context, reference: &CrossVersionObjectReference) -> Result<ApiResource, Error> {
    let version = reference.api_version.as_deref().unwrap_or("v1");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = GroupVersionKind::gvk(group, version, &reference.kind);
    let (resource, _) =
        pinned_kind(&context.client(), &kind).await.map_err(Error::api("find the kind", reference.kind.clone()))?;
    Ok(resource)
}

/// The bounds, as `k8s.io/kubernetes/pkg/controller/podautoscaler` applies them before it looks at any metric.
fn plan(min: i32, max: i32, scale: Scale) -> Plan {
    const ACTIVE: (&str, &str) =
        (NOT_MEASURED, "pods are not measured here: between minReplicas and maxReplicas the target keeps its replicas");
    const OFF: (&str, &str) = ("ScalingDisabled", "scaling is disabled since the replica count of the target is zero");
    if scale.wanted == 0 && min != 0 {
        return Plan { desired: 0, limited: None, active: OFF };
    }
    if scale.wanted > max {
        let why = ("TooManyReplicas", "Current number of replicas above Spec.MaxReplicas");
        return Plan { desired: max, limited: Some(why), active: ACTIVE };
    }
    if scale.wanted < min {
        let why = ("TooFewReplicas", "Current number of replicas below Spec.MinReplicas");
        return Plan { desired: min, limited: Some(why), active: ACTIVE };
    }
    Plan { desired: scale.wanted, limited: None, active: ACTIVE }
}

fn status(
    autoscaler: &HorizontalPodAutoscaler,
    outcome: Result<&(Scale, Plan), &str>,
    scaled: bool,
    now: Timestamp,
) -> HorizontalPodAutoscalerStatus {
    let old = autoscaler.status.clone().unwrap_or_default();
    let condition = |kind: &str, value: bool, reason: &str, message: &str| {
        let value = if value { "True" } else { "False" };
        let before = old.conditions.iter().flatten().find(|before| before.type_ == kind && before.status == value);
        HorizontalPodAutoscalerCondition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            observed_generation: None,
            last_transition_time: before
                .map_or_else(|| Some(pod::time(now)), |before| before.last_transition_time.clone()),
        }
    };
    let mut new = old.clone();
    new.observed_generation = autoscaler.metadata.generation;
    let (scale, plan) = match outcome {
        Ok(found) => found,
        Err(message) => {
            let message = format!("the HPA controller was unable to get the target's current scale: {message}");
            new.conditions = Some(vec![condition("AbleToScale", false, "FailedGetScale", &message)]);
            return new;
        }
    };
    let able = ("SucceededGetScale", "the HPA controller was able to get the target's current scale");
    let limited = plan
        .limited
        .map_or(("DesiredWithinRange", "the desired count is within the acceptable range"), |(reason, _)| {
            (reason, "the desired replica count is limited by minReplicas or maxReplicas")
        });
    new.conditions = Some(vec![
        condition("AbleToScale", true, able.0, able.1),
        condition("ScalingActive", false, plan.active.0, plan.active.1),
        condition("ScalingLimited", plan.limited.is_some(), limited.0, limited.1),
    ]);
    new.current_replicas = Some(scale.current);
    new.desired_replicas = plan.desired;
    if scaled {
        new.last_scale_time = Some(pod::time(now));
    }
    new
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_target_is_kept_between_its_bounds() {
        let table = [
            (1, 1, None, NOT_MEASURED),
            (3, 3, None, NOT_MEASURED),
            (7, 5, Some("TooManyReplicas"), NOT_MEASURED),
            (0, 0, None, "ScalingDisabled"),
        ];
        for (wanted, desired, limited, active) in table {
            let plan = plan(1, 5, Scale { wanted, current: wanted });
            assert_eq!(
                (plan.desired, plan.limited.map(|limited| limited.0), plan.active.0),
                (desired, limited, active)
            );
        }
        let below = plan(2, 5, Scale { wanted: 1, current: 1 });
        assert_eq!((below.desired, below.limited.unwrap().0), (2, "TooFewReplicas"));
    }

    #[test]
    fn conditions_keep_their_time_until_they_change() {
        let scale = Scale { wanted: 2, current: 2 };
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + Duration::from_secs(60));
        let mut autoscaler = HorizontalPodAutoscaler::default();
        let first = status(&autoscaler, Ok(&(scale, plan(1, 5, scale))), false, early);
        autoscaler.status = Some(first.clone());
        assert_eq!(status(&autoscaler, Ok(&(scale, plan(1, 5, scale))), false, late), first, "nothing to write");
        let gone = status(&autoscaler, Err("not found"), false, late).conditions.unwrap();
        assert_eq!((gone[0].status.as_str(), gone[0].reason.as_deref()), ("False", Some("FailedGetScale")));
        assert_eq!(gone[0].last_transition_time, Some(pod::time(late)));
    }
}
