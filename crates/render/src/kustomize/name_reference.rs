//! Names of objects inside other objects follow when those objects are renamed.

use std::collections::{HashMap, HashSet};

use super::{
    field_spec::{Create, FieldSpec, Specs},
    resource::{Gvk, Id, Resource},
};
use crate::goyaml::{Node, Scalar};

/// What the search needs to know about every object while references are rewritten.
struct Candidate {
    current: Id,
    cluster_scoped: bool,
    /// Where it was and is: earlier namespaces, the current one last.
    original_namespace: String,
}

/// Where a kind names objects of another kind.
type Wanted<'a> = (&'a Gvk, &'a FieldSpec);

/// Rewrites every reference to an object that has been renamed.
pub(super) fn fix_references(resources: &mut [Resource], specs: &Specs) -> Result<(), String> {
    let candidates: Vec<Candidate> = resources
        .iter()
        .map(|resource| {
            let current = resource.id();
            Candidate {
                cluster_scoped: current.gvk.is_cluster_scoped(),
                original_namespace: resource.original_id().namespace.to_owned(),
                current: current.into_owned(),
            }
        })
        .collect();
    let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, resource) in resources.iter().enumerate() {
        let names: HashSet<&String> = resource.previous.iter().map(|id| &id.name).collect();
        for name in names {
            by_name.entry(name.clone()).or_default().push(index);
        }
    }
    if by_name.is_empty() {
        return Ok(());
    }
    let targets: Vec<(Gvk, &[FieldSpec])> = specs
        .name_reference
        .iter()
        .map(|reference| {
            let gvk = Gvk {
                group: reference.group.clone(),
                version: reference.version.clone(),
                kind: reference.kind.clone(),
            };
            (gvk, reference.field_specs.as_slice())
        })
        .collect();
    let originals: Vec<Gvk> = resources.iter().map(|resource| resource.original_id().gvk.into_owned()).collect();
    let mut known: HashMap<(Gvk<&str>, Gvk<&str>), Vec<Wanted<'_>>> = HashMap::new();
    let namespaces = Namespaces::new(&candidates);
    for index in 0..resources.len() {
        let (Some(original), Some(candidate)) = (originals.get(index), candidates.get(index)) else { continue };
        let (original, current) = (original.borrowed(), candidate.current.gvk.borrowed());
        let wanted = known.entry((original, current)).or_insert_with(|| {
            let all = targets.iter().flat_map(|(target, specs)| specs.iter().map(move |spec| (target, spec)));
            all.filter(|(_, spec)| spec.selects(&original) && spec.selects(&current)).collect()
        });
        if wanted.is_empty() {
            continue;
        }
        let Some(referrer) = resources.get_mut(index) else { continue };
        let mut node = std::mem::take(&mut referrer.node);
        let subjects = subject_namespaces(&node);
        let role = role_of(&node);
        let mut result = Ok(());
        for (target, spec) in wanted.iter().copied() {
            let search = Search {
                resources,
                candidates: &candidates,
                namespaces: &namespaces,
                by_name: &by_name,
                referrer: index,
                target,
                role: role.as_ref().filter(|_| spec.path.ends_with("roleRef/name")),
                subjects: &subjects,
            };
            result = spec.visit(&mut node, Create::Nothing, &mut |found| search.set(found));
            if result.is_err() {
                break;
            }
        }
        if let Some(referrer) = resources.get_mut(index) {
            referrer.node = node;
            referrer.settle_shared();
        }
        result.map_err(|error| {
            let id = candidates.get(index).map(|candidate| candidate.current.describe()).unwrap_or_default();
            format!("{id}: {error}")
        })?;
    }
    Ok(())
}

/// The namespaces of the service accounts of a RoleBinding.
fn subject_namespaces(node: &Node) -> HashSet<String> {
    if node.get("kind").and_then(Node::text) != Some("RoleBinding") {
        return HashSet::new();
    }
    let subjects = node.get("subjects").map(Node::items).unwrap_or_default();
    subjects
        .iter()
        .filter(|subject| subject.get("kind").and_then(Node::text) == Some("ServiceAccount"))
        .filter_map(|subject| subject.get("namespace").and_then(Node::text))
        .filter(|namespace| !namespace.is_empty())
        .map(str::to_owned)
        .collect()
}

