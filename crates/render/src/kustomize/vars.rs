//! Variables: `$(NAME)` in some fields stands for a value of some object.

use std::collections::BTreeMap;

use super::{
    field_spec::{Create, FieldSpec, selected},
    kustomization::{Var, VarTarget},
    replacements::look_up,
    resource::{Gvk, Resource},
};
use crate::goyaml::{Node, Scalar, Tag};

/// Replaces variables where `specs` say that they may stand.
pub(super) fn resolve(resources: &mut [Resource], vars: &[Var], specs: &[FieldSpec]) -> Result<(), String> {
    if vars.is_empty() {
        return Ok(());
    }
    let mut values: BTreeMap<&str, Scalar> = BTreeMap::new();
    for var in vars {
        values.insert(&var.name, value(resources, var)?);
    }
    for resource in resources {
        for spec in selected(specs, &resource.gvk()) {
            spec.visit(&mut resource.node, Create::Nothing, &mut |node| {
                expand_node(node, &values);
                Ok(())
            })?;
        }
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

fn value(resources: &[Resource], var: &Var) -> Result<Scalar, String> {
    let gvk = target_gvk(&var.objref);
    let found = resources.iter().find(|resource| {
        resource.ids().any(|id| {
            id.name == var.objref.name
                && id.gvk == gvk
                && (var.objref.namespace.is_empty() || id.effective_namespace() == var.objref.namespace)
        })
    });
    let cannot = || format!("var {:?}: there is no {} {:?}", var.name, gvk.kind, var.objref.name);
    let resource = found.ok_or_else(cannot)?;
    let path = if var.fieldref.fieldpath.is_empty() { "metadata.name" } else { &var.fieldref.fieldpath };
    let parts: Vec<String> = path
        .split('.')
        .flat_map(|part| {
            let mut pieces = part.split('[');
            let head = pieces.next().unwrap_or_default().to_owned();
            let rest: Vec<String> = pieces.map(|index| index.trim_end_matches(']').to_owned()).collect();
            std::iter::once(head).filter(|head| !head.is_empty()).chain(rest).collect::<Vec<_>>()
        })
        .collect();
    match look_up(&resource.node, &parts) {
        Some(Node::Scalar(scalar)) => Ok(scalar.clone()),
        Some(_) => Err(format!("var {:?}: field {path:?} is no single value", var.name)),
        None => Err(format!("var {:?}: there is no field {path:?} in {} {:?}", var.name, gvk.kind, var.objref.name)),
    }
}

fn expand_node(node: &mut Node, values: &BTreeMap<&str, Scalar>) {
    match node {
        Node::Scalar(scalar) if scalar.value.contains('$') => expand(scalar, values),
        Node::Scalar(_) => {}
        Node::List(items) => {
            items.iter_mut().filter(|item| matches!(item, Node::Scalar(_))).for_each(|item| expand_node(item, values))
        }
        Node::Map(entries) => {
            entries
                .iter_mut()
                .filter(|(_, value)| matches!(value, Node::Scalar(_)))
                .for_each(|(_, value)| expand_node(value, values));
        }
    }
}

fn expand(scalar: &mut Scalar, values: &BTreeMap<&str, Scalar>) {
    let text = scalar.value.clone();
    let whole = text.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'));
    if let Some(value) = whole.and_then(|name| values.get(name)) {
        // The type of the value is kept.
        let tag = if value.tag == Tag::Empty { Tag::Str } else { value.tag.clone() };
        *scalar = Scalar { value: value.value.clone(), tag, ..Scalar::default() };
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
            match values.get(name) {
                Some(value) => out.push_str(&value.value),
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
    let style = scalar.style;
    *scalar = Scalar { value: out.into(), tag: Tag::Str, style, ..Scalar::default() };
}
