//! Lists of strategic merge patches.

use super::{
    merge::{Directive, Outcome, directive, is_missing, walk},
    resource::{set_field, untyped},
    schema::{Schema, TypeId},
};
use crate::goyaml::Node;

/// The directive of a list: an element with nothing but `$patch`.
fn list_directive(patch: Option<&Node>) -> Result<(Directive, Option<Node>), String> {
    let items = patch.map(Node::items).unwrap_or_default();
    let at = items.iter().position(|item| item.get("$patch").is_some());
    let Some((index, item)) = at.and_then(|index| items.get(index).map(|item| (index, item))) else {
        return Ok((Directive::Merge, None));
    };
    if item.entries().len() != 1 {
        return Ok((Directive::Merge, None));
    }
    let found = directive(item.get("$patch").and_then(Node::text).unwrap_or_default())?;
    let mut without = items.to_vec();
    without.remove(index);
    Ok((found, Some(Node::List(without))))
}

/// Merges lists whose elements have keys, or words.
pub(super) fn walk_list(
    dest: Option<&mut Node>,
    patch: Option<&Node>,
    keys: &[String],
    elements: Option<TypeId>,
    schema: &Schema,
) -> Result<Outcome, String> {
    let (directive, elided) = list_directive(patch)?;
    let patch = elided.as_ref().or(patch);
    if is_missing(dest.as_deref()) || directive == Directive::Replace {
        let Some(patch) = patch.filter(|patch| !patch.is_null()) else { return Ok(Outcome::Clear) };
        if directive == Directive::Delete {
            return Ok(Outcome::Clear);
        }
        let mut own = patch.clone();
        merge_elements(&mut own, Some(patch), keys, elements, schema)?;
        return Ok(Outcome::Use(own));
    }
    if directive == Directive::Delete || patch.is_some_and(Node::is_null) {
        return Ok(Outcome::Clear);
    }
    let Some(dest) = dest else { return Ok(Outcome::Clear) };
    merge_elements(dest, patch, keys, elements, schema)?;
    Ok(Outcome::Keep)
}

/// The values of the keys of an element; absent ones are empty.
fn key_values(element: &Node, keys: &[String]) -> Vec<String> {
    if keys.is_empty() {
        return vec![element.text().unwrap_or_default().to_owned()];
    }
    keys.iter()
        .map(|key| {
            element.get(key).filter(|value| !value.is_null()).and_then(Node::text).unwrap_or_default().to_owned()
        })
        .collect()
}

