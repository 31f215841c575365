//! Objects on their way, with what they were called before.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use crate::goyaml::{Node, Scalar, Tag};

/// Group, version and kind; borrowed from an object or owned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Gvk<S = String> {
    pub(super) group: S,
    pub(super) version: S,
    pub(super) kind: S,
}

/// What an object is called; borrowed from the object or owned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Id<S = String> {
    pub(super) gvk: Gvk<S>,
    pub(super) name: S,
    pub(super) namespace: S,
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
    /// Variables that stand for a field of this object.
    pub(super) vars: Vec<String>,
    /// What the scalars that several places share are; see [`Resource::share`].
    shared: Vec<Scalar>,
}

/// Group, version and kind of what has no namespace.
static CLUSTER_SCOPED: LazyLock<HashSet<Gvk<&str>>> = LazyLock::new(|| {
    include_str!("data/cluster-scoped.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .map(|(api_version, kind)| Gvk::parse(api_version, kind))
        .collect()
});

// === impl Gvk ===

impl<'a> Gvk<&'a str> {
    pub(super) fn parse(api_version: &'a str, kind: &'a str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group, version, kind }
    }

    pub(super) fn into_owned(self) -> Gvk {
        Gvk { group: self.group.to_owned(), version: self.version.to_owned(), kind: self.kind.to_owned() }
    }
}

impl<S: AsRef<str>> Gvk<S> {
    pub(super) fn borrowed(&self) -> Gvk<&str> {
        Gvk { group: self.group.as_ref(), version: self.version.as_ref(), kind: self.kind.as_ref() }
    }

    pub(super) fn is_cluster_scoped(&self) -> bool {
        CLUSTER_SCOPED.contains(&self.borrowed())
    }

    /// Whether every part that the selector names is this one's.
    pub(super) fn is_selected<T: AsRef<str>>(&self, selector: &Gvk<T>) -> bool {
        let (own, wanted) = (self.borrowed(), selector.borrowed());
        fits(wanted.group, own.group) && fits(wanted.version, own.version) && fits(wanted.kind, own.kind)
    }
}

/// Whether a part of a selector means a word; no part means every word.
fn fits(wanted: &str, own: &str) -> bool {
    wanted.is_empty() || wanted == own
}

// === impl Id ===

impl Id<&str> {
    pub(super) fn into_owned(self) -> Id {
        Id { gvk: self.gvk.into_owned(), name: self.name.to_owned(), namespace: self.namespace.to_owned() }
    }
}

impl<S: AsRef<str>> Id<S> {
    pub(super) fn borrowed(&self) -> Id<&str> {
        Id { gvk: self.gvk.borrowed(), name: self.name.as_ref(), namespace: self.namespace.as_ref() }
    }

    pub(super) fn effective_namespace(&self) -> &str {
        if self.gvk.is_cluster_scoped() {
            "_non_namespaceable_"
        } else if self.namespace.as_ref().is_empty() {
            "default"
        } else {
            self.namespace.as_ref()
        }
    }

    pub(super) fn same_namespace<T: AsRef<str>>(&self, other: &Id<T>) -> bool {
        self.namespace.as_ref() == other.namespace.as_ref()
            && self.gvk.is_cluster_scoped() == other.gvk.is_cluster_scoped()
            || self.effective_namespace() == other.effective_namespace()
    }

    /// Whether both mean the same object; no namespace is `default`.
    pub(super) fn matches<T: AsRef<str>>(&self, other: &Id<T>) -> bool {
        let (own, theirs) = (self.borrowed(), other.borrowed());
        own.name == theirs.name && own.gvk == theirs.gvk && own.same_namespace(&theirs)
    }

    /// Whether every part that the selector names is this one's.
    pub(super) fn is_selected_by<T: AsRef<str>>(&self, selector: &Id<T>) -> bool {
        let (own, wanted) = (self.borrowed(), selector.borrowed());
        (wanted.namespace.is_empty() || wanted.effective_namespace() == own.effective_namespace())
            && fits(wanted.name, own.name)
            && own.gvk.is_selected(&wanted.gvk)
    }

    /// The same for every id that [`Self::matches`] this one.
    pub(super) fn key(&self) -> Id<&str> {
        Id { namespace: self.effective_namespace(), ..self.borrowed() }
    }

