//! When an object may go, and what "deleted" means for the few kinds that take time: rows, not branches in the handlers.

use serde_json::Value;

use crate::{
    object::{deleting, finalizers},
    registry::Resource,
};

/// How deletion of a kind differs from removing it at once.
pub(crate) struct Lifecycle {
    group: &'static str,
    resource: &'static str,
    /// Seconds that an agent gets to end the object, where the request does not say; `None` for kinds without grace.
    pub(crate) grace: Option<fn(&Value, requested: Option<i64>) -> i64>,
    /// Whether something besides `metadata.finalizers` still holds the object.
    held: fn(&Value) -> bool,
    /// Marks the object as going, beyond `metadata`.
    pub(crate) mark: fn(&mut Value),
}

const PLAIN: Lifecycle = Lifecycle { group: "", resource: "", grace: None, held: |_| false, mark: |_| {} };

static LIFECYCLES: [Lifecycle; 2] = [
    // The kubelet ends the containers and then deletes with grace 0.
    Lifecycle { group: "", resource: "pods", grace: Some(pod_grace), held: |_| false, mark: |_| {} },
    // The namespace controller empties it and then removes its finalizer through `…/finalize`.
    Lifecycle {
        group: "",
        resource: "namespaces",
        grace: None,
        held: |namespace| {
            namespace.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
        },
        mark: |namespace| {
            if let Some(object) = namespace.as_object_mut() {
                let status = object.entry("status").or_insert_with(|| Value::Object(serde_json::Map::new()));
                if let Some(status) = status.as_object_mut() {
                    status.insert("phase".to_owned(), "Terminating".into());
                }
            }
        },
    },
];

/// The row of a kind.
pub(crate) fn lifecycle(resource: &Resource) -> &'static Lifecycle {
    let kind = &resource.kind;
    LIFECYCLES.iter().find(|row| row.group == kind.group && row.resource == kind.plural).unwrap_or(&PLAIN)
}

/// A pod that no kubelet has, or that has ended, goes at once.
fn pod_grace(pod: &Value, requested: Option<i64>) -> i64 {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Succeeded" | "Failed") {
        return 0;
    }
    requested
        .or_else(|| pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64))
        .unwrap_or(30)
        .max(0)
}

/// Whether something holds the object back.
pub(crate) fn held(resource: &Resource, object: &Value) -> bool {
    finalizers(object).next().is_some() || (lifecycle(resource).held)(object)
}

/// Whether an object that is being deleted has nothing left to wait for.
pub(crate) fn finished(resource: &Resource, object: &Value) -> bool {
    let grace = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    deleting(object) && grace == 0 && !held(resource, object)
}