fn role_of(node: &Node) -> Option<Gvk> {
    let role = node.get("roleRef")?;
    let text = |name: &str| role.get(name).and_then(Node::text).unwrap_or_default().to_owned();
    Some(Gvk { group: text("apiGroup"), version: String::new(), kind: text("kind") })
}

/// One object for each way in which objects belong to a namespace, by the namespace that they had first or have now.
struct Namespaces<'a> {
    original: HashMap<&'a str, Vec<usize>>,
    current: HashMap<&'a str, Vec<usize>>,
}

// === impl Namespaces ===

impl<'a> Namespaces<'a> {
    fn new(candidates: &'a [Candidate]) -> Self {
        let mut found = Self { original: HashMap::new(), current: HashMap::new() };
        let mut seen = HashSet::new();
        for (index, candidate) in candidates.iter().enumerate() {
            let (original, current) = (&candidate.original_namespace, &candidate.current.namespace);
            // Whether an object can be named depends on nothing else of it.
            if seen.insert((original, current, candidate.cluster_scoped)) {
                found.original.entry(effective(candidate, original)).or_default().push(index);
                found.current.entry(effective(candidate, current)).or_default().push(index);
            }
        }
        found
    }

    fn examples(&self, namespace: &str, current: bool) -> &[usize] {
        let map = if current { &self.current } else { &self.original };
        map.get(namespace).map(Vec::as_slice).unwrap_or_default()
    }
}

struct Search<'a> {
    resources: &'a [Resource],
    candidates: &'a [Candidate],
    /// Where there are objects.
    namespaces: &'a Namespaces<'a>,
    by_name: &'a HashMap<String, Vec<usize>>,
    referrer: usize,
    target: &'a Gvk,
    /// What a `roleRef` names, where that is what is rewritten.
    role: Option<&'a Gvk>,
    subjects: &'a HashSet<String>,
}

// === impl Search ===

