//! Where a transformer writes: paths within objects of certain kinds.

use std::{
    ops::Deref,
    sync::{Arc, LazyLock},
};

use serde::Deserialize;

use super::resource::{Gvk, new_key};
use crate::goyaml::{Node, Scalar};

/// A path within the objects of some kinds. An element `name[]` is a list; lists on the way are entered in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FieldSpec {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) path: Path,
    pub(super) create: bool,
}

/// A path as written, and its elements.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "String")]
pub(super) struct Path {
    text: String,
    parts: Arc<[Part]>,
}

/// An element of a path.
#[derive(Debug)]
struct Part {
    name: String,
    /// It was written `name[]`.
    is_list: bool,
}

/// What is named, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NameReference {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) field_specs: Vec<FieldSpec>,
}

/// The paths of every transformer: those that are built in and what `configurations` and `crds` add.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Specs {
    pub(super) name_prefix: Vec<FieldSpec>,
    pub(super) name_suffix: Vec<FieldSpec>,
    pub(super) namespace: Vec<FieldSpec>,
    pub(super) common_labels: Vec<FieldSpec>,
    pub(super) labels: Vec<FieldSpec>,
    pub(super) template_labels: Vec<FieldSpec>,
    pub(super) common_annotations: Vec<FieldSpec>,
    pub(super) name_reference: Vec<NameReference>,
    pub(super) var_reference: Vec<FieldSpec>,
    pub(super) images: Vec<FieldSpec>,
    pub(super) replicas: Vec<FieldSpec>,
}

/// What to create when the last element of a path is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Create {
    Nothing,
    Scalar,
    Map,
}

static BUILT_IN: LazyLock<Arc<Specs>> = LazyLock::new(|| {
    let mut specs = Specs::default();
    for line in include_str!("data/field-specs.tsv").lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').map(|column| if column == "-" { "" } else { column }).collect();
        let [section, path, group, version, kind, create, named @ ..] = columns.as_slice() else { continue };
        let text = |text: &str| text.to_owned();
        let spec = FieldSpec {
            group: text(group),
            version: text(version),
            kind: text(kind),
            path: Path::from(text(path)),
            create: *create == "create",
        };
        match (*section, named) {
            ("namePrefix", _) => {
                specs.name_suffix.push(spec.clone());
                specs.name_prefix.push(spec);
            }
            ("namespace", _) => specs.namespace.push(spec),
            ("commonLabels", _) => specs.common_labels.push(spec),
            ("templateLabels", _) => specs.template_labels.push(spec),
            ("commonAnnotations", _) => specs.common_annotations.push(spec),
            ("varReference", _) => specs.var_reference.push(spec),
            ("images", _) => specs.images.push(spec),
            ("replicas", _) => specs.replicas.push(spec),
            ("nameReference", [group, version, kind]) => {
                let target = NameReference {
                    group: text(group),
                    version: text(version),
                    kind: text(kind),
                    field_specs: vec![spec],
                };
                // Those that are built in do not conflict.
                let _ = specs.add_name_reference(target);
            }
            _ => {}
        }
    }
    Arc::new(specs)
});

// === impl FieldSpec ===

impl FieldSpec {
    pub(super) fn new(path: &str, create: bool) -> Self {
        Self { path: Path::from(path.to_owned()), create, ..Self::default() }
    }

    pub(super) fn gvk(&self) -> Gvk<&str> {
        Gvk { group: &self.group, version: &self.version, kind: &self.kind }
    }

    /// Whether objects of this kind are meant.
    pub(super) fn selects(&self, gvk: &Gvk<&str>) -> bool {
        gvk.is_selected(&self.gvk())
    }

    /// Calls `set` for every place that the path leads to.
    pub(super) fn visit(
        &self,
        object: &mut Node,
        create: Create,
        set: &mut dyn FnMut(&mut Node) -> Result<(), String>,
    ) -> Result<(), String> {
        descend(object, &self.path.parts, if self.create { create } else { Create::Nothing }, set)
            .map_err(|error| format!("path {:?}: {error}", self.path.text))
    }
}

/// The paths that are meant for objects of a kind.
pub(super) fn selected<'a>(specs: &'a [FieldSpec], gvk: &Gvk<&str>) -> Vec<&'a FieldSpec> {
    specs.iter().filter(|spec| spec.selects(gvk)).collect()
}

// === impl Path ===

