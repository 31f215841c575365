//! Strategic merge patch: a merge patch that knows how the lists of a kind merge
//! (`k8s.io/apimachinery/pkg/util/strategicpatch`, kubernetes/community `strategic-merge-patch.md`).

use serde_json::{Map, Value};

use super::PatchError;
use crate::{
    fields::canonical,
    path::MAX_DEPTH,
    schema::{Node, Patch, Schema, Shape},
};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `target` by the schema's merge keys; understands `$patch: delete|replace|merge`, `$retainKeys`,
/// `$setElementOrder/…` and `$deleteFromPrimitiveList/…`.
///
/// # Errors
/// When a directive is unknown or contradicts itself, or an item lacks its merge key. The target is then as before.
pub fn strategic_merge(target: &mut Value, patch: &Value, schema: &Schema) -> Result<(), PatchError> {
    let Value::Object(patch) = patch else {
        return Err(PatchError::Malformed("a strategic merge patch is an object".to_owned()));
    };
    let live = match target {
        Value::Object(fields) => fields.clone(),
        _ => Map::new(),
    };
    let walk = Walk { schema };
    *target = Value::Object(walk.object(live, patch, Some(schema.root()), true, 0)?);
    Ok(())
}

struct Walk<'a> {
    schema: &'a Schema,
}

// === impl Walk ===

