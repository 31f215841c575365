//! What a pod gets from its service account and its priority class.

use serde_json::{Map, Value, json};

use super::Admission;
use crate::{
    object::{self, meta},
    projection::objects,
    registry::prefix,
    status::Result,
};

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Seconds a token lives; the kubelet renews it in time.
const TOKEN_SECONDS: i64 = 3607;

fn spec(pod: &mut Value) -> Option<&mut Map<String, Value>> {
    pod.as_object_mut()?.entry("spec").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

fn text<'a>(pod: &'a Value, field: &str) -> &'a str {
    pod.get("spec").and_then(|s| s.get(field)).and_then(Value::as_str).unwrap_or_default()
}

fn mirror(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some()
}

/// The account, its pull secrets, and its token as a volume at the usual place.
pub(super) fn service_account(admission: &Admission<'_>, pod: &mut Value) -> Result<()> {
    if !admission.creates() || mirror(pod) {
        return Ok(());
    }
    let name = match (text(pod, "serviceAccountName"), text(pod, "serviceAccount")) {
        ("", "") => "default".to_owned(),
        ("", older) => older.to_owned(),
        (name, _) => name.to_owned(),
    };
    let namespace = &admission.write.namespace;
    let key = format!("{}{namespace}/{name}", prefix("", "serviceaccounts"));
    let Some(entry) = admission.server.store.get(&key) else {
        let reason =
            format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found");
        return Err(admission.forbidden(pod, &reason));
    };
    let account = object::parse(&entry.value)?;
    let automount = pod
        .pointer("/spec/automountServiceAccountToken")
        .or_else(|| account.get("automountServiceAccountToken"))
        .and_then(Value::as_bool)
        .unwrap_or(true);
    let Some(spec) = spec(pod) else { return Ok(()) };
    spec.insert("serviceAccountName".to_owned(), name.as_str().into());
    spec.insert("serviceAccount".to_owned(), name.into());
    let has_secrets = spec.get("imagePullSecrets").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if !has_secrets
        && let Some(secrets) = account.get("imagePullSecrets").filter(|s| s.as_array().is_some_and(|l| !l.is_empty()))
    {
        spec.insert("imagePullSecrets".to_owned(), secrets.clone());
    }
    if automount {
        mount_token(spec);
    }
    Ok(())
}

/// Mounts the token into every container that has nothing at its place.
fn mount_token(spec: &mut Map<String, Value>) {
    let volumes = spec.get("volumes").and_then(Value::as_array);
    let existing = volumes.into_iter().flatten().find_map(|volume| {
        let name = volume.get("name")?.as_str()?;
        (name.starts_with("kube-api-access-") && volume.get("projected").is_some()).then(|| name.to_owned())
    });
    let name = existing.clone().unwrap_or_else(|| format!("kube-api-access-{}", object::random_suffix()));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            if mounts.is_null() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().any(|m| m.get("mountPath").and_then(Value::as_str) == Some(TOKEN_PATH)) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": TOKEN_PATH}));
            needed = true;
        }
    }
    if !needed || existing.is_some() {
        return;
    }
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    if volumes.is_null() {
        *volumes = json!([]);
    }
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(json!({
            "name": name,
            "projected": {"defaultMode": 0o644, "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]}},
            ]},
        }));
    }
}

/// The number of the priority class, or of the default one.
pub(super) fn priority(admission: &Admission<'_>, pod: &mut Value) -> Result<()> {
    if !admission.creates() {
        return Ok(());
    }
    let name = text(pod, "priorityClassName").to_owned();
    let prefix = prefix("scheduling.k8s.io", "priorityclasses");
    let class = if name.is_empty() {
        let all = objects(&*admission.server.store, &prefix);
        all.into_iter().filter(|c| c.get("globalDefault").and_then(Value::as_bool) == Some(true)).max_by_key(value)
    } else {
        match admission.server.store.get(&format!("{prefix}{name}")) {
            Some(entry) => Some(object::parse(&entry.value)?),
            None => return Err(admission.forbidden(pod, &format!("no PriorityClass with name {name} was found"))),
        }
    };
    let Some(spec) = spec(pod) else { return Ok(()) };
    if let Some(class) = &class {
        spec.insert("priorityClassName".to_owned(), meta(class, "name").into());
        if let (None, Some(policy)) = (spec.get("preemptionPolicy"), class.get("preemptionPolicy")) {
            spec.insert("preemptionPolicy".to_owned(), policy.clone());
        }
    }
    spec.insert("priority".to_owned(), class.as_ref().map_or(0, value).into());
    spec.entry("preemptionPolicy").or_insert_with(|| "PreemptLowerPriority".into());
    Ok(())
}

fn value(class: &Value) -> i64 {
    class.get("value").and_then(Value::as_i64).unwrap_or(0)
}

/// Pods stay on a node that does not answer for five minutes, unless they say otherwise.
pub(super) fn tolerations(admission: &Admission<'_>, pod: &mut Value) -> Result<()> {
    if !admission.creates() {
        return Ok(());
    }
    let Some(spec) = spec(pod) else { return Ok(()) };
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if tolerations.is_null() {
        *tolerations = json!([]);
    }
    let Some(list) = tolerations.as_array_mut() else { return Ok(()) };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covered = list.iter().any(|t| {
            let text = |field: &str| t.get(field).and_then(Value::as_str).unwrap_or_default();
            (text("key") == key || text("key").is_empty() && text("operator") == "Exists")
                && matches!(text("effect"), "NoExecute" | "")
        });
        if !covered {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
    Ok(())
}
