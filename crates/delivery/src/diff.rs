//! What a sync would change, for people.

use std::sync::Arc;
use std::{path::PathBuf, time::Duration};

use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use lotse_client::Key;
use serde::Serialize;
use serde_json::Value;

use crate::{
    Error,
    application::Application,
    compare::{self, FIELD_MANAGER},
    live::Live,
    sources::Sources,
};

/// One object that a sync would create or change.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// One line for each field: `- path: live` and `+ path: desired`.
    pub text: String,
}

/// Reads an Application without a cache.
async fn get(client: &Client, key: &Key) -> Result<Option<Application>, kube::Error> {
    Api::<Application>::namespaced(client.clone(), key.namespace()).get_opt(&key.name).await
}

/// Compares the repository of an Application with the cluster. Values of Secrets are never shown.
pub async fn diff(client: &Client, key: &Key, mirrors: PathBuf) -> Result<Vec<Difference>, Error> {
    let application = get(client, key)
        .await
        .map_err(|error| Error::api(format!("Application {key}"), error))?
        .ok_or_else(|| Error::InvalidSpec { field: "name", message: format!("there is no Application {key}") })?;
    let sources = application.spec.all_sources();
    let Some(source) = sources.first() else { return Ok(Vec::new()) };
    let live = Live::new(client.clone(), |_| {});
    let context = live.context(key, &application).await?;
    let rendered = Sources::new(mirrors, Duration::ZERO).render(source, None, Arc::new(|_| None), context).await?;
    let desired = compare::desired(&live, key, &application.spec, &rendered.manifests).await?;
    let mut differences = Vec::new();
    for object in desired {
        let action = || format!("{} {}", object.id.kind, object.id.name);
        let (current, applied) = match &object.served {
            None => (Value::Null, object.object.clone()),
            Some(served) => {
                let api = live.api(served, &object.id.namespace);
                let found = api.get_opt(&object.id.name).await.map_err(|error| Error::api(action(), error))?;
                match found {
                    None => (Value::Null, object.object.clone()),
                    Some(current) => {
                        let parameters = PatchParams::apply(FIELD_MANAGER).force().dry_run();
                        let applied = api.patch(&object.id.name, &parameters, &Patch::Apply(&object.object)).await;
                        let applied = applied.map_err(|error| Error::api(action(), error))?;
                        (
                            compare::reduced(&compare::to_value(current), &application.spec, &object.id),
                            compare::reduced(&compare::to_value(applied), &application.spec, &object.id),
                        )
                    }
                }
            }
        };
        if current == applied {
            continue;
        }
        let secret = object.id.group.is_empty() && object.id.kind == "Secret";
        let mut text = String::new();
        lines("", Some(&current), Some(&applied), secret, &mut text);
        differences.push(Difference {
            kind: object.id.kind,
            namespace: object.id.namespace,
            name: object.id.name,
            text,
        });
    }
    Ok(differences)
}

/// The fields in which two values differ.
fn lines(path: &str, old: Option<&Value>, new: Option<&Value>, secret: bool, text: &mut String) {
    if old == new {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (old, new) {
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            lines(&inner, old.get(name), new.get(name), secret, text);
        }
        return;
    }
    if let (Some(Value::Array(old)), Some(Value::Array(new))) = (old, new)
        && old.len() == new.len()
    {
        for (index, (old, new)) in old.iter().zip(new).enumerate() {
            lines(&format!("{path}[{index}]"), Some(old), Some(new), secret, text);
        }
        return;
    }
    let hidden = secret && (path.starts_with("data") || path.starts_with("stringData") || path.is_empty());
    let shown = |value: &Value| if hidden { "(hidden)".to_owned() } else { value.to_string() };
    for (sign, value) in [('-', old), ('+', new)] {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            text.push_str(&format!("{sign} {path}: {}\n", shown(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_fields_that_differ_are_shown_and_secrets_never() {
        let mut text = String::new();
        let old = json!({"spec": {"replicas": 5, "a": [1, 2]}, "x": 1});
        let new = json!({"spec": {"replicas": 2, "a": [1, 3]}, "y": 2});
        lines("", Some(&old), Some(&new), false, &mut text);
        assert_eq!(text, "- spec.a[1]: 2\n+ spec.a[1]: 3\n- spec.replicas: 5\n+ spec.replicas: 2\n- x: 1\n+ y: 2\n");
        let mut text = String::new();
        lines("", Some(&json!({"data": {"k": "b2xk"}})), Some(&json!({"data": {"k": "bmV3"}})), true, &mut text);
        assert_eq!(text, "- data.k: (hidden)\n+ data.k: (hidden)\n");
    }
}
