//! Carrying out a sync: one step of it for each reconcile, so that a restart in the middle simply goes on.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};

use crate::{
    Error,
    application::{ApplicationSpec, ResourceResult},
    compare::{Compared, Desired, FIELD_MANAGER},
    health::HealthStatus,
    live::{Live, ObjectId, ServedKind, Tracked},
    plan,
};

/// Where a sync stands after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Everything is applied.
    Done,
    /// The objects of this wave are applied and not yet healthy, and there is another wave.
    WaitingForWave(i64),
    /// The API server refused something; the results say what.
    Failed,
}

/// What a step may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permissions {
    /// Delete what is no longer in the repository.
    pub(crate) prune: bool,
}

/// Applies what is out of sync, wave by wave, and then prunes.
pub(crate) async fn step(
    live: &Live,
    client: &Client,
    spec: &ApplicationSpec,
    targets: &[(Desired, Compared)],
    surplus: &[(ObjectId, Tracked)],
    permissions: Permissions,
) -> Result<(Progress, Vec<ResourceResult>), Error> {
    let mut results = Vec::new();
    if spec.has_option("CreateNamespace=true") && !spec.destination.namespace.is_empty() {
        ensure_namespace(client, spec).await?;
    }
    let mut ordered: Vec<&(Desired, Compared)> = targets.iter().collect();
    ordered.sort_by_cached_key(|(desired, _)| plan::apply_order(&desired.object));
    let last_wave = ordered.last().map(|(desired, _)| plan::wave(&desired.object));
    let mut index = 0;
    while index < ordered.len() {
        let Some((first, _)) = ordered.get(index).copied() else { break };
        let wave = plan::wave(&first.object);
        let members: Vec<&(Desired, Compared)> = ordered
            .iter()
            .skip(index)
            .take_while(|(desired, _)| plan::wave(&desired.object) == wave)
            .copied()
            .collect();
        index += members.len();
        let mut failed = false;
        let mut waiting = false;
        for (desired, compared) in members {
            if compared.in_sync {
                waiting |= compared.health.as_ref().is_some_and(|verdict| verdict.status > HealthStatus::Suspended);
                continue;
            }
            let outcome = match &compared.other_owner {
                Some(owner) => Err(format!("is already managed by Application {owner}; remove it from one of them")),
                None => apply(live, desired, spec).await,
            };
            waiting |= outcome.is_ok() && compared.health.is_some();
            failed |= outcome.is_err();
            results.push(result(desired, outcome));
        }
        if failed {
            return Ok((Progress::Failed, results));
        }
        if waiting && Some(wave) != last_wave {
            return Ok((Progress::WaitingForWave(wave), results));
        }
    }
    let mut failed = false;
    if permissions.prune {
        for (id, tracked) in surplus.iter().rev() {
            let result = prune(live, id, tracked).await;
            failed |= result.status == "SyncFailed";
            results.push(result);
        }
    }
    Ok((if failed { Progress::Failed } else { Progress::Done }, results))
}

/// Creates the destination namespace, or brings its managed metadata up to date.
async fn ensure_namespace(client: &Client, spec: &ApplicationSpec) -> Result<(), Error> {
    let name = &spec.destination.namespace;
    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    let metadata = spec.sync_policy.as_ref().and_then(|policy| policy.managed_namespace_metadata.as_ref());
    let failure = |error| Error::api(format!("namespace {name}"), error);
    let exists = api.get_opt(name).await.map_err(failure)?.is_some();
    if exists && metadata.is_none() {
        return Ok(());
    }
    let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    if let Some(metadata) = metadata {
        namespace["metadata"]["labels"] = json!(metadata.labels);
        namespace["metadata"]["annotations"] = json!(metadata.annotations);
    }
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &parameters, &Patch::Apply(&namespace)).await.map_err(failure)?;
    Ok(())
}

/// Applies one object; the text says what happened or why not.
async fn apply(live: &Live, desired: &Desired, spec: &ApplicationSpec) -> Result<String, String> {
    let served = match &desired.served {
        Some(served) => served.clone(),
        None => served_now(live, desired).await?,
    };
    let api = live.api(&served, &desired.id.namespace);
    let has_option = |option: &str| plan::object_has_option(&desired.object, option) || spec.has_option(option);
    let outcome = if has_option("Replace=true") {
        replace(&api, desired).await
    } else {
        let mut parameters = PatchParams::apply(FIELD_MANAGER).force();
        if !has_option("Validate=false") {
            parameters = parameters.validation_strict();
        }
        api.patch(&desired.id.name, &parameters, &Patch::Apply(&desired.object)).await.map(drop)
    };
    match outcome {
        Ok(()) => Ok("serverside-applied".to_owned()),
        Err(error) if has_option("Force=true") && is_invalid(&error) => {
            let deleted = api.delete(&desired.id.name, &DeleteParams::default()).await;
            deleted.map_err(|error| message(&error))?;
            api.create(&PostParams::default(), &dynamic(desired)?).await.map_err(|error| message(&error))?;
            Ok("deleted and created again".to_owned())
        }
        Err(error) => {
            live.forget_kind(&desired.gvk);
            Err(message(&error))
        }
    }
}

