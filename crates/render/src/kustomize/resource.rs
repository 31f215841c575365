//! Objects on their way, with what they were called before.

use std::{collections::HashSet, sync::LazyLock};

use crate::goyaml::{Node, Scalar, Tag};

/// Group, version and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Gvk {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

/// What an object is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub(super) gvk: Gvk,
    pub(super) name: String,
    pub(super) namespace: String,
}

/// What a generator does with an object that exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Behavior {
    #[default]
    Create,
    Replace,
    Merge,
}

/// An object of an accumulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resource {
    pub(super) node: Node,
    /// Earlier ids, the oldest first.
    pub(super) previous: Vec<Id>,
    pub(super) prefixes: Vec<String>,
    pub(super) suffixes: Vec<String>,
    pub(super) behavior: Behavior,
    pub(super) needs_hash: bool,
    pub(super) allow_name_change: bool,
    pub(super) allow_kind_change: bool,
    /// Text of the origin annotation.
    pub(super) origin: Option<String>,
    /// Text of the transformations annotation.
    pub(super) transformations: String,
}

static CLUSTER_SCOPED: LazyLock<HashSet<(&str, &str)>> = LazyLock::new(|| {
    include_str!("data/cluster-scoped.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .collect()
});

// === impl Gvk ===

impl Gvk {
    pub(super) fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub(super) fn is_cluster_scoped(&self) -> bool {
        CLUSTER_SCOPED.contains(&(self.api_version().as_str(), self.kind.as_str()))
    }

    /// Whether every part that the selector names is this one's.
    pub(super) fn is_selected(&self, selector: &Gvk) -> bool {
        let fits = |wanted: &str, own: &str| wanted.is_empty() || wanted == own;
        fits(&selector.group, &self.group) && fits(&selector.version, &self.version) && fits(&selector.kind, &self.kind)
    }
}

// === impl Id ===

impl Id {
    pub(super) fn effective_namespace(&self) -> &str {
        if self.gvk.is_cluster_scoped() {
            "_non_namespaceable_"
        } else if self.namespace.is_empty() {
            "default"
        } else {
            &self.namespace
        }
    }

    pub(super) fn same_namespace(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.gvk.is_cluster_scoped() == other.gvk.is_cluster_scoped()
            || self.effective_namespace() == other.effective_namespace()
    }

    /// Whether both mean the same object; no namespace is `default`.
    pub(super) fn matches(&self, other: &Self) -> bool {
        self.name == other.name && self.gvk == other.gvk && self.same_namespace(other)
    }

    /// Whether every part that the selector names is this one's.
    pub(super) fn is_selected_by(&self, selector: &Self) -> bool {
        let fits = |wanted: &str, own: &str| wanted.is_empty() || wanted == own;
        fits(&selector.namespace, &self.namespace)
            && fits(&selector.name, &self.name)
            && self.gvk.is_selected(&selector.gvk)
    }

    /// The same for every id that [`Self::matches`] this one.
    pub(super) fn key(&self) -> Self {
        Self { namespace: self.effective_namespace().to_owned(), ..self.clone() }
    }

    /// For messages.
    pub(super) fn describe(&self) -> String {
        let namespace = if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) };
        format!("{} {namespace}{}", self.gvk.kind, self.name)
    }
}

// === impl Resource ===

impl Resource {
    pub(super) fn new(node: Node) -> Self {
        Self { node, ..Self::default() }
    }

    fn text(&self, path: &[&str]) -> &str {
        self.node.at(path).and_then(Node::text).unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.text(&["metadata", "name"])
    }

    pub(super) fn namespace(&self) -> &str {
        self.text(&["metadata", "namespace"])
    }

    pub(super) fn kind(&self) -> &str {
        self.text(&["kind"])
    }

    pub(super) fn api_version(&self) -> &str {
        self.text(&["apiVersion"])
    }

    pub(super) fn gvk(&self) -> Gvk {
        Gvk::new(self.api_version(), self.kind())
    }