impl Search<'_> {
    fn set(&self, node: &mut Node) -> Result<(), String> {
        if node.is_null() {
            return Ok(());
        }
        match node {
            Node::Scalar(scalar) => self.set_scalar(scalar),
            Node::Map(_) => self.set_map(node),
            Node::List(items) => items.iter_mut().try_for_each(|item| match item {
                Node::Scalar(scalar) => self.set_scalar(scalar),
                Node::Map(_) => self.set_map(item),
                Node::List(_) => Err("a list of lists holds no names".to_owned()),
            }),
        }
    }

    fn set_scalar(&self, scalar: &mut Scalar) -> Result<(), String> {
        if let Some(found) = self.select(&scalar.value, None, false)?
            && found.current.name != *scalar.value
        {
            *scalar = renamed(scalar, &found.current.name);
        }
        Ok(())
    }

    /// `name` and `namespace` beside each other.
    fn set_map(&self, node: &mut Node) -> Result<(), String> {
        let Some(name) = node.get("name").and_then(Node::text).map(str::to_owned) else {
            return Err("there is no field name in a reference".to_owned());
        };
        let namespace = node.get("namespace").map(|namespace| namespace.text().unwrap_or_default().to_owned());
        let Some(found) = self.select(&name, namespace.as_deref(), true)? else { return Ok(()) };
        let to = &found.current;
        if to.name == name && to.namespace.is_empty() {
            return Ok(());
        }
        for (field, value) in [("name", &to.name), ("namespace", &to.namespace)] {
            if !value.is_empty() {
                super::resource::set_field(node, field, super::resource::untyped(value));
            }
        }
        Ok(())
    }

    /// The object that a name means, if it is known. Several are as good as one when they have the same name, and for a
    /// reference that holds the namespace too, the same namespace.
    fn select(&self, name: &str, namespace: Option<&str>, holds_namespace: bool) -> Result<Option<&Candidate>, String> {
        let Some(known) = self.by_name.get(name) else { return Ok(None) };
        let mut found: Vec<usize> = known.iter().copied().filter(|index| self.may_be_meant(*index)).collect();
        if let Some(namespace) = namespace {
            // Every object counts for which namespaces there are, not only those of this name.
            let group = |current: bool| {
                let of = |candidate: &Candidate| {
                    let text = if current { &candidate.current.namespace } else { &candidate.original_namespace };
                    effective(candidate, text) == if namespace.is_empty() { "default" } else { namespace }
                };
                let wanted = if namespace.is_empty() { "default" } else { namespace };
                let any = self.namespaces.examples(wanted, current).iter().any(|index| self.is_in_reach(*index));
                any.then(|| {
                    found
                        .iter()
                        .copied()
                        .filter(|index| self.candidates.get(*index).is_some_and(of))
                        .collect::<Vec<_>>()
                })
            };
            found = group(false).or_else(|| group(true)).unwrap_or_default();
        }
        let was_selected = |index: usize, gvk: &Gvk| {
            self.resources.get(index).is_some_and(|resource| resource.previous.iter().any(|id| id.gvk.is_selected(gvk)))
        };
        found.retain(|index| was_selected(*index, self.target));
        if let Some(role) = self.role {
            found.retain(|index| was_selected(*index, role));
        }
        found.retain(|index| self.is_in_same_namespace(*index));
        if found.len() > 1 {
            let loose: Vec<usize> = found.iter().copied().filter(|index| self.has_same_affixes(*index, true)).collect();
            found = loose;
            if found.len() > 1 {
                let strict: Vec<usize> =
                    found.iter().copied().filter(|index| self.has_same_affixes(*index, false)).collect();
                if !strict.is_empty() {
                    found = strict;
                }
            }
        }
        let mut meant = found.iter().filter_map(|index| self.candidates.get(*index));
        let Some(first) = meant.next() else { return Ok(None) };
        let is_same = |other: &Candidate| {
            other.current.name == first.current.name
                && (!holds_namespace || other.current.namespace == first.current.namespace)
        };
        if meant.all(is_same) {
            return Ok(Some(first));
        }
        let names: Vec<String> = found
            .iter()
            .filter_map(|index| self.candidates.get(*index))
            .map(|candidate| candidate.current.describe())
            .collect();
        Err(format!("{name:?} may mean several objects: {}", names.join(", ")))
    }

    fn may_be_meant(&self, index: usize) -> bool {
        self.is_in_reach(index)
    }

    /// Whether the referrer can name the object at all.
    fn is_in_reach(&self, index: usize) -> bool {
        let (Some(referrer), Some(candidate)) = (self.candidates.get(self.referrer), self.candidates.get(index)) else {
            return false;
        };
        referrer.cluster_scoped
            || candidate.cluster_scoped
            || referrer.current.same_namespace(&candidate.current)
            || self.subjects.contains(&candidate.current.namespace)
    }

    fn is_in_same_namespace(&self, index: usize) -> bool {
        let (Some(referrer), Some(candidate)) = (self.candidates.get(self.referrer), self.candidates.get(index)) else {
            return false;
        };
        referrer.cluster_scoped
            || candidate.cluster_scoped
            || candidate.current.gvk.kind == "ServiceAccount"
            || referrer.current.same_namespace(&candidate.current)
    }

    fn has_same_affixes(&self, index: usize, allow_empty: bool) -> bool {
        let (Some(own), Some(other)) = (self.resources.get(self.referrer), self.resources.get(index)) else {
            return false;
        };
        let same = |a: &[String], b: &[String]| {
            let common = a.len().min(b.len());
            if common == 0 {
                return allow_empty || a.len() == b.len();
            }
            a.iter().rev().take(common).eq(b.iter().rev().take(common))
        };
        same(&own.prefixes, &other.prefixes) && same(&own.suffixes, &other.suffixes)
    }
}

fn effective<'a>(candidate: &Candidate, namespace: &'a str) -> &'a str {
    if candidate.cluster_scoped {
        "_non_namespaceable_"
    } else if namespace.is_empty() {
        "default"
    } else {
        namespace
    }
}

fn renamed(scalar: &Scalar, name: &str) -> Scalar {
    let (style, shared) = (scalar.style, scalar.shared);
    Scalar { value: name.into(), tag: crate::goyaml::Tag::Empty, style, shared, ..Scalar::default() }
}
