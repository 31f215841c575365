//! What changes objects: each transformer is one step over all objects that have been accumulated.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use super::{
    field_spec::{Create, FieldSpec, selected, set_word},
    hash, images, json_patch,
    kustomization::{Image, ReplacementField, Replica, Selector},
    loader, merge, replacements,
    resource::{Gvk, Id, Resource, set_field},
    schema::Schema,
    selector::select,
};
use crate::goyaml::{Node, Scalar, ScalarStyle, Tag};

/// One step.
pub(super) struct Transformer<'a> {
    pub(super) action: Action<'a>,
    /// What the transformations annotation says about it.
    pub(super) origin: Option<String>,
    /// It may look at the objects and fail, and may not change them.
    pub(super) only_checks: bool,
}

/// What a step does.
pub(super) enum Action<'a> {
    /// Patches that find their object by its id.
    StrategicMerge(Vec<Resource>),
    /// A patch with a target.
    Targeted(Vec<Resource>, Selector),
    /// A JSON patch for every selected object.
    JsonPatch(Vec<json_patch::Operation>, Selector),
    /// A JSON patch for one object, by its id.
    JsonPatchById(Vec<json_patch::Operation>, Id),
    Namespace {
        namespace: String,
        specs: Cow<'a, [FieldSpec]>,
        subjects: Subjects,
        unset_only: bool,
    },
    Prefix(String, Cow<'a, [FieldSpec]>),
    Suffix(String, Cow<'a, [FieldSpec]>),
    Labels(Vec<(String, String)>, Cow<'a, [FieldSpec]>),
    Annotations(Vec<(String, String)>, Cow<'a, [FieldSpec]>),
    Replicas(Replica, Cow<'a, [FieldSpec]>),
    Image(Image, Cow<'a, [FieldSpec]>),
    Replacements(Vec<ReplacementField>),
    Hash,
    /// Several steps that count as one.
    All(Vec<Action<'a>>),
}

/// Which subjects of role bindings follow the namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subjects {
    DefaultOnly,
    AllServiceAccounts,
    None,
}

/// A patch in text: either strategic (one or more objects) or a list of operations.
pub(super) enum PatchText {
    Strategic(Vec<Resource>),
    Json(Vec<json_patch::Operation>),
}

/// Reads a patch of either kind.
pub(super) fn parse_patch(path: &str, text: &[u8]) -> Result<PatchText, String> {
    let strategic = loader::resources(path, text);
    let json = std::str::from_utf8(text).map_err(|_| "is not UTF-8".to_owned()).and_then(json_patch::parse);
    match (strategic, json) {
        (Ok(patches), Err(_)) if !patches.is_empty() => Ok(PatchText::Strategic(patches)),
        (Ok(_), Ok(_)) => Err("is both an empty strategic merge patch and an empty JSON patch".to_owned()),
        (_, Ok(operations)) => Ok(PatchText::Json(operations)),
        (Ok(_), Err(_)) => Err("the patch is empty".to_owned()),
        (Err(strategic), Err(json)) => {
            Err(format!("is neither a strategic merge patch ({strategic}) nor a JSON patch ({json})"))
        }
    }
}

// === impl Transformer ===

impl<'a> Transformer<'a> {
    pub(super) fn new(action: Action<'a>) -> Self {
        Self { action, origin: None, only_checks: false }
    }

    /// Changes all objects; those that a patch deletes go away.
    pub(super) fn apply(&self, resources: &mut Vec<Resource>, schema: &Arc<Schema>) -> Result<(), String> {
        if self.only_checks {
            let mut copy = resources.clone();
            self.step(&mut copy, schema)?;
            let same = copy.len() == resources.len() && copy.iter().zip(&*resources).all(|(a, b)| a.node == b.node);
            return if same { Ok(()) } else { Err("validators: a validator may not change objects".to_owned()) };
        }
        self.step(resources, schema)?;
        if let Some(origin) = &self.origin {
            // It counts as done to every object, changed or not.
            resources.iter_mut().for_each(|resource| resource.transformations.push_str(origin));
        }
        Ok(())
    }

    fn step(&self, resources: &mut Vec<Resource>, schema: &Arc<Schema>) -> Result<(), String> {
        self.action.run(resources, schema)
    }
}

// === impl Action ===

impl Action<'_> {
    fn run(&self, resources: &mut Vec<Resource>, schema: &Arc<Schema>) -> Result<(), String> {
        match self {
            Action::All(actions) => actions.iter().try_for_each(|action| action.run(resources, schema)),
            Action::StrategicMerge(patches) => patches.iter().try_for_each(|patch| {
                let index = find(resources, &patch.original_id())?;
                patch_one(resources, index, patch, schema)
            }),
            Action::Targeted(patches, target) => {
                let [patch] = patches.as_slice() else {
                    return Err("a patch of several documents cannot have a target".to_owned());
                };
                patch_selected(resources, patch, target, schema)
            }
            Action::JsonPatch(operations, target) => {
                for index in select(resources, target)? {
                    if let Some(resource) = resources.get_mut(index) {
                        resource.store_previous_id();
                        patch_json(resource, operations)?;
                    }
                }
                Ok(())
            }
            Action::JsonPatchById(operations, id) => {
                let index = find(resources, id)?;
                resources.get_mut(index).map_or(Ok(()), |resource| {
                    resource.store_previous_id();
                    patch_json(resource, operations)
                })
            }
            Action::Namespace { namespace, specs, subjects, unset_only } => {
                set_namespace(resources, namespace, specs, *subjects, *unset_only)
            }
            Action::Prefix(affix, _) | Action::Suffix(affix, _) if affix.is_empty() => Ok(()),
            Action::Prefix(prefix, specs) => {
                rename(resources, specs, prefix, "", |resource| resource.prefixes.push(prefix.clone()))
            }
            Action::Suffix(suffix, specs) => {
                rename(resources, specs, "", suffix, |resource| resource.suffixes.push(suffix.clone()))
            }
            Action::Labels(words, specs) | Action::Annotations(words, specs) => {
                resources.iter_mut().try_for_each(|resource| set_words(resource, words, specs))
            }
            Action::Replicas(replica, specs) => set_replicas(resources, replica, specs),
            Action::Image(image, specs) => images::set_image(resources, image, specs),
            Action::Replacements(list) => {
                list.iter().try_for_each(|replacement| replacements::replace(resources, replacement))
            }
            Action::Hash => resources.iter_mut().try_for_each(add_hash),
        }
    }
}

/// Adds labels or annotations.
fn set_words(resource: &mut Resource, words: &[(String, String)], specs: &[FieldSpec]) -> Result<(), String> {
    let chosen = selected(specs, &resource.gvk());
    for (key, value) in words {
        let mut word = Scalar::string(value.as_str());
        if chosen.len() > 1 {
            word = resource.share(word);
        }
        for spec in &chosen {
            spec.visit(&mut resource.node, Create::Map, &mut set_word(key, &word))
                .map_err(|error| format!("{} {}: {error}", resource.kind(), resource.name()))?;
        }
    }
    resource.settle_shared();
    Ok(())
}

/// Gives an object the suffix that depends on its content, if it wants one.
pub(super) fn add_hash(resource: &mut Resource) -> Result<(), String> {
    if resource.needs_hash {
        let suffix =
            hash::suffix(resource).map_err(|error| format!("{} {}: {error}", resource.kind(), resource.name()))?;
        resource.store_previous_id();
        let name = format!("{}-{suffix}", resource.name());
        resource.set_name(&name);
    }
    Ok(())
}

/// The one object that has or had an id.
fn find<S: AsRef<str>>(resources: &[Resource], id: &Id<S>) -> Result<usize, String> {
    let mut found = resources
        .iter()
        .enumerate()
        .filter(|(_, resource)| {
            resource.is_or_was_called(id.name.as_ref()) && resource.ids().any(|own| own.matches(id))
        })
        .map(|(index, _)| index);
    let index = found.next().ok_or_else(|| not_found(resources, id))?;
    if found.next().is_some() {
        return Err(format!("several objects match the patch for {}", id.describe()));
    }
    Ok(index)
}

/// What a patch is for is not there; perhaps it was only called differently.
fn not_found<S: AsRef<str>>(resources: &[Resource], id: &Id<S>) -> String {
    const SHOWN: usize = 3;
    let id = id.borrowed();
    let alike: Vec<String> = resources
        .iter()
        .map(Resource::id)
        .filter(|other| other.name == id.name || other.gvk.kind == id.gvk.kind)
        .map(|other| format!("{} {}", api_version(&other.gvk), other.describe()))
        .take(SHOWN)
        .collect();
    let known = if alike.is_empty() { String::new() } else { format!("; there are {}", alike.join(", ")) };
    format!(
        "patch target not found: no object matches {} {}; apiVersion, kind, name and namespace must be the object's{known}",
        api_version(&id.gvk),
        id.describe()
    )
}

fn api_version(gvk: &Gvk<&str>) -> String {
    if gvk.group.is_empty() { gvk.version.to_owned() } else { format!("{}/{}", gvk.group, gvk.version) }
}

fn patch_one(resources: &mut Vec<Resource>, index: usize, patch: &Resource, schema: &Schema) -> Result<(), String> {
    let Some(resource) = resources.get_mut(index) else { return Ok(()) };
    if !apply_patch(resource, patch, schema)? {
        resources.remove(index);
    }
    Ok(())
}

fn patch_selected(
    resources: &mut Vec<Resource>,
    patch: &Resource,
    target: &Selector,
    schema: &Schema,
) -> Result<(), String> {
    let mut deleted = HashSet::new();
    let mut own = patch.clone();
    // A patch with a target has text for labels and annotations: null is the word, and deletes nothing.
    for field in ["labels", "annotations"] {
        own.set_words(field, own.words(field));
    }
    for index in select(resources, target)? {
        let Some(resource) = resources.get_mut(index) else { continue };
        own.node.set("apiVersion", Node::string(resource.api_version()));
        if !apply_patch(resource, &own, schema)? {
            deleted.insert(index);
        }
    }
    if deleted.is_empty() {
        return Ok(());
    }
    let mut index = 0;
    resources.retain(|_| {
        index += 1;
        !deleted.contains(&(index - 1))
    });
    Ok(())
}

/// `false`: the patch deletes the object.
fn apply_patch(resource: &mut Resource, patch: &Resource, schema: &Schema) -> Result<bool, String> {
    let id = resource.id().into_owned();
    if patch.allow_name_change || patch.allow_kind_change {
        resource.store_previous_id();
    }
    let node = std::mem::take(&mut resource.node);
    let merged = merge::strategic_merge(node, &patch.node, schema)
        .map_err(|error| format!("patch for {}: {error}", id.describe()))?;
    let Some(node) = merged else { return Ok(false) };
    if matches!(&node, Node::Map(entries) if entries.is_empty()) {
        return Ok(false);
    }
    resource.node = node;
    resource.settle_shared();
    if clears_annotations(&patch.node) {
        resource.forget();
    }
    if !patch.allow_kind_change {
        resource.set_kind(&id.gvk.kind);
    }
    if !patch.allow_name_change {
        resource.set_name(&id.name);
    }
    resource.set_namespace(&id.namespace);
    Ok(true)
}

/// Whether a patch takes all annotations away. The original keeps its notes about an object there and loses them too.
fn clears_annotations(patch: &Node) -> bool {
    let is_cleared = |path: &[&str]| {
        patch.at(path).is_some_and(|node| {
            node.is_null() || matches!(node.get("$patch").and_then(Node::text), Some("replace" | "delete"))
        })
    };
    is_cleared(&["metadata"]) || is_cleared(&["metadata", "annotations"])
}

fn patch_json(resource: &mut Resource, operations: &[json_patch::Operation]) -> Result<(), String> {
    // The original keeps notes in annotations, so that there always are some.
    if !matches!(resource.node.get("metadata"), Some(Node::Map(_))) {
        resource.node.set("metadata", Node::map());
    }
    if let Some(metadata) = resource.node.get_mut("metadata")
        && metadata.get("annotations").is_none_or(Node::is_null)
    {
        metadata.set("annotations", Node::map());
    }
    resource.node = json_patch::apply(&resource.node, operations)
        .map_err(|error| format!("JSON patch for {}: {error}", resource.id().describe()))?;
    Ok(())
}

fn set_namespace(
    resources: &mut [Resource],
    namespace: &str,
    specs: &[FieldSpec],
    subjects: Subjects,
    unset_only: bool,
) -> Result<(), String> {
    let set = |node: &mut Node| {
        if let Node::Scalar(scalar) = node
            && !(unset_only && !scalar.value.is_empty() && scalar.tag != Tag::Null)
        {
            *scalar = Scalar { style: scalar.style, ..Scalar::string(namespace) };
        }
        match node {
            Node::Scalar(_) => Ok(()),
            _ => Err("a namespace is no single word".to_owned()),
        }
    };
    let of_metadata = FieldSpec::new("metadata/namespace", true);
    for resource in resources.iter_mut() {
        resource.store_previous_id();
        let chosen = selected(specs, &resource.gvk());
        let (is_namespace, binds) =
            (resource.kind() == "Namespace", matches!(resource.kind(), "RoleBinding" | "ClusterRoleBinding"));
        if !resource.gvk().is_cluster_scoped() {
            of_metadata.visit(&mut resource.node, Create::Scalar, &mut |node| set(node))?;
        }
        if binds && let Some(Node::List(list)) = resource.node.get_mut("subjects") {
            for subject in list {
                let follows = match subjects {
                    Subjects::None => false,
                    Subjects::DefaultOnly => subject.get("name").and_then(Node::text) == Some("default"),
                    Subjects::AllServiceAccounts => subject.get("kind").and_then(Node::text) == Some("ServiceAccount"),
                };
                let is_set = subject.get("namespace").and_then(Node::as_str).is_some_and(|own| !own.is_empty());
                if follows && !(unset_only && is_set) {
                    set_field(subject, "namespace", Node::string(namespace));
                }
            }
        }
        for spec in chosen.into_iter().filter(|spec| &*spec.path != "metadata/namespace") {
            if &*spec.path == "metadata/name" && !is_namespace {
                continue;
            }
            spec.visit(&mut resource.node, Create::Scalar, &mut |node| set(node))?;
        }
    }
    unique(resources)
        .map_err(|id| format!("namespace {namespace:?} would give two objects the same id: {}", id.describe()))
}

/// Whether every id is there once; else the first that is not.
pub(super) fn unique(resources: &[Resource]) -> Result<(), Id> {
    let ids: Vec<Id<&str>> = resources.iter().map(Resource::id).collect();
    let mut seen = HashSet::with_capacity(ids.len());
    match ids.iter().find(|id| !seen.insert(id.key())) {
        Some(id) => Err(id.into_owned()),
        None => Ok(()),
    }
}

/// Kinds whose names are not free.
fn keeps_its_name(gvk: &Gvk<&str>) -> bool {
    matches!(gvk.kind, "CustomResourceDefinition" | "Namespace")
        || gvk.kind == "APIService" && gvk.group == "apiregistration.k8s.io"
}

fn rename(
    resources: &mut [Resource],
    specs: &[FieldSpec],
    prefix: &str,
    suffix: &str,
    note: impl Fn(&mut Resource),
) -> Result<(), String> {
    for resource in resources {
        let original = resource.original_id();
        if keeps_its_name(&original.gvk) {
            continue;
        }
        for spec in selected(specs, &original.gvk) {
            if &*spec.path == "metadata/name" {
                note(resource);
                if !(prefix.is_empty() && suffix.is_empty()) {
                    resource.store_previous_id();
                }
            }
            spec.visit(&mut resource.node, Create::Scalar, &mut |node| match node {
                Node::Scalar(scalar) => {
                    let name = format!("{prefix}{}{suffix}", scalar.value);
                    *scalar = Scalar { style: scalar.style, ..Scalar::string(name) };
                    Ok(())
                }
                _ => Err("a name is no single word".to_owned()),
            })?;
        }
    }
    Ok(())
}

fn set_replicas(resources: &mut [Resource], replica: &Replica, specs: &[FieldSpec]) -> Result<(), String> {
    let mut found = false;
    for spec in specs {
        let wanted = spec.gvk();
        for resource in resources.iter_mut() {
            let is_meant = resource.is_or_was_called(&replica.name)
                && resource.ids().any(|id| id.name == replica.name && id.gvk.is_selected(&wanted));
            if !is_meant {
                continue;
            }
            found = true;
            if !spec.selects(&resource.gvk()) {
                continue;
            }
            spec.visit(&mut resource.node, Create::Scalar, &mut |node| {
                // In quotes it stays in quotes.
                let style = if let Node::Scalar(old) = node { old.style } else { ScalarStyle::Plain };
                let value = replica.count.to_string().into();
                *node = Node::Scalar(Scalar { value, tag: Tag::Empty, style, ..Scalar::default() });
                Ok(())
            })?;
        }
    }
    if found {
        Ok(())
    } else {
        Err(format!(
            "replicas: there is no object {:?} whose replicas can be set; name a Deployment, ReplicaSet, ReplicationController or StatefulSet",
            replica.name
        ))
    }
}
