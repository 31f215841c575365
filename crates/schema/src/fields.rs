//! Sets of fields as `managedFields` writes them (FieldsV1 of structured-merge-diff): `f:name` a field, `k:{"name":"x"}` an
//! item of a list by its keys, `v:"x"` a value of a set, `i:0` an item by position, and `.` the thing itself.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Map, Value};

use crate::{
    path::MAX_DEPTH,
    schema::{Key, Relation},
};

/// A set of fields: a tree of path elements in their written form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    branches: BTreeMap<Box<str>, Branch>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Branch {
    /// The path that ends here is in the set.
    member: bool,
    below: Set,
}

/// A set that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// Not an object, or an element without a known prefix.
    #[error("fieldsV1: {0:?} is not a path element; expected f:, k:, v: or i:")]
    Element(String),
    /// Nested deeper than an object can be.
    #[error("fieldsV1: nested too deeply")]
    TooDeep,
}

// === impl Set ===

impl Set {
    /// Reads FieldsV1.
    ///
    /// # Errors
    /// When it is malformed or nested too deeply.
    pub fn parse(value: &Value) -> Result<Self, FieldsError> {
        parse(value, 0)
    }

    /// Writes FieldsV1.
    pub fn emit(&self) -> Value {
        let mut object = Map::new();
        for (element, branch) in &self.branches {
            let mut below = branch.below.emit();
            if branch.member
                && !branch.below.is_empty()
                && let Value::Object(below) = &mut below
            {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            object.insert(element.to_string(), below);
        }
        Value::Object(object)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.branches.is_empty()
    }

    /// In one or the other.
    pub fn union(&mut self, other: &Self) {
        for (element, theirs) in &other.branches {
            let ours = self.branches.entry(element.clone()).or_default();
            ours.member |= theirs.member;
            ours.below.union(&theirs.below);
        }
    }

    /// In both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut branches = BTreeMap::new();
        for (element, ours) in &self.branches {
            let Some(theirs) = other.branches.get(element) else { continue };
            let branch = Branch { member: ours.member && theirs.member, below: ours.below.intersection(&theirs.below) };
            if branch.member || !branch.below.is_empty() {
                branches.insert(element.clone(), branch);
            }
        }
        Self { branches }
    }

    /// In this one only.
    pub fn difference(&self, other: &Self) -> Self {
        let mut branches = BTreeMap::new();
        for (element, ours) in &self.branches {
            let branch = match other.branches.get(element) {
                None => ours.clone(),
                Some(theirs) => {
                    Branch { member: ours.member && !theirs.member, below: ours.below.difference(&theirs.below) }
                }
            };
            if branch.member || !branch.below.is_empty() {
                branches.insert(element.clone(), branch);
            }
        }
        Self { branches }
    }

    /// Every path in it, as messages print them: `.spec.containers[name="web"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    /// Whether a top-level path of one element is in it.
    pub fn has(&self, element: &str) -> bool {
        self.branches.get(element).is_some_and(|branch| branch.member)
    }

    /// What is below an element.
    pub fn below(&self, element: &str) -> Option<&Self> {
        self.branches.get(element).map(|branch| &branch.below).filter(|below| !below.is_empty())
    }

    /// Adds the path of one element.
    pub(crate) fn insert(&mut self, element: &str) {
        self.branches.entry(element.into()).or_default().member = true;
    }

    /// Puts a set below an element; empty sets leave no trace.
    pub(crate) fn graft(&mut self, element: &str, below: Self) {
        if !below.is_empty() {
            self.branches.entry(element.into()).or_default().below.union(&below);
        }
    }

    /// Removes the path of an element, and what is below it if `all`.
    pub(crate) fn remove(&mut self, element: &str, all: bool) {
        if let Some(branch) = self.branches.get_mut(element) {
            branch.member = false;
            if all || branch.below.is_empty() {
                self.branches.remove(element);
            }
        }
    }

    /// Changes what is below an element.
    pub(crate) fn edit(&mut self, element: &str, edit: impl FnOnce(&mut Self)) {
        if let Some(branch) = self.branches.get_mut(element) {
            edit(&mut branch.below);
            if !branch.member && branch.below.is_empty() {
                self.branches.remove(element);
            }
        }
    }

    /// Elements with whether they are members themselves.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, bool, &Self)> {
        self.branches.iter().map(|(element, branch)| (&**element, branch.member, &branch.below))
    }

    fn collect(&self, prefix: &mut String, paths: &mut Vec<String>) {
        for (element, branch) in &self.branches {
            let length = prefix.len();
            push_element(prefix, element);
            if branch.member {
                paths.push(prefix.clone());
            }
            branch.below.collect(prefix, paths);
            prefix.truncate(length);
        }
    }
}

fn parse(value: &Value, depth: usize) -> Result<Set, FieldsError> {
    if depth > MAX_DEPTH {
        return Err(FieldsError::TooDeep);
    }
    let Value::Object(fields) = value else { return Err(FieldsError::Element(value.to_string())) };
    let mut set = Set::default();
    for (element, below) in fields {
        if element == "." {
            continue;
        }
        let name = normal(element)?;
        let nested = parse(below, depth + 1)?;
        let member = nested.is_empty() || below.get(".").is_some();
        let branch = set.branches.entry(name).or_default();
        branch.member |= member;
        branch.below.union(&nested);
    }
    Ok(set)
}