impl Walk<'_> {
    fn object(
        &self,
        mut live: Map<String, Value>,
        patch: &Map<String, Value>,
        node: Option<&Node>,
        root: bool,
        depth: usize,
    ) -> Result<Map<String, Value>, PatchError> {
        if depth >= MAX_DEPTH {
            return Err(PatchError::Malformed("the patch is nested too deeply".to_owned()));
        }
        match directive(patch)? {
            Some(Directive::Replace) => return Ok(stripped(patch, depth)),
            Some(Directive::Delete) => return Ok(Map::new()),
            Some(Directive::Merge) | None => {}
        }
        retain(&mut live, patch)?;
        for (name, value) in patch {
            if let Some(field) = name.strip_prefix(DELETE_PRIMITIVES) {
                delete_primitives(&mut live, field, value)?;
            }
        }
        for (name, value) in patch {
            if name == DIRECTIVE || name == RETAIN_KEYS || name.starts_with(DELETE_PRIMITIVES) {
                continue;
            }
            if let Some(field) = name.strip_prefix(ORDER) {
                // With the list's own patch the order is applied there.
                if !patch.contains_key(field) {
                    let strategy = strategy(node, field);
                    self.reorder(&mut live, field, value, &strategy)?;
                }
                continue;
            }
            if value.is_null() {
                live.remove(name);
                continue;
            }
            let below = if root { self.schema.root_field(name) } else { node.and_then(|node| node.field(name)) };
            let strategy = strategy(node, name);
            let order = patch.get(&format!("{ORDER}{name}"));
            let merged = match (live.remove(name), value) {
                (Some(Value::Object(live)), Value::Object(patch)) if !strategy.replace => {
                    match self.field_object(live, patch, below, depth)? {
                        Some(merged) => merged,
                        None => continue,
                    }
                }
                (_, Value::Object(patch)) => {
                    if matches!(directive(patch)?, Some(Directive::Delete)) {
                        continue;
                    }
                    Value::Object(stripped(patch, depth))
                }
                (live, Value::Array(patch)) if strategy.merge => {
                    let live = if let Some(Value::Array(items)) = live { items } else { Vec::new() };
                    let items =
                        below.and_then(
                            |node| if let Shape::List(list) = &node.shape { Some(list.items.get()) } else { None },
                        );
                    Value::Array(self.list(live, patch, items, &strategy, order, depth)?)
                }
                (_, value) => strip(value, depth),
            };
            live.insert(name.clone(), merged);
        }
        Ok(live)
    }

    /// `None` when the patch deletes the field.
    fn field_object(
        &self,
        live: Map<String, Value>,
        patch: &Map<String, Value>,
        node: Option<&Node>,
        depth: usize,
    ) -> Result<Option<Value>, PatchError> {
        if matches!(directive(patch)?, Some(Directive::Delete)) {
            return Ok(None);
        }
        self.object(live, patch, node, false, depth + 1).map(|merged| Some(Value::Object(merged)))
    }

    fn list(
        &self,
        live: Vec<Value>,
        patch: &[Value],
        items: Option<&Node>,
        strategy: &Patch,
        order: Option<&Value>,
        depth: usize,
    ) -> Result<Vec<Value>, PatchError> {
        let Some(key) = strategy.merge_key.as_deref() else { return merge_primitives(live, patch, order) };
        let before = live.clone();
        let mut merged = live;
        let mut changed: Vec<Value> = Vec::new();
        let mut replace = false;
        for item in patch {
            let Value::Object(fields) = item else {
                return Err(PatchError::Malformed(format!(
                    "expected an object with the merge key {key:?} in the list"
                )));
            };
            let id = fields.get(key);
            match (directive(fields)?, id) {
                (Some(Directive::Replace), None) => replace = true,
                (Some(Directive::Replace), Some(_)) => {
                    replace = true;
                    changed.push(Value::Object(stripped(fields, depth)));
                }
                (Some(Directive::Delete), Some(id)) => merged.retain(|item| item.get(key) != Some(id)),
                (_, None) => {
                    return Err(PatchError::Malformed(format!("map: does not contain declared merge key: {key}")));
                }
                (_, Some(id)) => changed.push(match merged.iter_mut().find(|item| item.get(key) == Some(id)) {
                    Some(found) => {
                        let live = if let Value::Object(live) = found.take() { live } else { Map::new() };
                        let value = Value::Object(self.object(live, fields, items, false, depth + 1)?);
                        *found = value.clone();
                        value
                    }
                    None => {
                        let value = Value::Object(self.object(Map::new(), fields, items, false, depth + 1)?);
                        merged.push(value.clone());
                        value
                    }
                }),
            }
        }
        if replace {
            return Ok(changed);
        }
        let id = |item: &Value| item.get(key).map(canonical);
        let wanted: Vec<String> = match order {
            Some(order) => list_of(order)?.iter().filter_map(id).collect(),
            None => changed.iter().filter_map(id).collect(),
        };
        Ok(ordered(merged, &before, &wanted, id))
    }

    /// Applies an order to a list that the patch leaves alone otherwise.
    fn reorder(
        &self,
        live: &mut Map<String, Value>,
        field: &str,
        order: &Value,
        strategy: &Patch,
    ) -> Result<(), PatchError> {
        let order = list_of(order)?;
        let Some(Value::Array(items)) = live.get_mut(field) else { return Ok(()) };
        let before = items.clone();
        let key = strategy.merge_key.as_deref();
        let id = |item: &Value| match key {
            Some(key) => item.get(key).map(canonical),
            None => Some(canonical(item)),
        };
        let wanted: Vec<String> = order.iter().filter_map(id).collect();
        *items = ordered(std::mem::take(items), &before, &wanted, id);
        Ok(())
    }
}

enum Directive {
    Delete,
    Merge,
    Replace,
}

fn directive(patch: &Map<String, Value>) -> Result<Option<Directive>, PatchError> {
    match patch.get(DIRECTIVE) {
        None => Ok(None),
        Some(value) => match value.as_str() {
            Some("delete") => Ok(Some(Directive::Delete)),
            Some("merge") => Ok(Some(Directive::Merge)),
            Some("replace") => Ok(Some(Directive::Replace)),
            _ => {
                let value: String = value.to_string().chars().take(100).collect();
                Err(PatchError::Malformed(format!(
                    "unknown patch type found: {value}; expected delete, merge or replace"
                )))
            }
        },
    }
}

fn strategy(node: Option<&Node>, field: &str) -> Patch {
    let property = match node.map(|node| &node.shape) {
        Some(Shape::Object(object)) => object.property(field),
        _ => None,
    };
    property.map(|property| property.patch.clone()).unwrap_or_default()
}

fn list_of(value: &Value) -> Result<&[Value], PatchError> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| PatchError::Malformed("a directive for a list needs a list".to_owned()))
}