    /// For messages.
    pub(super) fn describe(&self) -> String {
        let id = self.borrowed();
        let namespace = if id.namespace.is_empty() { String::new() } else { format!("{}/", id.namespace) };
        format!("{} {namespace}{}", id.gvk.kind, id.name)
    }
}

// === impl Resource ===

impl Resource {
    pub(super) fn new(node: Node) -> Self {
        let mut resource = Self { node, ..Self::default() };
        // A note of the original to itself, which it also takes from files.
        let noted = resource.node.at(&["metadata", "annotations", "internal.config.kubernetes.io/needsHashSuffix"]);
        resource.needs_hash = noted.and_then(Node::text) == Some("enabled");
        resource
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

    pub(super) fn gvk(&self) -> Gvk<&str> {
        Gvk::parse(self.api_version(), self.kind())
    }

    pub(super) fn id(&self) -> Id<&str> {
        let metadata = self.node.get("metadata");
        let text = |field: &str| metadata.and_then(|map| map.get(field)).and_then(Node::text).unwrap_or_default();
        Id { gvk: self.gvk(), name: text("name"), namespace: text("namespace") }
    }

    pub(super) fn original_id(&self) -> Id<&str> {
        self.previous.first().map_or_else(|| self.id(), Id::borrowed)
    }

    /// Every id that it has or had, the current one last.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id<&str>> {
        self.previous.iter().map(Id::borrowed).chain(std::iter::once(self.id()))
    }

    /// Cheap first test for [`Self::ids`].
    pub(super) fn is_or_was_called(&self, name: &str) -> bool {
        self.name() == name || self.previous.iter().any(|id| id.name == name)
    }

    pub(super) fn store_previous_id(&mut self) {
        let id = self.id();
        if self.previous.last().map(Id::borrowed) != Some(id) {
            let id = id.into_owned();
            self.previous.push(id);
        }
    }

    /// Forgets what it was called and that it was generated.
    pub(super) fn forget(&mut self) {
        self.previous.clear();
        self.prefixes.clear();
        self.suffixes.clear();
        self.behavior = Behavior::default();
        self.needs_hash = false;
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

    /// Makes a scalar one that several places of this object share: a change of one changes all.
    ///
    /// The original puts one and the same node into all fields that a label or annotation is added to. What is done to one of
    /// them later, e.g. by an overlay that sets the label only in `metadata`, is done to all of them.
    pub(super) fn share(&mut self, scalar: Scalar) -> Scalar {
        let shared = u32::try_from(self.shared.len() + 1).unwrap_or_default();
        if shared != 0 {
            self.shared.push(Scalar { shared, ..scalar.clone() });
        }
        Scalar { shared, ..scalar }
    }

    /// Makes the places that share a scalar alike again after one of them was changed; of several changes the last one counts.
    pub(super) fn settle_shared(&mut self) {
        if self.shared.is_empty() {
            return;
        }
        let mut changed = HashMap::new();
        each_shared(&mut self.node, &mut |scalar| {
            if self.shared.get(scalar.shared as usize - 1).is_some_and(|known| known != scalar) {
                changed.insert(scalar.shared, scalar.clone());
            }
        });
        if changed.is_empty() {
            return;
        }
        each_shared(&mut self.node, &mut |scalar| {
            if let Some(new) = changed.get(&scalar.shared) {
                scalar.clone_from(new);
            }
        });
        for (shared, scalar) in changed {
            if let Some(known) = self.shared.get_mut(shared as usize - 1) {
                *known = scalar;
            }
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

/// Visits the scalars that are shared, in the order in which a patch would change them.
fn each_shared(node: &mut Node, visit: &mut dyn FnMut(&mut Scalar)) {
    match node {
        Node::Scalar(scalar) if scalar.shared != 0 => visit(scalar),
        Node::Scalar(_) => {}
        Node::List(items) => items.iter_mut().for_each(|item| each_shared(item, visit)),
        Node::Map(entries) => {
            let mut entries: Vec<_> = entries.iter_mut().filter(|(_, value)| !is_unshared(value)).collect();
            entries.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
            entries.into_iter().for_each(|(_, value)| each_shared(value, visit));
        }
    }
}

fn is_unshared(node: &Node) -> bool {
    matches!(node, Node::Scalar(Scalar { shared: 0, .. }))
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
