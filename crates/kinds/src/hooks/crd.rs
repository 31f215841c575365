//! CustomResourceDefinition.

use lotse_schema::Cause;
use serde_json::{Value, json};

use crate::{
    Strategy, crd,
    json::{Edit, View, empty},
};

pub(crate) fn default(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    if let Some(names) = spec.at_mut("names") {
        let kind = names.filled("kind").map(str::to_owned);
        if let Some(kind) = kind {
            names.set_default("singular", kind.to_lowercase());
            names.set_default("listKind", format!("{kind}List"));
        }
    }
    if let Some(conversion) = spec.object_mut("conversion") {
        conversion.set_default("strategy", "None");
        if let Some(service) = conversion.path_mut(&["webhook", "clientConfig", "service"]) {
            service.set_default_nonzero("port", 443);
        }
    }
}

/// The server owns the status: names are accepted and the kind is established as soon as the definition is stored, for the API
/// takes both into account in the same step. `storedVersions` remembers every version that ever was the stored one.
pub(crate) fn prepare(strategy: Strategy, new: &mut Value, old: Option<&Value>) -> Result<(), Vec<Cause>> {
    if strategy == Strategy::Subresource {
        return Ok(());
    }
    let names = new.path(&["spec", "names"]).cloned().unwrap_or_else(empty);
    let versions = new.at("spec").map_or(&[][..], |spec| spec.items("versions"));
    let storage =
        versions.iter().find(|version| version.flag("storage")).and_then(|version| version.at("name")).cloned();
    let created = new.path(&["metadata", "creationTimestamp"]).cloned();
    let conditions = old.and_then(|old| old.path(&["status", "conditions"])).cloned();
    let mut stored: Vec<Value> =
        old.and_then(|old| old.at("status")).map_or(&[][..], |status| status.items("storedVersions")).to_vec();
    stored.extend(storage.filter(|storage| !stored.contains(storage)));

    let Some(status) = new.object_mut("status") else { return Ok(()) };
    status.set("acceptedNames", names);
    status.set("storedVersions", stored);
    let conditions = conditions.unwrap_or_else(|| {
        let condition = |kind: &str, reason: &str, message: &str| {
            let mut condition = json!({"type": kind, "status": "True", "reason": reason, "message": message});
            created.iter().for_each(|time| condition.set("lastTransitionTime", time.clone()));
            condition
        };
        json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ])
    });
    status.set("conditions", conditions);
    Ok(())
}

pub(crate) fn validate(strategy: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    if strategy == Strategy::Subresource {
        return Vec::new();
    }
    let findings = old.map_or_else(|| crd::validate(new), |old| crd::validate_update(new, old));
    // The schemas are read only once the rest stands.
    if findings.is_empty() { crd::from_crd(new).err().unwrap_or_default() } else { findings }
}