    pub(super) fn id(&self) -> Id {
        Id { gvk: self.gvk(), name: self.name().to_owned(), namespace: self.namespace().to_owned() }
    }

    pub(super) fn original_id(&self) -> Id {
        self.previous.first().cloned().unwrap_or_else(|| self.id())
    }

    /// Every id that it has or had, the current one last.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.previous.iter().cloned().chain(std::iter::once(self.id()))
    }

    /// Cheap first test for [`Self::ids`].
    pub(super) fn is_or_was_called(&self, name: &str) -> bool {
        self.name() == name || self.previous.iter().any(|id| id.name == name)
    }

    pub(super) fn store_previous_id(&mut self) {
        let id = self.id();
        if self.previous.last() != Some(&id) {
            self.previous.push(id);
        }
    }

    pub(super) fn set_name(&mut self, name: &str) {
        self.set_metadata("name", name);
    }

    pub(super) fn set_namespace(&mut self, namespace: &str) {
        if namespace.is_empty() {
            if let Some(metadata) = self.node.get_mut("metadata") {
                metadata.remove("namespace");
            }
        } else {
            self.set_metadata("namespace", namespace);
        }
    }

    pub(super) fn set_kind(&mut self, kind: &str) {
        self.node.set("kind", Node::string(kind));
    }

    fn set_metadata(&mut self, field: &str, value: &str) {
        if !matches!(self.node.get("metadata"), Some(Node::Map(_))) {
            self.node.set("metadata", Node::map());
        }
        if let Some(metadata) = self.node.get_mut("metadata") {
            set_field(metadata, field, Node::string(value));
        }
    }

    /// Labels or annotations as words.
    pub(super) fn words(&self, field: &str) -> Vec<(String, String)> {
        let map = self.node.at(&["metadata", field]).map(Node::entries).unwrap_or_default();
        map.iter().map(|(key, value)| (key.value.to_string(), value.text().unwrap_or_default().to_owned())).collect()
    }

    /// Sets labels or annotations; none at all removes the field.
    pub(super) fn set_words(&mut self, field: &str, mut words: Vec<(String, String)>) {
        words.sort();
        let map = words.into_iter().map(|(key, value)| (new_key(&key), Node::string(value))).collect::<Vec<_>>();
        if map.is_empty() {
            if let Some(metadata) = self.node.get_mut("metadata") {
                metadata.remove(field);
            }
            return;
        }
        if !matches!(self.node.get("metadata"), Some(Node::Map(_))) {
            self.node.set("metadata", Node::map());
        }
        if let Some(metadata) = self.node.get_mut("metadata") {
            metadata.set(field, Node::Map(map));
        }
    }
}

/// A key as the original writes it: plain, whatever it reads as.
pub(super) fn new_key(name: &str) -> Scalar {
    Scalar { value: name.into(), tag: Tag::Empty, ..Scalar::default() }
}

/// A scalar without a type: what it reads as when it is printed.
pub(super) fn untyped(text: &str) -> Node {
    Node::Scalar(Scalar { value: text.into(), tag: Tag::Empty, ..Scalar::default() })
}

/// Sets a key of a mapping. A null removes it.
pub(super) fn set_field(map: &mut Node, name: &str, value: Node) {
    if value.is_null() {
        map.remove(name);
        return;
    }
    if let Node::Map(entries) = map {
        match entries.iter_mut().find(|(key, _)| &*key.value == name) {
            Some((_, old)) => *old = value,
            None => entries.push((new_key(name), value)),
        }
    }
}

/// Joins two sets of words; the second wins.
pub(super) fn merge_words(mut first: Vec<(String, String)>, second: Vec<(String, String)>) -> Vec<(String, String)> {
    for (key, value) in second {
        match first.iter_mut().find(|(other, _)| *other == key) {
            Some((_, old)) => *old = value,
            None => first.push((key, value)),
        }
    }
    first
}