/// `$retainKeys`: what is not listed goes.
fn retain(live: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
    let Some(keys) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let keys: Vec<&str> = list_of(keys)?.iter().filter_map(Value::as_str).collect();
    let listed = |name: &str| keys.contains(&name);
    if patch.iter().any(|(name, value)| !name.starts_with('$') && !value.is_null() && !listed(name)) {
        return Err(PatchError::Malformed(
            "bad or missing key in the $retainKeys list: it must name every field of the patch".to_owned(),
        ));
    }
    live.retain(|name, _| listed(name));
    Ok(())
}

fn delete_primitives(live: &mut Map<String, Value>, field: &str, values: &Value) -> Result<(), PatchError> {
    let values = list_of(values)?;
    if let Some(Value::Array(items)) = live.get_mut(field) {
        items.retain(|item| !values.contains(item));
    }
    Ok(())
}

fn merge_primitives(live: Vec<Value>, patch: &[Value], order: Option<&Value>) -> Result<Vec<Value>, PatchError> {
    let before = live.clone();
    let mut merged = live;
    let mut seen: std::collections::HashSet<String> = merged.iter().map(canonical).collect();
    for item in patch {
        if item.is_object() || item.is_array() {
            return Err(PatchError::Malformed("expected plain values in the list".to_owned()));
        }
        if seen.insert(canonical(item)) {
            merged.push(item.clone());
        }
    }
    let wanted: Vec<String> = match order {
        Some(order) => list_of(order)?.iter().map(canonical).collect(),
        None => patch.iter().map(canonical).collect(),
    };
    Ok(ordered(merged, &before, &wanted, |item| Some(canonical(item))))
}

/// Items in the wanted order; others stay where they stood relative to them, and what is new comes before them.
fn ordered(
    merged: Vec<Value>,
    before: &[Value],
    wanted: &[String],
    id: impl Fn(&Value) -> Option<String>,
) -> Vec<Value> {
    use std::collections::HashMap;
    let positions = |ids: &mut dyn Iterator<Item = Option<String>>| {
        let mut positions = HashMap::new();
        for (position, id) in ids.enumerate() {
            if let Some(id) = id {
                positions.entry(id).or_insert(position);
            }
        }
        positions
    };
    let place = positions(&mut wanted.iter().cloned().map(Some));
    let stood = positions(&mut before.iter().map(&id));
    let mut listed = Vec::new();
    let mut others = std::collections::VecDeque::new();
    for item in merged {
        let id = id(&item);
        let was = id.as_ref().and_then(|id| stood.get(id)).copied();
        match id.as_ref().and_then(|id| place.get(id)) {
            Some(place) => listed.push((*place, was, item)),
            None => others.push_back((was, item)),
        }
    }
    listed.sort_by_key(|(place, ..)| *place);
    let mut result = Vec::with_capacity(listed.len() + others.len());
    for (_, was, item) in listed {
        while let Some((other, _)) = others.front() {
            let first = matches!((was, other), (Some(was), Some(other)) if *other < was);
            if !first {
                break;
            }
            result.extend(others.pop_front().map(|(_, item)| item));
        }
        result.push(item);
    }
    result.extend(others.into_iter().map(|(_, item)| item));
    result
}

/// A value that is new, without the directives and nulls of a patch.
fn strip(value: &Value, depth: usize) -> Value {
    match value {
        _ if depth >= MAX_DEPTH => Value::Null,
        Value::Object(fields) => Value::Object(stripped(fields, depth)),
        Value::Array(items) => {
            let deleted = |item: &Value| {
                item.get(DIRECTIVE).is_some_and(|directive| {
                    directive == "delete" || item.as_object().is_some_and(|fields| fields.len() == 1)
                })
            };
            Value::Array(items.iter().filter(|item| !deleted(item)).map(|item| strip(item, depth + 1)).collect())
        }
        other => other.clone(),
    }
}

fn stripped(fields: &Map<String, Value>, depth: usize) -> Map<String, Value> {
    let directive = |name: &str| {
        name == DIRECTIVE || name == RETAIN_KEYS || name.starts_with(ORDER) || name.starts_with(DELETE_PRIMITIVES)
    };
    fields
        .iter()
        .filter(|(name, value)| !directive(name) && !value.is_null())
        .map(|(name, value)| (name.clone(), strip(value, depth + 1)))
        .collect()
}

#[cfg(test)]
mod tests;
