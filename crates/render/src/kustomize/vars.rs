//! Variables: `$(NAME)` in some fields stands for a value of some object.

use std::collections::BTreeMap;

use super::{
    field_spec::{Create, FieldSpec, selected},
    kustomization::{Var, VarTarget},
    replacements::{look_up, split_field_path},
    resource::{Gvk, Id, Resource},
};
use crate::{
    goyaml::{Node, Scalar, Tag},
    strconv,
};

/// What a variable stands for.
struct Meaning {
    /// In the place of a whole field, which takes its type.
    whole: Scalar,
    /// Within a text.
    inline: String,
}

/// Notes at the object that a variable of this kustomization means, that its value is to be taken from it in the end.
pub(super) fn note(resources: &mut [Resource], vars: &[Var]) -> Result<(), String> {
    for var in vars {
        let wanted = Id { gvk: target_gvk(&var.objref), name: &*var.objref.name, namespace: &*var.objref.namespace };
        let any_namespace = wanted.namespace.is_empty() && !wanted.gvk.is_cluster_scoped();
        let mut found = resources.iter_mut().filter(|resource| {
            resource.ids().any(|id| {
                id.name == wanted.name && id.gvk == wanted.gvk && (any_namespace || id.same_namespace(&wanted))
            })
        });
        let first = found.next();
        if found.next().is_some() {
            return Err(format!(
                "var {:?}: there are several {} {:?}; give objref.namespace",
                var.name, wanted.gvk.kind, wanted.name
            ));
        }
        if let Some(resource) = first {
            resource.vars.push(var.name.clone());
        }
    }
    Ok(())
}

/// Replaces variables where `specs` say that they may stand.
pub(super) fn resolve(resources: &mut [Resource], vars: &[Var], specs: &[FieldSpec]) -> Result<(), String> {
    if vars.is_empty() {
        return Ok(());
    }
    let mut meanings: BTreeMap<&str, Option<Meaning>> = BTreeMap::new();
    for var in vars {
        meanings.insert(&var.name, meaning(resources, var)?);
    }
    for resource in resources {
        for spec in selected(specs, &resource.gvk()) {
            spec.visit(&mut resource.node, Create::Nothing, &mut |node| expand_node(node, &meanings))?;
        }
        resource.settle_shared();
    }
    Ok(())
}

fn target_gvk(target: &VarTarget) -> Gvk<&str> {
    let mut gvk = Gvk::parse(&target.api_version, &target.kind);
    if !target.group.is_empty() {
        gvk.group = &target.group;
    }
    if !target.version.is_empty() {
        gvk.version = &target.version;
    }
    gvk
}

/// `None`: the field is a mapping or a list, which stands for nothing.
fn meaning(resources: &[Resource], var: &Var) -> Result<Option<Meaning>, String> {
    let (kind, name) = (&var.objref.kind, &var.objref.name);
    let resource = resources
        .iter()
        .find(|resource| resource.vars.contains(&var.name))
        .ok_or_else(|| format!("var {:?}: there is no {kind} {name:?}", var.name))?;
    let path = if var.fieldref.fieldpath.is_empty() { "metadata.name" } else { &var.fieldref.fieldpath };
    let parts: Vec<String> = split_field_path(path).into_iter().flat_map(split_index).collect();
    let refuse = |problem: &str| format!("var {:?}: field {path:?} of {kind} {name:?}: {problem}", var.name);
    let found = look_up(&resource.node, &parts).map_err(|error| refuse(&error))?;
    let Node::Scalar(scalar) = found.ok_or_else(|| refuse("is missing"))? else { return Ok(None) };
    let text = &*scalar.value;
    let plain = |text: String, tag: Tag| Scalar { value: text.into(), tag, ..Scalar::default() };
    let (whole, inline) = match scalar.tag {
        Tag::Int => {
            let number: i64 = text.parse().map_err(|_| refuse("is no decimal integer"))?;
            (plain(number.to_string(), Tag::Int), number.to_string())
        }
        Tag::Float => {
            let number = strconv::parse_float(text).ok_or_else(|| refuse("is no number"))?;
            (plain(number.to_string(), Tag::Float), strconv::shortest_float(number))
        }
        Tag::Bool => {
            let text = text.to_ascii_lowercase();
            (plain(text.clone(), Tag::Bool), text)
        }
        _ => (plain(text.to_owned(), Tag::Str), text.to_owned()),
    };
    Ok(Some(Meaning { whole, inline }))
}

/// `ports[0]` is two elements of a path.
fn split_index(part: String) -> Vec<String> {
    let index = part.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
    match index {
        Some((name, index)) if !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()) => {
            [name, index].into_iter().filter(|part| !part.is_empty()).map(str::to_owned).collect()
        }
        _ => vec![part],
    }
}

fn is_text(node: &Node) -> bool {
    matches!(node, Node::Scalar(Scalar { tag: Tag::Str | Tag::Empty, .. }))
}

fn expand_node(node: &mut Node, meanings: &BTreeMap<&str, Option<Meaning>>) -> Result<(), String> {
    match node {
        Node::Scalar(scalar) => {
            if matches!(scalar.tag, Tag::Str | Tag::Empty) {
                expand(scalar, meanings);
            }
        }
        Node::List(items) => {
            for item in items {
                let Node::Scalar(scalar) = item else { return Err("an element of the list is no text".to_owned()) };
                if !matches!(scalar.tag, Tag::Str | Tag::Empty) {
                    return Err(format!("{:?} in the list is no text; put it in quotes", scalar.value));
                }
                expand(scalar, meanings);
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                if !matches!(key.tag, Tag::Str | Tag::Empty) {
                    return Err(format!("the key {:?} is no text; put it in quotes", key.value));
                }
                if let (true, Node::Scalar(scalar)) = (is_text(value), value) {
                    expand(scalar, meanings);
                }
            }
        }
    }
    Ok(())
}

fn expand(scalar: &mut Scalar, meanings: &BTreeMap<&str, Option<Meaning>>) {
    let text = scalar.value.clone();
    let meaning = |name: &str| meanings.get(name).and_then(Option::as_ref);
    let whole = text.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'));
    let shared = scalar.shared;
    if let Some(meaning) = whole.and_then(meaning) {
        *scalar = Scalar { shared, ..meaning.whole.clone() };
        return;
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), &*text);
    while let Some(at) = rest.find('$') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let after = rest.get(at + 1..).unwrap_or_default();
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match meaning(name) {
                Some(meaning) => out.push_str(&meaning.inline),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    *scalar = Scalar { value: out.into(), tag: Tag::Str, shared, ..Scalar::default() };
}
