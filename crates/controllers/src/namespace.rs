//! Namespaces: phase, and the removal of everything in one that is being deleted.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    core::{ApiResource, DynamicObject},
};
use lotse_client::{Driver, Key, Next};

use crate::{
    Context, Error,
    context::{Controller, Managed, describe, now},
    discovery, pod,
};

const NAME: &str = "namespace";
const FINALIZER: &str = "kubernetes";

struct Namespaces;

/// What is left in a namespace that goes.
#[derive(Debug, Default, PartialEq)]
struct Remains {
    /// Objects by `plural.group`.
    objects: BTreeMap<String, usize>,
    /// Objects that wait for this finalizer.
    finalizers: BTreeMap<String, usize>,
    /// Kinds that could not be listed or deleted.
    failures: Vec<String>,
}

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let namespaces = context.cache::<Namespace>();
    namespaces.ready().await;
    Driver::new(Managed::new(Namespaces, &context)).on_kind(&namespaces).run().await;
}

impl Controller for Namespaces {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(namespace) = context.cache::<Namespace>().get(key) else { return Ok(Next::Done) };
        let api: Api<Namespace> = Api::all(context.client());
        let mut status = namespace.status.clone().unwrap_or_default();
        if namespace.metadata.deletion_timestamp.is_none() {
            if status.phase.is_none() {
                status.phase = Some("Active".to_owned());
                context.status_with(api, NAME, namespace.as_ref(), namespace.status.as_ref(), &status).await?;
            }
            return Ok(Next::Done);
        }
        let ours =
            namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()).any(|name| name == FINALIZER);
        if !ours {
            return Ok(Next::Done);
        }
        if status.phase.as_deref() != Some("Terminating") {
            // From here on the API server admits nothing new into the namespace; only then counting makes sense.
            status.phase = Some("Terminating".to_owned());
            context.status_with(api, NAME, namespace.as_ref(), namespace.status.as_ref(), &status).await?;
            return Ok(Next::After(Duration::ZERO));
        }
        let remains = empty(context, &key.name).await?;
        conditions(&mut status, &remains);
        context.status_with(api.clone(), NAME, namespace.as_ref(), namespace.status.as_ref(), &status).await?;
        if remains != Remains::default() {
            return Ok(Next::After(Duration::from_millis(if remains.failures.is_empty() { 500 } else { 2000 })));
        }
        let Some(current) = context.cache::<Namespace>().get(key) else { return Ok(Next::Done) };
        let mut finalized = (*current).clone();
        if let Some(spec) = &mut finalized.spec {
            spec.finalizers.get_or_insert_default().retain(|name| name != FINALIZER);
        }
        let parameters = PostParams { dry_run: false, field_manager: Some("lotse-namespace".to_owned()) };
        let outcome = api.replace_subresource("finalize", &key.name, &parameters, &finalized).await;
        match outcome.map_err(Error::api("finalize", describe(current.as_ref()))) {
            Err(error) if error.is_not_found() => Ok(Next::Done),
            outcome => outcome.map(|_| Next::Done),
        }
    }
}

/// Deletes everything in the namespace and says what is still there.
async fn empty(context: &Context, namespace: &str) -> Result<Remains, Error> {
    let mut remains = Remains::default();
    for kind in discovery::kinds(&context.client()).await?.into_iter().filter(|kind| kind.namespaced && kind.deletable)
    {
        if let Err(error) = empty_kind(context, namespace, &kind.resource, &mut remains).await {
            remains.failures.push(format!("{}: {}", resource_name(&kind.resource), error.user_message()));
        }
    }
    Ok(remains)
}

fn resource_name(resource: &ApiResource) -> String {
    if resource.group.is_empty() { resource.plural.clone() } else { format!("{}.{}", resource.plural, resource.group) }
}