fn merge_elements(
    dest: &mut Node,
    patch: Option<&Node>,
    keys: &[String],
    elements: Option<TypeId>,
    schema: &Schema,
) -> Result<(), String> {
    let theirs = patch.map(Node::items).unwrap_or_default();
    if theirs.is_empty() && has_distinct_keys(dest.items(), keys) {
        // The usual list that the patch does not mention; the long way would give the same.
        let Node::List(own) = dest else { return Ok(()) };
        return own.iter_mut().try_for_each(|element| walk(Some(element), None, elements, schema).map(drop));
    }
    if has_distinct_keys(dest.items(), keys)
        && has_distinct_keys(theirs, keys)
        && theirs.iter().all(|element| element.get("$patch").is_none())
    {
        return merge_distinct(dest, theirs, keys, elements, schema);
    }
    let mut tuples: Vec<Vec<String>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for element in theirs.iter().chain(dest.items()) {
        let values = key_values(element, keys);
        if seen.insert(values.clone()) {
            tuples.push(values);
        }
    }
    if tuples.is_empty() {
        return Ok(());
    }
    if keys.is_empty() {
        return merge_words(dest, theirs);
    }
    if keys.len() > 1 {
        unify(&mut tuples);
    }
    // Keys that no element has do not count.
    let has = |index: &usize| tuples.iter().any(|tuple| tuple.get(*index).is_some_and(|value| !value.is_empty()));
    let used: Vec<usize> = (0..keys.len()).filter(has).collect();
    let used = if used.is_empty() { (0..keys.len()).collect() } else { used };
    let used_keys: Vec<&str> = used.iter().filter_map(|index| keys.get(*index)).map(String::as_str).collect();
    let Node::List(own) = dest else { return Ok(()) };
    let mut added: Vec<Node> = Vec::new();
    for tuple in &tuples {
        let values: Vec<&str> = used.iter().filter_map(|index| tuple.get(*index)).map(String::as_str).collect();
        let in_patch = theirs.iter().find(|element| is_match(element, &used_keys, &values));
        let outcome = match own.iter_mut().find(|element| is_match(element, &used_keys, &values)) {
            Some(element) => match walk(Some(element), in_patch, elements, schema)? {
                Outcome::Keep => {
                    complete(element, &used_keys, &values);
                    Outcome::Use(element.clone())
                }
                other => other,
            },
            None => walk(None, in_patch, elements, schema)?,
        };
        match outcome {
            Outcome::Use(mut value) if !is_nothing(&value) => {
                complete(&mut value, &used_keys, &values);
                set_element(&mut added, &used_keys, &values, Some(value));
            }
            // Without any key nothing is meant; the original would drop every element that has one.
            _ if values.iter().all(|value| value.is_empty()) => {}
            _ => set_element(own, &used_keys, &values, None),
        }
    }
    for element in std::mem::take(own) {
        append_element(&mut added, element, &used_keys);
    }
    *own = added;
    Ok(())
}

/// Lists in which every element has its own keys, on both sides. With one key the elements of the patch come first, with
/// several only those that are new.
fn merge_distinct(
    dest: &mut Node,
    theirs: &[Node],
    keys: &[String],
    elements: Option<TypeId>,
    schema: &Schema,
) -> Result<(), String> {
    let Node::List(list) = dest else { return Ok(()) };
    let mut own: Vec<Option<Node>> = std::mem::take(list).into_iter().map(Some).collect();
    for patch in theirs {
        let is_same = |element: &Option<Node>| element.as_ref().is_some_and(|element| same_keys(element, patch, keys));
        match own.iter_mut().find(|element| is_same(element)) {
            None => {
                if let Outcome::Use(added) = walk(None, Some(patch), elements, schema)? {
                    list.push(added);
                }
            }
            Some(element) => {
                if let Some(element) = element {
                    walk(Some(element), Some(patch), elements, schema)?;
                }
                if keys.len() == 1 {
                    list.extend(element.take());
                }
            }
        }
    }
    for mut element in own.into_iter().flatten() {
        if keys.len() == 1 || !theirs.iter().any(|patch| same_keys(&element, patch, keys)) {
            walk(Some(&mut element), None, elements, schema)?;
        }
        list.push(element);
    }
    Ok(())
}

fn same_keys(a: &Node, b: &Node, keys: &[String]) -> bool {
    keys.iter().all(|key| a.get(key).and_then(Node::text) == b.get(key).and_then(Node::text))
}

/// Whether every element is a mapping with every key, and no two have the same.
fn has_distinct_keys(elements: &[Node], keys: &[String]) -> bool {
    const MOST: usize = 16;
    let key = |element: &Node, key: &String| {
        element.get(key).filter(|value| !value.is_null()).and_then(Node::text).is_some_and(|text| !text.is_empty())
    };
    !keys.is_empty()
        && elements.len() <= MOST
        && elements.iter().all(|element| keys.iter().all(|name| key(element, name)))
        && elements.iter().enumerate().all(|(index, a)| !elements.iter().skip(index + 1).any(|b| same_keys(a, b, keys)))
}

