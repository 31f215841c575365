//! Copies values from one object's fields to those of others.

use std::borrow::Cow;

use regex::Regex;

use super::{
    kustomization::{FieldOptions, ReplacementField, ReplacementSource, ReplacementTarget, Selector},
    resource::{Gvk, Id, Resource, set_field, untyped},
    selector::matches_labels,
};
use crate::goyaml::{Node, ScalarStyle};

const DEFAULT_PATH: &str = "metadata.name";

/// Applies one replacement.
pub(super) fn replace(resources: &mut [Resource], replacement: &ReplacementField) -> Result<(), String> {
    let source = replacement.source.as_ref().ok_or("a replacement needs a source and at least one target")?;
    if replacement.targets.is_empty() {
        return Err("a replacement needs a source and at least one target".to_owned());
    }
    let value = source_value(resources, source)?;
    replacement.targets.iter().try_for_each(|target| apply(resources, &value, target))
}

fn selector_id(selector: &Selector) -> Id<&str> {
    let gvk = Gvk { group: selector.group.as_str(), version: &selector.version, kind: &selector.kind };
    Id { gvk, name: &selector.name, namespace: &selector.namespace }
}

fn source_value(resources: &[Resource], source: &ReplacementSource) -> Result<Node, String> {
    let gvk = Gvk { group: source.group.clone(), version: source.version.clone(), kind: source.kind.clone() };
    let wanted = Id { gvk, name: source.name.clone(), namespace: source.namespace.clone() };
    let mut found = resources.iter().filter(|resource| resource.ids().any(|id| id.is_selected_by(&wanted)));
    let resource = found.next().ok_or_else(|| format!("nothing is selected by the source {}", wanted.describe()))?;
    if found.next().is_some() {
        return Err(format!("several objects are selected by the source {}", wanted.describe()));
    }
    let path = if source.field_path.is_empty() { DEFAULT_PATH } else { &source.field_path };
    let value =
        look_up(&resource.node, &split_field_path(path)).map_err(|error| format!("fieldPath {path:?}: {error}"))?;
    let value = value
        .filter(|value| !is_missing(value))
        .ok_or_else(|| format!("fieldPath {path:?} is missing in the source {}", resource.id().describe()))?;
    match source.options.as_ref().filter(|options| !options.delimiter.is_empty()) {
        None => Ok(value.clone()),
        Some(options) => part(value, options),
    }
}

fn is_missing(node: &Node) -> bool {
    match node {
        Node::Scalar(_) => node.is_null(),
        Node::List(items) => items.is_empty(),
        Node::Map(entries) => entries.is_empty(),
    }
}

/// One part of a text that a delimiter divides.
fn part(value: &Node, options: &FieldOptions) -> Result<Node, String> {
    let Node::Scalar(scalar) = value else { return Err("a delimiter needs a source that is text".to_owned()) };
    let parts: Vec<&str> = scalar.value.split(options.delimiter.as_str()).collect();
    let found = usize::try_from(options.index).ok().and_then(|index| parts.get(index));
    let found =
        found.ok_or_else(|| format!("options.index {} is out of bounds for {:?}", options.index, scalar.value))?;
    let mut scalar = scalar.clone();
    scalar.value = (*found).into();
    Ok(Node::Scalar(scalar))
}

fn apply(resources: &mut [Resource], value: &Node, target: &ReplacementTarget) -> Result<(), String> {
    let select = target.select.as_ref().ok_or("a target of a replacement needs select")?;
    let wanted = selector_id(select);
    let default = [DEFAULT_PATH.to_owned()];
    let paths = if target.field_paths.is_empty() { &default[..] } else { &target.field_paths };
    let paths: Vec<(&str, Vec<Step>)> =
        paths.iter().map(|path| (path.as_str(), split_field_path(path).into_iter().map(Step::new).collect())).collect();
    for resource in resources {
        if !resource.ids().any(|id| id.is_selected_by(&wanted)) || !fits_words(resource, select)? {
            continue;
        }
        if rejected(resource, &target.reject)? {
            continue;
        }
        for (path, steps) in &paths {
            set(resource, path, steps, value, target.options.as_ref())
                .map_err(|error| format!("{}: {error}", resource.id().describe()))?;
        }
        resource.settle_shared();
    }
    Ok(())
}

fn fits_words(resource: &Resource, selector: &Selector) -> Result<bool, String> {
    Ok(matches_labels(&resource.words("labels"), &selector.label_selector)?
        && matches_labels(&resource.words("annotations"), &selector.annotation_selector)?)
}