async fn empty_kind(
    context: &Context,
    namespace: &str,
    resource: &ApiResource,
    remains: &mut Remains,
) -> Result<(), Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(context.client(), namespace, resource);
    let subject = || format!("{} in namespace {namespace}", resource_name(resource));
    let list = |api: Api<DynamicObject>| async move {
        let page = ListParams::default().limit(500);
        api.list_metadata(&page).await.map_err(Error::api("list", subject()))
    };
    let before = list(api.clone()).await?;
    if before.items.is_empty() {
        return Ok(());
    }
    if before.items.iter().any(|object| object.metadata.deletion_timestamp.is_none()) {
        let deleted = api.delete_collection(&DeleteParams::background(), &ListParams::default()).await;
        match deleted.map_err(Error::api("delete", subject())) {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(()),
            // Not every kind allows deletecollection.
            Err(_) => {
                for object in &before.items {
                    let outcome = api.delete(&object.name_any(), &DeleteParams::background()).await;
                    match outcome.map_err(Error::api("delete", subject())) {
                        Err(error) if !error.is_not_found() => return Err(error),
                        _ => {}
                    }
                }
            }
        }
    }
    let after = list(api).await?;
    if !after.items.is_empty() {
        remains.objects.insert(resource_name(resource), after.items.len());
    }
    for finalizer in after.items.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
        *remains.finalizers.entry(finalizer.clone()).or_default() += 1;
    }
    Ok(())
}

/// The conditions that say what blocks the removal, in the words of Kubernetes.
fn conditions(status: &mut NamespaceStatus, remains: &Remains) {
    let listed = |all: &BTreeMap<String, usize>, each: fn(&str, usize) -> String| {
        all.iter().map(|(name, count)| each(name, *count)).collect::<Vec<_>>().join(", ")
    };
    let content = listed(&remains.objects, |name, count| format!("{name} has {count} resource instances"));
    let finalizers = listed(&remains.finalizers, |name, count| format!("{name} in {count} resource instances"));
    let failed = !remains.failures.is_empty();
    let rows = [
        (
            "NamespaceDeletionContentFailure",
            failed,
            if failed { "ContentDeletionFailed" } else { "ContentDeleted" },
            if failed {
                format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    remains.failures.len(),
                    remains.failures.join("; ")
                )
            } else {
                "All content successfully deleted, may be waiting on finalization".to_owned()
            },
        ),
        (
            "NamespaceContentRemaining",
            !content.is_empty(),
            if content.is_empty() { "ContentRemoved" } else { "SomeResourcesRemain" },
            if content.is_empty() {
                "All content successfully removed".to_owned()
            } else {
                format!("Some resources are remaining: {content}")
            },
        ),
        (
            "NamespaceFinalizersRemaining",
            !finalizers.is_empty(),
            if finalizers.is_empty() { "ContentHasNoFinalizers" } else { "SomeFinalizersRemain" },
            if finalizers.is_empty() {
                "All content-preserving finalizers finished".to_owned()
            } else {
                format!("Some content in the namespace has finalizers remaining: {finalizers}")
            },
        ),
    ];
    let conditions = status.conditions.get_or_insert_default();
    for (kind, holds, reason, message) in rows {
        let value = if holds { "True" } else { "False" };
        let old = conditions.iter().find(|condition| condition.type_ == kind);
        let since = old.filter(|old| old.status == value).and_then(|old| old.last_transition_time.clone());
        let condition = NamespaceCondition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(since.unwrap_or_else(|| pod::time(now()))),
        };
        conditions.retain(|condition| condition.type_ != kind);
        conditions.push(condition);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn conditions_name_what_blocks() {
        let remains = Remains {
            objects: [("pods".to_owned(), 2)].into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            failures: Vec::new(),
        };
        let mut status = NamespaceStatus::default();
        conditions(&mut status, &remains);
        let find = |status: &NamespaceStatus, kind: &str| {
            status.conditions.iter().flatten().find(|c| c.type_ == kind).cloned().unwrap()
        };
        let content = find(&status, "NamespaceContentRemaining");
        assert_eq!(
            (content.status.as_str(), content.message.as_deref().unwrap()),
            ("True", "Some resources are remaining: pods has 2 resource instances")
        );
        assert_eq!(find(&status, "NamespaceFinalizersRemaining").status, "True");
        assert_eq!(find(&status, "NamespaceDeletionContentFailure").status, "False");
        conditions(&mut status, &Remains::default());
        assert_eq!(find(&status, "NamespaceContentRemaining").reason.as_deref(), Some("ContentRemoved"));
        assert_eq!(status.conditions.unwrap().len(), 3);
    }
}