/// How the cluster serves a kind that it did not know when the Application was compared, or what to do about it.
async fn served_now(live: &Live, desired: &Desired) -> Result<ServedKind, String> {
    let kind = format!("{} ({})", desired.gvk.kind, desired.gvk.api_version());
    // A definition that was just applied is established within milliseconds.
    let attempts = if desired.defined_here { 40 } else { 1 };
    for attempt in 0..attempts {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let Ok(Some(served)) = live.kind(&desired.gvk).await else { continue };
        // Where the object belongs was guessed, and permissions were checked for that.
        if served.namespaced == desired.id.namespace.is_empty() {
            return Err(format!("{kind} has become known just now: the next sync applies it"));
        }
        return Ok(served);
    }
    if desired.defined_here {
        return Err(format!("{kind} is not served yet: its CustomResourceDefinition is not established"));
    }
    Err(match live.versions_of(&desired.gvk).as_slice() {
        [] => format!(
            "{kind} is not known to the cluster: install its CustomResourceDefinition first, or add it to the repository"
        ),
        versions => format!("{kind} is not known to the cluster, which serves it as {}", versions.join(", ")),
    })
}

async fn replace(api: &Api<DynamicObject>, desired: &Desired) -> Result<(), kube::Error> {
    let Ok(mut object) = dynamic(desired) else { return Ok(()) };
    match api.get_opt(&desired.id.name).await? {
        Some(current) => {
            object.metadata.resource_version = current.metadata.resource_version;
            api.replace(&desired.id.name, &PostParams::default(), &object).await.map(drop)
        }
        None => api.create(&PostParams::default(), &object).await.map(drop),
    }
}

fn dynamic(desired: &Desired) -> Result<DynamicObject, String> {
    serde_json::from_value(desired.object.clone()).map_err(|error| error.to_string())
}

fn is_invalid(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 422)
}

fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => crate::git::describe(other),
    }
}

fn result(desired: &Desired, outcome: Result<String, String>) -> ResourceResult {
    let (status, message) = match outcome {
        Ok(message) => ("Synced", message),
        Err(message) => ("SyncFailed", desired.told(&message)),
    };
    ResourceResult {
        group: desired.id.group.clone(),
        version: desired.gvk.version.clone(),
        kind: desired.id.kind.clone(),
        namespace: desired.id.namespace.clone(),
        name: desired.id.name.clone(),
        status: status.to_owned(),
        message,
        sync_phase: "Sync".to_owned(),
    }
}

/// Deletes an object that the repository no longer has, unless it says `Prune=false`.
async fn prune(live: &Live, id: &ObjectId, tracked: &Tracked) -> ResourceResult {
    let mut result = ResourceResult {
        group: id.group.clone(),
        version: tracked.version.clone(),
        kind: id.kind.clone(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        sync_phase: "Sync".to_owned(),
        ..ResourceResult::default()
    };
    if plan::has_sync_option(tracked.sync_options.as_deref(), "Prune=false") {
        result.status = "PruneSkipped".to_owned();
        result.message = "ignored (no prune)".to_owned();
        return result;
    }
    match delete(live, id, tracked).await {
        Ok(()) => {
            result.status = "Pruned".to_owned();
            result.message = "pruned".to_owned();
        }
        Err(error) => {
            result.status = "SyncFailed".to_owned();
            result.message = error.to_string();
        }
    }
    result
}

/// Deletes one tracked object, with everything that it owns.
pub(crate) async fn delete(live: &Live, id: &ObjectId, tracked: &Tracked) -> Result<(), Error> {
    if tracked.deleting {
        return Ok(());
    }
    let gvk = GroupVersionKind::gvk(&id.group, &tracked.version, &id.kind);
    let action = || format!("deleting {} {}", id.kind, id.name);
    let Some(served) = live.kind(&gvk).await.map_err(|error| Error::api(action(), error))? else { return Ok(()) };
    // Only the state that was seen: an object that someone has just taken over is left alone.
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { resource_version: Some(tracked.resource_version.clone()), uid: None }),
        ..DeleteParams::background()
    };
    match live.api(&served, &id.namespace).delete(&id.name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::api(action(), error)),
    }
}

/// Container images anywhere in the desired objects, for the summary.
pub(crate) fn images(targets: &[(Desired, Compared)]) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for list in ["containers", "initContainers"] {
                    let containers = fields.get(list).and_then(Value::as_array).into_iter().flatten();
                    found.extend(containers.filter_map(|container| container["image"].as_str()).map(str::to_owned));
                }
                fields.values().for_each(|field| collect(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    targets.iter().for_each(|(desired, _)| collect(&desired.object, &mut found));
    found.sort_unstable();
    found.dedup();
    found
}
