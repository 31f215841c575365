//! Which kinds exist now: the built-in rows and those of CustomResourceDefinitions, indexed for the router, discovery and
//! OpenAPI. A registry is immutable; a change of CRDs makes a new one and swaps it in whole, so that a request sees one state.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use lotse_kinds::Kind;

use crate::status::{Error, Result};

/// One kind with what the server derives from it once.
#[derive(Debug)]
pub(crate) struct Resource {
    /// The row.
    pub(crate) kind: Arc<Kind>,
    /// `apps/v1`.
    pub(crate) api_version: String,
    /// `apps/deployments/`: start of the key of every object, the same for all versions of a kind.
    pub(crate) prefix: String,
}

/// All kinds of one moment.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    resources: HashMap<(String, String), Vec<Arc<Resource>>>,
    groups: BTreeMap<String, Vec<String>>,
}

/// The registry that requests use; swapped whole.
#[derive(Debug)]
pub(crate) struct Current(RwLock<Arc<Registry>>);

// === impl Resource ===

impl Resource {
    /// Key of one object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        if self.kind.namespaced {
            format!("{}{namespace}/{name}", self.prefix)
        } else {
            format!("{}{name}", self.prefix)
        }
    }

    /// Start of the keys of a namespace, or of all.
    pub(crate) fn scope(&self, namespace: &str) -> String {
        if namespace.is_empty() { self.prefix.clone() } else { format!("{}{namespace}/", self.prefix) }
    }

    /// The error for a missing object.
    pub(crate) fn not_found(&self, name: &str) -> Error {
        Error::NotFound {
            group: self.kind.group.to_string(),
            resource: self.kind.plural.to_string(),
            name: name.to_owned(),
        }
    }

    /// The error for a write that lost.
    pub(crate) fn conflict(&self, name: &str, message: impl Into<String>) -> Error {
        Error::Conflict {
            group: self.kind.group.to_string(),
            resource: self.kind.plural.to_string(),
            name: name.to_owned(),
            message: message.into(),
        }
    }

    /// The error for findings.
    pub(crate) fn invalid(&self, name: &str, causes: Vec<lotse_schema::Cause>) -> Error {
        Error::Invalid {
            group: self.kind.group.to_string(),
            kind: self.kind.kind.to_string(),
            name: name.to_owned(),
            causes,
        }
    }

    /// The error for a write that policy refuses.
    pub(crate) fn forbidden(&self, name: &str, reason: &str) -> Error {
        let group = &self.kind.group;
        let qualified =
            if group.is_empty() { self.kind.plural.to_string() } else { format!("{}.{group}", self.kind.plural) };
        Error::Forbidden {
            group: group.to_string(),
            resource: self.kind.plural.to_string(),
            name: name.to_owned(),
            message: format!("{qualified} \"{name}\" is forbidden: {reason}"),
        }
    }
}

/// Start of the keys of a resource.
pub(crate) fn prefix(group: &str, plural: &str) -> String {
    format!("{}/{plural}/", if group.is_empty() { "core" } else { group })
}

// === impl Registry ===

impl Registry {
    /// An index of these kinds. Versions of a group keep the order of the rows, after being sorted by priority: stable
    /// versions first, newest first (as Kubernetes sorts the versions of CRDs).
    pub(crate) fn new(kinds: impl IntoIterator<Item = Arc<Kind>>) -> Self {
        let kinds: Vec<Arc<Kind>> = kinds.into_iter().collect();
        let plurals: HashMap<(&str, &str), &str> =
            kinds.iter().map(|kind| ((&*kind.group, &*kind.kind), &*kind.plural)).collect();
        let mut resources: HashMap<(String, String), Vec<Arc<Resource>>> = HashMap::new();
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for kind in &kinds {
            let (group, _, stored) = kind.storage_kind();
            let plural = plurals.get(&(group, stored)).copied().unwrap_or(&kind.plural);
            let resource =
                Resource { kind: kind.clone(), api_version: kind.api_version(), prefix: prefix(group, plural) };
            let key = (kind.group.to_string(), kind.version.to_string());
            resources.entry(key).or_default().push(Arc::new(resource));
            let versions = groups.entry(kind.group.to_string()).or_default();
            if !versions.iter().any(|version| *version == kind.version) {
                versions.push(kind.version.to_string());
            }
        }
        for versions in groups.values_mut() {
            versions.sort_by_key(|version| version_priority(version));
        }
        for resources in resources.values_mut() {
            resources.sort_by(|a, b| a.kind.plural.cmp(&b.kind.plural));
        }
        Self { resources, groups }
    }

    /// The resource of a path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Result<&Arc<Resource>> {
        self.group_version(group, version)
            .iter()
            .find(|resource| resource.kind.plural == plural)
            .ok_or(Error::NoSuchPath)
    }

    /// The resource by kind name.
    pub(crate) fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.group_version(group, version).iter().find(|resource| resource.kind.kind == kind)
    }

    /// The resource in the group's preferred version that has it.
    pub(crate) fn preferred(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.versions(group).iter().find_map(|version| self.find(group, version, plural).ok())
    }

    /// The resources of a group version, sorted by plural name.
    pub(crate) fn group_version(&self, group: &str, version: &str) -> &[Arc<Resource>] {
        // The map's key is a pair of strings; looking up with borrowed parts would need a third type for no gain.
        self.resources.get(&(group.to_owned(), version.to_owned())).map(Vec::as_slice).unwrap_or_default()
    }

    /// Group names, core (empty) first.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// Versions of a group, the preferred one first.
    pub(crate) fn versions(&self, group: &str) -> &[String] {
        self.groups.get(group).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every resource.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.groups.iter().flat_map(move |(group, versions)| {
            versions.iter().flat_map(move |version| self.group_version(group, version).iter())
        })
    }
}

/// Sort key of a version: `v2` before `v1` before `v2beta1` before `v1alpha1` before anything else.
fn version_priority(version: &str) -> (u8, i64, i64, String) {
    let parsed = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: i64 = rest.get(..digits)?.parse().ok()?;
        let tail = rest.get(digits..)?;
        let minor = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i64>().ok() };
        Some(if tail.is_empty() {
            (0, -major, 0, String::new())
        } else if let Some(beta) = tail.strip_prefix("beta") {
            (1, -major, -minor(beta)?, String::new())
        } else if let Some(alpha) = tail.strip_prefix("alpha") {
            (2, -major, -minor(alpha)?, String::new())
        } else {
            return None;
        })
    };
    parsed().unwrap_or_else(|| (3, 0, 0, version.to_owned()))
}

// === impl Current ===

impl Current {
    /// Starts with this registry.
    pub(crate) fn new(registry: Registry) -> Self {
        Self(RwLock::new(Arc::new(registry)))
    }

    /// The registry of now.
    pub(crate) fn get(&self) -> Arc<Registry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it.
    pub(crate) fn set(&self, registry: Registry) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first() {
        let mut versions = ["foo", "v1alpha1", "v2beta1", "v1", "v10", "v2beta2", "v2"];
        versions.sort_by_key(|version| version_priority(version));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta2", "v2beta1", "v1alpha1", "foo"]);
    }
}