fn rejected(resource: &Resource, reject: &[Selector]) -> Result<bool, String> {
    for selector in reject {
        let wanted = selector_id(selector);
        if wanted != Id::default() && resource.ids().any(|id| id.is_selected_by(&wanted)) {
            return Ok(true);
        }
        let has_words = !selector.label_selector.is_empty() || !selector.annotation_selector.is_empty();
        if has_words && fits_words(resource, selector)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn set(
    resource: &mut Resource,
    path: &str,
    steps: &[Step],
    value: &Node,
    options: Option<&FieldOptions>,
) -> Result<(), String> {
    let create = options.is_some_and(|options| options.create).then_some(value);
    let mut count = 0;
    // `.spec.x` is `spec.x`; anywhere else an empty element is one that nothing has.
    let steps = match steps {
        [first, rest @ ..] if first.text.is_empty() => rest,
        steps => steps,
    };
    visit(&mut resource.node, steps, create, &mut |found| {
        count += 1;
        write(found, value, options)
    })?;
    if count == 0 {
        return Err(format!("there is no field {path:?} in the target of a replacement; options.create would add it"));
    }
    Ok(())
}

fn write(field: &mut Node, value: &Node, options: Option<&FieldOptions>) -> Result<(), String> {
    let mut value = value.clone();
    if let Some(options) = options.filter(|options| !options.delimiter.is_empty()) {
        let Node::Scalar(old) = &*field else { return Err("a delimiter needs a target that is text".to_owned()) };
        let new = value.text().unwrap_or_default().to_owned();
        let mut parts: Vec<&str> = old.value.split(options.delimiter.as_str()).collect();
        match usize::try_from(options.index) {
            Err(_) => parts.insert(0, &new),
            Ok(index) => match parts.get_mut(index) {
                Some(part) => *part = &new,
                None => parts.push(&new),
            },
        }
        let joined = parts.join(&options.delimiter);
        if let Node::Scalar(scalar) = &mut value {
            scalar.value = joined.into();
        }
    }
    match (field, value) {
        // The type of the field stays; its new text decides what it is where it had none.
        (Node::Scalar(field), Node::Scalar(value)) => field.value = value.value,
        // A mapping or list has no text of its own.
        (Node::Scalar(field), _) => field.value = "".into(),
        (field, value) => *field = value,
    }
    Ok(())
}

/// Splits at points that are not in brackets or escaped. `[a.b]` without `=` is a key with points in it.
pub(super) fn split_field_path(path: &str) -> Vec<String> {
    let mut parts = super::field_spec::split_path(path, '.').into_iter();
    let mut found: Vec<String> = Vec::new();
    while let Some(part) = parts.next() {
        if !part.starts_with('[') || part.ends_with(']') {
            found.push(part);
            continue;
        }
        let mut whole = part;
        for more in parts.by_ref() {
            whole.push('.');
            whole.push_str(&more);
            if more.ends_with(']') {
                break;
            }
        }
        found.push(if whole.contains('=') { whole } else { whole.trim_matches(['[', ']']).to_owned() });
    }
    found
}

/// An element of a list that is named by `[name=value]`; an error when the brackets hold something else.
fn list_match(part: &str) -> Option<Result<(&str, &str), String>> {
    let inner = part.strip_prefix('[')?.strip_suffix(']')?;
    Some(inner.split_once('=').ok_or_else(|| format!("{part:?} is not [name=value]")))
}

/// A place in a list that is given by its number.
fn index(part: &str) -> Option<usize> {
    part.strip_prefix('+').unwrap_or(part).parse().ok()
}

/// The value at a path; list elements by number, `-` for the last or `[name=value]`. Empty elements of a path do not count.
pub(super) fn look_up<'a>(node: &'a Node, path: &[String]) -> Result<Option<&'a Node>, String> {
    let mut found = node;
    for part in path.iter().map(|part| part.trim()).filter(|part| !part.is_empty()) {
        let next = match (list_match(part), found) {
            (Some(matching), Node::List(items)) => {
                let (name, value) = matching?;
                items.iter().find(|item| {
                    if name.is_empty() {
                        item.text() == Some(value)
                    } else {
                        item.get(name).and_then(Node::text) == Some(value)
                    }
                })
            }
            (None, Node::List(items)) if part == "-" => items.last(),
            (None, Node::List(items)) => match index(part) {
                Some(index) => items.get(index),
                None => return Err(format!("{part:?} is looked for in a list")),
            },
            (None, Node::Map(_)) if index(part).is_none() && !matches!(part, "-" | "*") => found.get(part),
            _ if found.is_null() => None,
            _ => return Err(format!("{part:?} is looked for in something that has no such thing")),
        };
        let Some(next) = next else { return Ok(None) };
        found = next;
    }
    Ok(Some(found))
}