/// An element that says less than another, and nothing else, is the same.
fn unify(tuples: &mut [Vec<String>]) {
    for i in 0..tuples.len() {
        for j in 0..tuples.len() {
            let (Some(first), Some(second)) = (tuples.get(i), tuples.get(j)) else { continue };
            if let Some(both) = unified(first, second) {
                for index in [i, j] {
                    if let Some(tuple) = tuples.get_mut(index) {
                        tuple.clone_from(&both);
                    }
                }
            }
        }
    }
}

/// Two tuples that have something in common and differ only where one is empty.
fn unified(first: &[String], second: &[String]) -> Option<Vec<String>> {
    let mut common = false;
    let mut both = Vec::with_capacity(first.len());
    for (a, b) in first.iter().zip(second) {
        if a == b {
            common = true;
        } else if !a.is_empty() && !b.is_empty() {
            return None;
        }
        both.push(if a.is_empty() { b.clone() } else { a.clone() });
    }
    common.then_some(both)
}

fn is_nothing(node: &Node) -> bool {
    node.is_null() || matches!(node, Node::Map(entries) if entries.is_empty())
}

/// Gives an element the keys by which it was found.
fn complete(element: &mut Node, keys: &[&str], values: &[&str]) {
    for (key, value) in keys.iter().zip(values) {
        if !value.is_empty() && matches!(element, Node::Map(_)) && element.get(key).is_none() {
            set_field(element, key, untyped(value));
        }
    }
}

/// Adds an element of the object after those of the patch, in the place of what has its keys.
fn append_element(list: &mut Vec<Node>, element: Node, keys: &[&str]) {
    let found: Vec<Option<String>> =
        keys.iter().map(|key| element.get(key).and_then(Node::text).map(str::to_owned)).collect();
    let lacking = found.iter().filter(|value| value.is_none()).count();
    let values: Vec<String> = found.into_iter().flatten().collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    if values.is_empty() {
        list.push(element);
        return;
    }
    list.extend(std::iter::repeat_n(&element, lacking).cloned());
    if keys.len() > 1 {
        set_element(list, keys, &values, None);
    }
    set_element(list, keys, &values, Some(element));
}

/// Lists of words: those of the patch first.
fn merge_words(dest: &mut Node, theirs: &[Node]) -> Result<(), String> {
    let Node::List(own) = dest else { return Ok(()) };
    let mut merged: Vec<Node> = Vec::new();
    for element in theirs.iter().chain(own.iter()) {
        if element.is_null() {
            continue;
        }
        match merged.iter_mut().find(|other| other.text() == element.text()) {
            Some(other) => other.clone_from(element),
            None => merged.push(element.clone()),
        }
    }
    *own = merged;
    Ok(())
}

/// Whether an element has these keys. Empty values do not count unless all are empty.
fn is_match(element: &Node, keys: &[&str], values: &[&str]) -> bool {
    let all_empty = values.iter().all(|value| value.is_empty());
    matches!(element, Node::Map(_))
        && keys
            .iter()
            .zip(values)
            .filter(|(_, value)| all_empty || !value.is_empty())
            .all(|(key, value)| element.get(key).is_some_and(|found| found.text().unwrap_or_default() == *value))
}

/// Replaces, removes or appends the element with these keys. An empty value matches every value that is there.
fn set_element(list: &mut Vec<Node>, keys: &[&str], values: &[&str], element: Option<Node>) {
    let mut found = false;
    let matching = |other: &Node| {
        !values.is_empty()
            && keys
                .iter()
                .zip(values)
                .all(|(key, value)| other.get(key).is_some_and(|own| value.is_empty() || own.text() == Some(value)))
    };
    let mut kept = Vec::with_capacity(list.len() + 1);
    for other in std::mem::take(list) {
        if is_nothing(&other) {
            continue;
        }
        if !matching(&other) {
            kept.push(other);
            continue;
        }
        found = true;
        if let Some(element) = &element {
            kept.push(element.clone());
        }
    }
    if let (false, Some(element)) = (found, element) {
        kept.push(element);
    }
    *list = kept;
}
