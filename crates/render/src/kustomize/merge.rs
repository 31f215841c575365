//! Strategic merge patches.

use super::{
    merge_list::walk_list,
    resource::{new_key, untyped},
    schema::{Schema, TypeId},
};
use crate::goyaml::{Node, Scalar, Tag};

/// What became of a value.
pub(super) enum Outcome {
    /// It goes away.
    Clear,
    /// What was there stays, perhaps changed in place.
    Keep,
    /// Something else takes its place.
    Use(Node),
}

/// What `$patch` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Directive {
    Merge,
    Replace,
    Delete,
}

/// Merges a patch into an object. `None`: the patch deletes it.
pub(super) fn strategic_merge(mut object: Node, patch: &Node, schema: &Schema) -> Result<Option<Node>, String> {
    if map_directive(Some(patch))?.0 == Directive::Replace {
        // Of the whole object it has no effect.
        return Ok(Some(object));
    }
    match walk(Some(&mut object), Some(patch), None, schema)? {
        Outcome::Clear => Ok(None),
        Outcome::Keep => Ok(Some(object)),
        Outcome::Use(node) => Ok(Some(node)),
    }
}

pub(super) fn is_missing(node: Option<&Node>) -> bool {
    node.is_none_or(Node::is_null)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    None,
    Map,
    List,
    Scalar,
}

fn shape(node: Option<&Node>) -> Shape {
    match node {
        None => Shape::None,
        Some(node) if node.is_null() => Shape::None,
        Some(Node::Map(_)) => Shape::Map,
        Some(Node::List(_)) => Shape::List,
        Some(Node::Scalar(_)) => Shape::Scalar,
    }
}

pub(super) fn walk(
    dest: Option<&mut Node>,
    patch: Option<&Node>,
    schema_at: Option<TypeId>,
    schema: &Schema,
) -> Result<Outcome, String> {
    let (own, theirs) = (shape(dest.as_deref()), shape(patch));
    let shape = if own == Shape::None { theirs } else { own };
    if own != Shape::None && theirs != Shape::None && own != theirs {
        let word = |shape| match shape {
            Shape::Map => "a mapping",
            Shape::List => "a list",
            _ => "a scalar",
        };
        return Err(format!("the object has {} where the patch has {}", word(own), word(theirs)));
    }
    let schema_at = schema_at.or_else(|| nested_kind(dest.as_deref(), schema)).or_else(|| nested_kind(patch, schema));
    match shape {
        Shape::Map | Shape::None => walk_map(dest, patch, schema_at, schema),
        Shape::List => match schema_at.and_then(|at| schema.merge(at)) {
            Some(merge) => {
                let keys = merge.keys.clone();
                walk_list(dest, patch, &keys, schema_at.and_then(|at| schema.elements(at)), schema)
            }
            None => Ok(patch.map_or(Outcome::Keep, |patch| Outcome::Use(patch.clone()))),
        },
        Shape::Scalar => Ok(patch.map_or(Outcome::Keep, |patch| Outcome::Use(patch.clone()))),
    }
}

/// Objects inside objects have a schema of their own.
fn nested_kind(node: Option<&Node>, schema: &Schema) -> Option<TypeId> {
    let node = node.filter(|node| matches!(node, Node::Map(_)))?;
    let (api_version, kind) = (node.get("apiVersion")?.text()?, node.get("kind")?.text()?);
    schema.of_kind(api_version, kind)
}

fn walk_map(
    dest: Option<&mut Node>,
    patch: Option<&Node>,
    schema_at: Option<TypeId>,
    schema: &Schema,
) -> Result<Outcome, String> {
    let (directive, elided) = map_directive(patch)?;
    if is_missing(dest.as_deref()) {
        if directive == Directive::Delete {
            return Ok(Outcome::Clear);
        }
        let Some(patch) = elided.as_ref().or(patch) else {
            // An explicit null stays, an absent value does not.
            return Ok(match dest {
                Some(Node::Scalar(null)) if !null.value.is_empty() => Outcome::Use(untyped(&null.value)),
                _ => Outcome::Clear,
            });
        };
        if patch.is_null() {
            return Ok(Outcome::Clear);
        }
        return add(patch, schema_at, schema);
    }
    if patch.is_some_and(Node::is_null) {
        return Ok(Outcome::Clear);
    }
    let patch = elided.as_ref().or(patch);
    match (directive, patch, dest) {
        (Directive::Delete, ..) => Ok(Outcome::Clear),
        (Directive::Replace, Some(patch), _) => add(patch, schema_at, schema),
        (_, patch, Some(dest)) => {
            merge_fields(dest, patch, schema_at, schema)?;
            Ok(Outcome::Keep)
        }
        (_, _, None) => Ok(Outcome::Clear),
    }
}