/// An element of a path that is written to.
struct Step {
    text: String,
    /// Of `[name=pattern]`.
    matching: Option<Result<Matching, String>>,
}

struct Matching {
    name: String,
    pattern: String,
    /// `None`: the pattern is malformed, which is an error only where it is used.
    expression: Option<Regex>,
}

// === impl Step ===

impl Step {
    fn new(text: String) -> Self {
        let matching = list_match(&text).map(|matching| {
            let (name, pattern) = matching?;
            Ok(Matching { name: name.to_owned(), pattern: pattern.to_owned(), expression: Regex::new(pattern).ok() })
        });
        Self { text, matching }
    }
}

/// What to create for the part of a path that comes next.
fn empty_for(rest: &[Step], leaf: &Node) -> Node {
    match (rest.first().map(|step| &step.text), leaf) {
        (Some(next), _) if list_match(next).is_some() || index(next).is_some() => Node::List(Vec::new()),
        (Some(next), _) if !next.is_empty() => Node::map(),
        (_, Node::Map(_)) => Node::map(),
        (_, Node::List(_)) => Node::List(Vec::new()),
        (_, Node::Scalar(_)) => untyped(""),
    }
}

/// Calls `set` for every place that a path leads to; with `create`, missing ones are made for such a value.
fn visit(
    node: &mut Node,
    path: &[Step],
    create: Option<&Node>,
    set: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else { return set(node) };
    let first = step.text.as_str();
    if first.is_empty() {
        return match node.text() {
            Some("") => visit(node, rest, create, set),
            Some(_) => Ok(()),
            None => Err("a path has an empty element".to_owned()),
        };
    }
    if let Some(matching) = &step.matching {
        return visit_matching(node, matching.as_ref().map_err(Clone::clone)?, rest, create, set);
    }
    match (index(first), node) {
        (Some(index), Node::List(items)) => {
            if let (Some(leaf), true) = (create, index == items.len()) {
                items.push(empty_for(rest, leaf));
            }
            let count = items.len();
            let item = items.get_mut(index).ok_or_else(|| format!("there is no element {index}, only {count}"))?;
            visit(item, rest, create, set)
        }
        (None, Node::List(items)) if first == "*" => {
            items.iter_mut().try_for_each(|item| visit(item, rest, create, set))
        }
        (None, Node::Map(_)) if first == "*" => {
            Err("* stands for the elements of a list, not for the keys of a mapping".to_owned())
        }
        (None, node @ Node::Map(_)) => {
            if let (Some(leaf), None) = (create, node.get(first)) {
                set_field(node, first, empty_for(rest, leaf));
            }
            match node.get_mut(first) {
                Some(value) => visit(value, rest, create, set),
                None => Ok(()),
            }
        }
        // Below nothing there is nothing; what would be created there is lost.
        (None, node) if node.is_null() && first != "*" => create.map_or(Ok(()), |leaf| set(&mut leaf.clone())),
        (_, Node::List(_)) => Err(format!("{first:?} is not in a list; use a number, * or [name=value]")),
        _ => Err(format!("{first:?} is looked for in something that has no such thing")),
    }
}

/// A scalar as it is written, with its quotes: that is what patterns are compared with.
fn written(node: &Node) -> Option<Cow<'_, str>> {
    let Node::Scalar(scalar) = node else { return None };
    Some(match scalar.style {
        ScalarStyle::DoubleQuoted => format!("{:?}", scalar.value).into(),
        ScalarStyle::SingleQuoted => format!("'{}'", scalar.value.replace('\'', "''")).into(),
        _ => Cow::from(&*scalar.value),
    })
}

fn visit_matching(
    node: &mut Node,
    matching: &Matching,
    rest: &[Step],
    create: Option<&Node>,
    set: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<(), String> {
    let Matching { name, pattern, expression } = matching;
    let Node::List(items) = node else {
        return Err(format!("[{name}={pattern}] is looked for in something that is no list"));
    };
    let expression = expression.as_ref().ok_or_else(|| format!("{pattern:?} is no valid regular expression"))?;
    let is_match = |item: &Node| {
        let value = if name.is_empty() { Some(item) } else { item.get(name) };
        value.and_then(written).is_some_and(|text| expression.is_match(text.trim()))
    };
    if let (Some(_), true) = (create, !items.iter().any(is_match)) {
        let mut element = untyped(pattern);
        if !name.is_empty() {
            element = Node::map();
            set_field(&mut element, name, untyped(pattern));
        }
        items.push(element);
    }
    items.iter_mut().filter(|item| is_match(item)).try_for_each(|item| visit(item, rest, create, set))
}
