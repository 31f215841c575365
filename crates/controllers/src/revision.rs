//! ControllerRevisions: the recorded templates of StatefulSets and DaemonSets, which `kubectl rollout history|undo` read.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        runtime::RawExtension,
    },
};
use kube::{Resource, ResourceExt};
use lotse_client::Object;
use serde_json::{Value, json};

use crate::{Context, Error, claim, context::describe, hash};

/// The label with the revision, on pods and on the revisions themselves.
pub(crate) const HASH: &str = "controller-revision-hash";

/// The revisions of an owner after [`sync`], oldest first, and the one of its present template.
pub(crate) struct Revisions {
    pub(crate) all: Vec<Arc<ControllerRevision>>,
    pub(crate) update: Arc<ControllerRevision>,
}

/// The data of a revision: a patch that puts the template back, as `kubectl rollout undo` applies it.
fn data(template: &PodTemplateSpec) -> Result<Value, serde_json::Error> {
    let mut template = serde_json::to_value(template)?;
    if let Some(template) = template.as_object_mut() {
        template.insert("$patch".to_owned(), json!("replace"));
    }
    Ok(json!({"spec": {"template": template}}))
}

/// The template that a revision recorded.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// Makes sure that the present template has a revision and that it is the newest one.
pub(crate) async fn sync<O>(
    context: &Context,
    manager: &'static str,
    owner: &O,
    selector: &LabelSelector,
    template: &PodTemplateSpec,
) -> Result<Revisions, Error>
where
    O: Object + Resource<Scope = NamespaceResourceScope>,
{
    let mut all = claim::claim::<O, ControllerRevision>(context, manager, owner, selector).await?;
    all.sort_by_key(|revision| (revision.revision, revision.metadata.creation_timestamp.clone(), revision.name_any()));
    let data = data(template).map_err(|source| Error::Encode { object: describe(owner), source })?;
    let newest = all.last().and_then(|revision| revision.revision).unwrap_or(0);
    let equal = all.iter().rposition(|revision| revision.data.0 == data);
    if let Some(position) = equal {
        let found = all.remove(position);
        let update = if found.revision == Some(newest) {
            found
        } else {
            let patch = json!({"revision": newest.saturating_add(1)});
            Arc::new(context.merge(manager, found.as_ref(), patch).await?)
        };
        all.push(update.clone());
        return Ok(Revisions { all, update });
    }
    for collisions in 0..16 {
        let hash = hash::stable(&data, Some(collisions), 10);
        let mut labels: BTreeMap<_, _> =
            template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
        labels.insert(HASH.to_owned(), hash.clone());
        let revision = ControllerRevision {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", owner.name_any())),
                namespace: owner.namespace(),
                labels: Some(labels),
                owner_references: Some(vec![claim::controller_reference(owner)]),
                ..ObjectMeta::default()
            },
            data: RawExtension(data.clone()),
            revision: Some(newest.saturating_add(1)),
        };
        match context.create(manager, &revision).await {
            Ok(created) => {
                let update = Arc::new(created);
                all.push(update.clone());
                return Ok(Revisions { all, update });
            }
            // The name belongs to a revision with another template or another owner.
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::invalid(format!(
        "{}: every name for its ControllerRevision is taken; delete the stale ControllerRevisions of that name",
        describe(owner)
    )))
}

/// Deletes the oldest revisions beyond `limit` that neither pods nor status use.
pub(crate) async fn clean_up(
    context: &Context,
    revisions: &Revisions,
    limit: Option<i32>,
    is_live: impl Fn(&ControllerRevision) -> bool,
) -> Result<(), Error> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let unused: Vec<_> = revisions
        .all
        .iter()
        .filter(|revision| revision.metadata.uid != revisions.update.metadata.uid && !is_live(revision))
        .collect();
    let excess = unused.len().saturating_sub(limit);
    for revision in unused.into_iter().take(excess) {
        context.delete(revision.as_ref()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_revision_gives_back_the_template_it_recorded() {
        let recorded: PodTemplateSpec = serde_json::from_value(
            json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "a"}]}}),
        )
        .unwrap();
        let revision =
            ControllerRevision { data: RawExtension(data(&recorded).unwrap()), ..ControllerRevision::default() };
        assert_eq!(revision.data.0["spec"]["template"]["$patch"], "replace");
        assert_eq!(template(&revision).unwrap(), recorded);
    }
}