impl From<String> for Path {
    fn from(text: String) -> Self {
        let part = |part: String| match part.strip_suffix("[]") {
            Some(name) => Part { name: name.to_owned(), is_list: true },
            None => Part { name: part, is_list: false },
        };
        let parts = split_path(&text, '/').into_iter().map(part).collect();
        Self { text, parts }
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Path {}

impl Deref for Path {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

fn descend(
    node: &mut Node,
    path: &[Part],
    create: Create,
    set: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else { return set(node) };
    if node.is_null() {
        return Ok(());
    }
    match node {
        Node::List(items) => items.iter_mut().try_for_each(|item| descend(item, path, create, set)),
        Node::Map(entries) => {
            let (name, is_list) = (first.name.as_str(), first.is_list);
            let creates = create != Create::Nothing && !is_list;
            let empty = || match (rest.is_empty(), create) {
                (true, Create::Scalar) => Node::Scalar(Scalar::string("")),
                _ => Node::map(),
            };
            let index = match entries.iter().position(|(key, _)| &*key.value == name) {
                Some(index) => index,
                None if creates => {
                    entries.push((new_key(name), empty()));
                    entries.len() - 1
                }
                None => return Ok(()),
            };
            let Some((_, value)) = entries.get_mut(index) else { return Ok(()) };
            if value.is_null() {
                if creates {
                    *value = empty();
                } else if is_list {
                    *value = Node::List(Vec::new());
                }
            }
            descend(value, rest, create, set)
        }
        Node::Scalar(_) => Err("leads through something that is neither a mapping nor a list".to_owned()),
    }
}

/// Splits at a separator that is not escaped by a backslash.
pub(super) fn split_path(path: &str, separator: char) -> Vec<String> {
    let path = path.strip_prefix(separator).filter(|_| separator == '/').unwrap_or(path);
    let mut parts = vec![String::new()];
    let mut letters = path.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\\' && letters.peek() == Some(&separator) {
            letters.next();
            push(&mut parts, separator);
        } else if letter == separator {
            parts.push(String::new());
        } else {
            push(&mut parts, letter);
        }
    }
    parts
}

fn push(parts: &mut [String], letter: char) {
    if let Some(part) = parts.last_mut() {
        part.push(letter);
    }
}

/// A setter of a word under a key.
pub(super) fn set_word<'a>(key: &'a str, word: &'a Scalar) -> impl FnMut(&mut Node) -> Result<(), String> + 'a {
    move |node| match node {
        Node::Map(entries) => {
            match entries.iter_mut().find(|(name, _)| &*name.value == key) {
                Some((_, old)) => old.overwrite(Node::Scalar(word.clone())),
                None => entries.push((new_key(key), Node::Scalar(word.clone()))),
            }
            Ok(())
        }
        _ => Err(format!("{key:?} cannot be set on something that is no mapping")),
    }
}

// === impl Specs ===

impl Specs {
    pub(super) fn built_in() -> Arc<Self> {
        BUILT_IN.clone()
    }

    pub(super) fn add_name_reference(&mut self, more: NameReference) -> Result<(), String> {
        let same = |known: &&mut NameReference| {
            known.kind == more.kind && known.group == more.group && known.version == more.version
        };
        match self.name_reference.iter_mut().find(same) {
            Some(known) => merge_specs(&mut known.field_specs, more.field_specs),
            None => {
                self.name_reference.push(more);
                Ok(())
            }
        }
    }

    /// Adds what another set has.
    pub(super) fn merge(&mut self, other: Self) -> Result<(), String> {
        for (own, more) in [
            (&mut self.name_prefix, other.name_prefix),
            (&mut self.name_suffix, other.name_suffix),
            (&mut self.namespace, other.namespace),
            (&mut self.common_labels, other.common_labels),
            (&mut self.labels, other.labels),
            (&mut self.template_labels, other.template_labels),
            (&mut self.common_annotations, other.common_annotations),
            (&mut self.var_reference, other.var_reference),
            (&mut self.images, other.images),
            (&mut self.replicas, other.replicas),
        ] {
            merge_specs(own, more)?;
            sort(own);
        }
        other.name_reference.into_iter().try_for_each(|reference| self.add_name_reference(reference))
    }

    /// These paths as the original takes them over from one kustomization to the next: added one by one, in order, to none.
    pub(super) fn taken_over(self) -> Result<Self, String> {
        let mut specs = Self::default();
        specs.merge(self)?;
        Ok(specs)
    }
}

/// In the order of the output, as far as a path has a kind.
fn sort(specs: &mut [FieldSpec]) {
    specs.sort_by_cached_key(|spec| (super::sort::rank(&spec.kind), super::sort::kind_key(&spec.gvk())));
}

/// Adds paths unless they are there; one that differs only in `create` is a mistake.
///
/// A path for more kinds than one that is there counts as there, so that it depends on the order which kinds are meant.
pub(super) fn merge_specs(own: &mut Vec<FieldSpec>, more: Vec<FieldSpec>) -> Result<(), String> {
    for spec in more {
        let same = own.iter().find(|known| known.path == spec.path && known.gvk().is_selected(&spec.gvk()));
        match same {
            Some(known) if known.create != spec.create => {
                return Err(format!(
                    "conflicting field specs for path {:?}: one creates the field, one does not",
                    &*spec.path
                ));
            }
            Some(_) => {}
            None => own.push(spec),
        }
    }
    Ok(())
}
