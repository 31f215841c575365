//! Who owns whom, for all objects of the cluster. Pure; one small node per object.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{ApiResource, ObjectMeta};

/// A uid, shared between a node and the references to it.
pub(super) type Uid = Arc<str>;

/// The finalizer of `propagationPolicy: Orphan`.
pub(super) const ORPHAN: &str = "orphan";
/// The finalizer of `propagationPolicy: Foreground`.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// One object.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) resource: Arc<ApiResource>,
    pub(super) namespace: Option<Box<str>>,
    pub(super) name: Box<str>,
    owners: Box<[(Uid, bool)]>,
    /// Marked for deletion.
    pub(super) deleting: bool,
    pub(super) orphaning: bool,
    pub(super) foreground: bool,
}

/// All objects that own or are owned, and the plain ones. Kept by the watches of [`super`].
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    dependents: HashMap<Uid, HashSet<Uid>>,
}

/// What a look at one object's owners says.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Somebody who owns it exists.
    Keep,
    /// Some owners are gone or wait for it to go; these uids leave the references.
    Unlink(Vec<String>),
    /// Nobody owns it any more.
    Delete(Propagation),
}

/// How its own dependents fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Present,
    /// Deleted in the foreground: it waits for its dependents.
    Waiting,
    Absent,
}

// === impl Graph ===

impl Graph {
    /// Records an object as it is now. Returns the uids to look at.
    pub(super) fn apply(&mut self, resource: &Arc<ApiResource>, meta: &ObjectMeta) -> Vec<String> {
        let Some(uid) = meta.uid.as_deref() else { return Vec::new() };
        let uid = self.intern(uid);
        let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|name| name == finalizer);
        let owners: Box<[(Uid, bool)]> = meta
            .owner_references
            .iter()
            .flatten()
            .map(|reference| (self.intern(&reference.uid), reference.block_owner_deletion == Some(true)))
            .collect();
        let deleting = meta.deletion_timestamp.is_some();
        let node = Node {
            resource: resource.clone(),
            namespace: meta.namespace.as_deref().map(Into::into),
            name: meta.name.as_deref().unwrap_or_default().into(),
            orphaning: deleting && has(ORPHAN),
            foreground: deleting && has(FOREGROUND),
            deleting,
            owners: owners.clone(),
        };
        let mut affected = vec![uid.to_string()];
        if let Some(old) = self.nodes.insert(uid.clone(), node) {
            for (owner, _) in &old.owners {
                if !owners.iter().any(|(kept, _)| kept == owner) {
                    self.unlink(owner, &uid);
                    // One less to wait for.
                    affected.push(owner.to_string());
                }
            }
        }
        for (owner, _) in &owners {
            self.dependents.entry(owner.clone()).or_default().insert(uid.clone());
        }
        affected
    }

    /// Forgets an object. Returns the uids to look at: its dependents, and owners that wait.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some((uid, node)) = self.nodes.remove_entry(uid) else { return Vec::new() };
        let mut affected: Vec<String> =
            self.dependents.get(&uid).into_iter().flatten().map(ToString::to_string).collect();
        for (owner, _) in &node.owners {
            self.unlink(owner, &uid);
            if self.nodes.get(owner).is_some_and(|owner| owner.foreground) {
                affected.push(owner.to_string());
            }
        }
        affected
    }

    /// The uids of all objects of a kind, to compare with a new list or to drop with the kind.
    pub(super) fn of_kind(&self, resource: &ApiResource) -> HashSet<Uid> {
        let same = |node: &Node| *node.resource == *resource;
        self.nodes.iter().filter(|(_, node)| same(node)).map(|(uid, _)| uid.clone()).collect()
    }

    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The dependents of an object; `blocking` leaves out those that do not hold its deletion up.
    pub(super) fn dependents(&self, uid: &str, blocking: bool) -> Vec<Uid> {
        let owned = self.dependents.get(uid).into_iter().flatten();
        owned
            .filter(|dependent| {
                let node = self.nodes.get(*dependent);
                node.is_some_and(|node| {
                    node.owners.iter().any(|(owner, blocks)| &**owner == uid && (*blocks || !blocking))
                })
            })
            .cloned()
            .collect()
    }

    /// Whether an owner is there, waits, or is unknown here (which only the server can settle).
    pub(super) fn owner(&self, uid: &str) -> Option<Owner> {
        self.nodes.get(uid).map(|node| if node.foreground { Owner::Waiting } else { Owner::Present })
    }

    /// What to do with `uid`, whose references lead to `owners`.
    pub(super) fn judge(&self, uid: &str, finalizers: &[String], owners: &[(OwnerReference, Owner)]) -> Verdict {
        let with = |wanted: Owner| owners.iter().filter(move |(_, owner)| *owner == wanted);
        if owners.is_empty() {
            return Verdict::Keep;
        }
        if with(Owner::Present).next().is_some() {
            let stale: Vec<_> = owners
                .iter()
                .filter(|(_, o)| *o != Owner::Present)
                .map(|(reference, _)| reference.uid.clone())
                .collect();
            return if stale.is_empty() { Verdict::Keep } else { Verdict::Unlink(stale) };
        }
        if with(Owner::Waiting).next().is_some() && !self.dependents(uid, false).is_empty() {
            return Verdict::Delete(Propagation::Foreground);
        }
        let has = |finalizer: &str| finalizers.iter().any(|name| name == finalizer);
        Verdict::Delete(match (has(ORPHAN), has(FOREGROUND)) {
            (true, _) => Propagation::Orphan,
            (false, true) => Propagation::Foreground,
            (false, false) => Propagation::Background,
        })
    }

    fn intern(&self, uid: &str) -> Uid {
        if let Some((uid, _)) = self.nodes.get_key_value(uid) {
            return uid.clone();
        }
        self.dependents.get_key_value(uid).map_or_else(|| uid.into(), |(uid, _)| uid.clone())
    }

    fn unlink(&mut self, owner: &Uid, dependent: &Uid) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
