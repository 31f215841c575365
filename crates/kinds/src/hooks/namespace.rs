//! Namespace.

use lotse_schema::{Cause, names};
use serde_json::{Value, json};

use super::metadata;
use crate::{
    Strategy,
    findings::Findings,
    json::{Edit, View},
};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const FINALIZER: &str = "kubernetes";

/// Every namespace carries its name as a label, for selectors.
pub(crate) fn default(object: &mut Value) {
    let Some(metadata) = object.at_mut("metadata") else { return };
    let Some(name) = metadata.filled("name").map(str::to_owned) else { return };
    if let Some(labels) = metadata.object_mut("labels") {
        labels.set(NAME_LABEL, name);
    }
}

/// A namespace is gone only once its contents are: the finalizer in `spec` belongs to the namespace controller and changes through
/// `…/finalize` alone.
pub(crate) fn prepare(strategy: Strategy, new: &mut Value, old: Option<&Value>) -> Result<(), Vec<Cause>> {
    match (strategy, old) {
        (Strategy::Subresource, _) => {}
        (_, None) => {
            // Again, for a name that was generated after defaulting.
            default(new);
            new.set("status", json!({"phase": "Active"}));
            if let Some(spec) = new.object_mut("spec") {
                let missing = !spec.items("finalizers").iter().any(|finalizer| finalizer == FINALIZER);
                match spec.get_mut("finalizers") {
                    Some(Value::Array(finalizers)) if missing => finalizers.push(FINALIZER.into()),
                    None | Some(Value::Null) => spec.set("finalizers", vec![FINALIZER]),
                    Some(_) => {}
                }
            }
        }
        (_, Some(old)) => {
            if let Some(finalizers) = old.path(&["spec", "finalizers"])
                && let Some(spec) = new.object_mut("spec")
            {
                spec.set("finalizers", finalizers.clone());
            }
        }
    }
    Ok(())
}

pub(crate) fn validate(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_label, &mut findings);
    findings.0
}
