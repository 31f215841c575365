//! Which objects belong to a controller: by controller reference, adopted by selector, released when they no longer match.

use std::sync::Arc;

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference},
};
use kube::{Resource, ResourceExt, core::ObjectMeta};
use lotse_client::Object;
use serde::Serialize;
use serde_json::json;

use crate::{Context, Error, selector};

/// What an object is to a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// It belongs to the controller and matches.
    Own,
    /// It belongs to nobody and matches: take it.
    Adopt,
    /// It belongs to the controller but does not match any more: let it go.
    Release,
    /// It is none of the controller's business.
    Foreign,
}

fn relation(meta: &ObjectMeta, owner_uid: &str, owner_deleting: bool, wanted: &LabelSelector) -> Relation {
    let matches = !selector::is_empty(wanted) && selector::matches(wanted, meta.labels.as_ref());
    match controller_of(meta) {
        Some(reference) if reference.uid == owner_uid => match matches {
            true => Relation::Own,
            false if owner_deleting => Relation::Foreign,
            false => Relation::Release,
        },
        Some(_) => Relation::Foreign,
        None if matches && !owner_deleting && meta.deletion_timestamp.is_none() => Relation::Adopt,
        None => Relation::Foreign,
    }
}

/// The owner reference with `controller: true`.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

/// Whether `meta` is controlled by the object with this uid.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|reference| reference.uid == uid)
}

/// The reference that makes `owner` the controller of a new object.
pub(crate) fn controller_reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The objects of `K` in the owner's namespace that belong to `owner`, after adopting orphans that match `selector` and
/// releasing what no longer does.
pub(crate) async fn claim<O, K>(
    context: &Context,
    manager: &'static str,
    owner: &O,
    selector: &LabelSelector,
) -> Result<Vec<Arc<K>>, Error>
where
    O: Object + Resource<Scope = NamespaceResourceScope>,
    K: Object + Resource<Scope = NamespaceResourceScope> + Serialize,
{
    let (uid, namespace) = (owner.uid().unwrap_or_default(), owner.namespace().unwrap_or_default());
    let deleting = owner.meta().deletion_timestamp.is_some();
    let candidates = context.cache::<K>().in_namespace(&namespace);
    let mut owned = Vec::with_capacity(candidates.len());
    let mut may_adopt = None;
    for object in candidates {
        match relation(object.meta(), &uid, deleting, selector) {
            Relation::Own => owned.push(object),
            Relation::Foreign => {}
            Relation::Adopt => {
                if may_adopt.is_none() {
                    may_adopt = Some(is_live(context, owner).await?);
                }
                if may_adopt != Some(true) {
                    continue;
                }
                let mut references = object.owner_references().to_vec();
                references.push(controller_reference(owner));
                let patch = json!({"metadata": {"ownerReferences": references}});
                owned.push(Arc::new(context.merge(manager, object.as_ref(), patch).await?));
            }
            Relation::Release => {
                let references: Vec<_> =
                    object.owner_references().iter().filter(|reference| reference.uid != uid).cloned().collect();
                let patch = json!({"metadata": {"ownerReferences": references}});
                match context.merge(manager, object.as_ref(), patch).await {
                    Err(error) if error.is_not_found() => {}
                    outcome => drop(outcome?),
                }
            }
        }
    }
    Ok(owned)
}

/// Asks the server itself: a cached owner may be deleted already, and adopting for it would lose the orphan.
async fn is_live<O>(context: &Context, owner: &O) -> Result<bool, Error>
where
    O: Object + Resource<Scope = NamespaceResourceScope>,
{
    let api = context.namespaced::<O>(&owner.namespace().unwrap_or_default());
    let live =
        api.get_metadata_opt(&owner.name_any()).await.map_err(Error::api("get", crate::context::describe(owner)))?;
    Ok(live.is_some_and(|live| live.metadata.uid == owner.uid() && live.metadata.deletion_timestamp.is_none()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn objects_are_owned_adopted_released_or_left_alone() {
        let wanted: LabelSelector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
        let table = [
            (Some("me"), "web", false, Relation::Own),
            (Some("me"), "other", false, Relation::Release),
            (Some("me"), "other", true, Relation::Foreign),
            (Some("you"), "web", false, Relation::Foreign),
            (None, "web", false, Relation::Adopt),
            (None, "web", true, Relation::Foreign),
            (None, "other", false, Relation::Foreign),
        ];
        for (owner, label, deleting, expected) in table {
            let references: Vec<_> = owner
                .map(|uid| json!({"uid": uid, "controller": true, "apiVersion": "v1", "kind": "X", "name": "x"}))
                .into_iter()
                .collect();
            let meta: ObjectMeta =
                serde_json::from_value(json!({"labels": {"app": label}, "ownerReferences": references})).unwrap();
            assert_eq!(relation(&meta, "me", deleting, &wanted), expected, "{owner:?} {label} {deleting}");
        }
        let meta: ObjectMeta = serde_json::from_value(json!({"labels": {"app": "web"}})).unwrap();
        assert_eq!(relation(&meta, "me", false, &LabelSelector::default()), Relation::Foreign);
    }
}