/// The element as this crate writes it, so that equal elements are equal text.
fn normal(element: &str) -> Result<Box<str>, FieldsError> {
    let malformed = || FieldsError::Element(element.chars().take(128).collect());
    let (prefix, rest) = element.split_at_checked(2).ok_or_else(malformed)?;
    match prefix {
        "f:" => Ok(element.into()),
        "i:" => rest.parse::<i64>().map(|_| element.into()).map_err(|_| malformed()),
        "k:" | "v:" => {
            let value: Value = serde_json::from_str(rest).map_err(|_| malformed())?;
            if prefix == "k:" && !value.is_object() {
                return Err(malformed());
            }
            Ok(format!("{prefix}{}", canonical(&value)).into())
        }
        _ => Err(malformed()),
    }
}

/// JSON with sorted keys.
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text, 0);
    text
}

fn write_canonical(value: &Value, text: &mut String, depth: usize) {
    match value {
        Value::Object(fields) if depth <= MAX_DEPTH => {
            let mut names: Vec<_> = fields.iter().collect();
            names.sort_by(|a, b| a.0.cmp(b.0));
            text.push('{');
            for (position, (name, value)) in names.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                let _ = write!(text, "{}:", Value::from(name.as_str()));
                write_canonical(value, text, depth + 1);
            }
            text.push('}');
        }
        Value::Array(items) if depth <= MAX_DEPTH => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_canonical(item, text, depth + 1);
            }
            text.push(']');
        }
        // Equal numbers are equal items, however they were written.
        Value::Number(number) => {
            match number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15) {
                Some(float) => {
                    let _ = write!(text, "{}", float as i64);
                }
                None => {
                    let _ = write!(text, "{number}");
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {
            let _ = write!(text, "{value}");
        }
        Value::Object(_) | Value::Array(_) => {}
    }
}

/// The element of a named field.
pub(crate) fn field_element(name: &str) -> String {
    format!("f:{name}")
}

/// The element of an item of a list of this relation; `None` when it has no key field, or the list has no elements.
pub(crate) fn item_element(relation: &Relation, item: &Value) -> Option<String> {
    match relation {
        Relation::Atomic => None,
        Relation::Set => Some(format!("v:{}", canonical(item))),
        Relation::Map(keys) => item_key(keys, item),
    }
}

/// `k:{"containerPort":80,"protocol":"TCP"}`; fields that are absent and have no default are left out, as long as one is there.
pub(crate) fn item_key(keys: &[Key], item: &Value) -> Option<String> {
    let fields = item.as_object()?;
    let mut found: Vec<(&str, &Value)> = keys
        .iter()
        .filter_map(|key| {
            Some((&*key.name, fields.get(&*key.name).filter(|value| !value.is_null()).or(key.default.as_ref())?))
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    found.sort_by_key(|(name, _)| *name);
    let mut text = String::from("k:{");
    for (position, (name, value)) in found.into_iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        let _ = write!(text, "{}:", Value::from(name));
        write_canonical(value, &mut text, 0);
    }
    text.push('}');
    Some(text)
}

/// Appends an element as messages print it.
fn push_element(path: &mut String, element: &str) {
    let (prefix, rest) = element.split_at_checked(2).unwrap_or(("f:", element));
    let _ = match prefix {
        "v:" => write!(path, "[={rest}]"),
        "i:" => write!(path, "[{rest}]"),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let mut keys: Vec<_> = keys.iter().collect();
            keys.sort_by(|a, b| a.0.cmp(b.0));
            let keys: Vec<String> = keys.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            write!(path, "[{}]", keys.join(","))
        }
        _ => write!(path, ".{rest}"),
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_parsed_is_emitted_again() {
        let fields = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {"v:\"a/b\"": {}}},
            "f:spec": {"f:containers": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}, "f:x": {"i:0": {}}}
        });
        assert_eq!(Set::parse(&fields).unwrap().emit(), fields);
    }

    #[test]
    fn elements_are_equal_whatever_the_order_of_their_keys() {
        let a = Set::parse(&json!({"k:{\"b\":1,\"a\":\"x\"}": {}})).unwrap();
        let b = Set::parse(&json!({"k:{\"a\": \"x\", \"b\": 1}": {}})).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn malformed_sets_are_refused() {
        for bad in [
            json!([]),
            json!({"x": {}}),
            json!({"g:x": {}}),
            json!({"k:[]": {}}),
            json!({"i:x": {}}),
            json!({"f:a": 1}),
            json!({"é": {}}),
        ] {
            assert!(Set::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn set_algebra_follows_members_not_branches() {
        let a = Set::parse(&json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}})).unwrap();
        let b = Set::parse(&json!({"f:a": {"f:b": {}}})).unwrap();
        assert_eq!(a.difference(&b).emit(), json!({"f:a": {}, "f:c": {}}));
        assert_eq!(a.intersection(&b).emit(), json!({"f:a": {"f:b": {}}}));
        let mut both = b.clone();
        both.union(&a);
        assert_eq!(both, a);
    }

    #[test]
    fn paths_print_as_kubectl_prints_conflicts() {
        let set = Set::parse(&json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:name": {}}}, "f:f": {"v:\"x\"": {}}}})).unwrap();
        assert_eq!(set.paths(), [".spec.f[=\"x\"]", ".spec.ports[port=80,protocol=\"TCP\"].name"]);
    }
}