/// What a patch adds is merged with itself: nulls and directives in it take effect.
fn add(patch: &Node, schema_at: Option<TypeId>, schema: &Schema) -> Result<Outcome, String> {
    let mut node = patch.clone();
    merge_fields(&mut node, Some(patch), schema_at, schema)?;
    Ok(Outcome::Use(node))
}

fn merge_fields(
    dest: &mut Node,
    patch: Option<&Node>,
    schema_at: Option<TypeId>,
    schema: &Schema,
) -> Result<(), String> {
    let theirs = patch.map(Node::entries).unwrap_or_default();
    clear_nulls(dest, theirs, schema_at, schema)?;
    let mut names: Vec<&str> = theirs.iter().map(|(key, _)| &*key.value).collect();
    names.sort_unstable();
    for name in names {
        let theirs = patch.and_then(|patch| patch.get(name));
        let field_schema = schema_at.and_then(|at| schema.field(at, name));
        let outcome = walk(dest.get_mut(name), theirs, field_schema, schema).map_err(|error| prefix(name, error))?;
        match outcome {
            Outcome::Keep => {}
            Outcome::Clear => {
                dest.remove(name);
            }
            Outcome::Use(value) if value.is_null() => {
                dest.remove(name);
            }
            Outcome::Use(value) => {
                let style = patch.into_iter().flat_map(|patch| patch.entries()).find(|(key, _)| &*key.value == name);
                match dest.get_mut(name) {
                    Some(slot) => slot.overwrite(value),
                    None => {
                        if let Node::Map(entries) = dest {
                            let key = style
                                .map_or_else(|| new_key(name), |(key, _)| Scalar { tag: new_tag(key), ..key.clone() });
                            entries.push((key, value));
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// Fields of which the patch says nothing: only the nulls in them go away.
fn clear_nulls(
    dest: &mut Node,
    theirs: &[(Scalar, Node)],
    schema_at: Option<TypeId>,
    schema: &Schema,
) -> Result<(), String> {
    let Node::Map(entries) = dest else { return Ok(()) };
    let mut gone = false;
    for (key, value) in entries.iter_mut() {
        if theirs.iter().any(|(other, _)| other.value == key.value)
            || matches!(value, Node::Scalar(_)) && !value.is_null()
        {
            continue;
        }
        let field_schema = schema_at.and_then(|at| schema.field(at, &key.value));
        match walk(Some(&mut *value), None, field_schema, schema).map_err(|error| prefix(&key.value, error))? {
            Outcome::Keep => {}
            Outcome::Use(new) if !new.is_null() => value.overwrite(new),
            // Marked here, taken out below.
            Outcome::Clear | Outcome::Use(_) => {
                *value = Node::null();
                gone = true;
            }
        }
    }
    if gone {
        entries.retain(|(key, value)| !value.is_null() || theirs.iter().any(|(other, _)| other.value == key.value));
    }
    Ok(())
}

/// A key keeps its quotes but not its tag.
fn new_tag(key: &Scalar) -> Tag {
    if key.style == crate::goyaml::ScalarStyle::Plain { Tag::Empty } else { Tag::Str }
}

fn prefix(name: &str, error: String) -> String {
    match error.strip_prefix("at ") {
        Some(rest) => format!("at {name}.{rest}"),
        None => format!("at {name}: {error}"),
    }
}

pub(super) fn directive(word: &str) -> Result<Directive, String> {
    match word {
        "merge" => Ok(Directive::Merge),
        "replace" => Ok(Directive::Replace),
        "delete" => Ok(Directive::Delete),
        _ => Err(format!("unknown patch strategy {word:?}; $patch is merge, replace or delete")),
    }
}

/// The directive of a mapping and the mapping without it.
fn map_directive(patch: Option<&Node>) -> Result<(Directive, Option<Node>), String> {
    let Some(patch @ Node::Map(_)) = patch else { return Ok((Directive::Merge, None)) };
    let Some(word) = patch.get("$patch") else { return Ok((Directive::Merge, None)) };
    let found = directive(word.text().unwrap_or_default())?;
    let mut without = patch.clone();
    without.remove("$patch");
    Ok((found, Some(without)))
}
