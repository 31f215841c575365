//! Values seen through a schema, as structured-merge-diff sees them: which fields a value has, how two values differ, how one
//! is applied over another, and how fields are taken out.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use crate::{
    Cause, Reason,
    fields::{Set, field_element, item_element},
    path::{MAX_DEPTH, Path},
    schema::{ANY, Node, Relation, Schema, Shape},
};

/// A place in a schema.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    schema: &'a Schema,
    node: &'a Node,
    depth: usize,
}

/// How a value is owned.
enum View<'a> {
    /// As a whole.
    Leaf,
    /// Field by field.
    Map(&'a Map<String, Value>),
    /// Item by item.
    List(&'a [Value], &'a Relation, &'a Node),
}

/// How two values differ: what came, what changed, what went.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
    here: Option<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Added,
    Modified,
    Removed,
}

// === impl Place ===

impl<'a> Place<'a> {
    pub(super) fn root(schema: &'a Schema) -> Self {
        Self { schema, node: schema.root(), depth: 0 }
    }

    fn field(&self, name: &str) -> Self {
        let node = if self.depth == 0 { self.schema.root_field(name) } else { self.node.field(name) };
        self.below(node.unwrap_or(&ANY))
    }

    fn below(&self, node: &'a Node) -> Self {
        Self { schema: self.schema, node, depth: self.depth + 1 }
    }

    fn declares(&self, name: &str) -> bool {
        self.depth == 0 && matches!(name, "apiVersion" | "kind" | "metadata") || self.node.declares(name)
    }

    fn view<'v>(&self, value: &'v Value) -> View<'v>
    where
        'a: 'v,
    {
        if self.depth >= MAX_DEPTH {
            return View::Leaf;
        }
        match (&self.node.shape, value) {
            (Shape::Any, Value::Object(fields)) => View::Map(fields),
            (Shape::Object(object), Value::Object(fields)) if !object.atomic => View::Map(fields),
            (Shape::List(list), Value::Array(items)) if !matches!(list.relation, Relation::Atomic) => {
                View::List(items, &list.relation, list.items.get())
            }
            _ => View::Leaf,
        }
    }

    /// The fields that a value has.
    pub(super) fn fields_of(&self, value: &Value) -> Set {
        let mut set = Set::default();
        match self.view(value) {
            View::Leaf => {}
            View::Map(fields) => {
                for (name, value) in fields {
                    let (element, below) = (field_element(name), self.field(name));
                    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                    if empty || !self.declares(name) || matches!(below.view(value), View::Leaf) {
                        set.insert(&element);
                    }
                    set.graft(&element, below.fields_of(value));
                }
            }
            View::List(items, relation, node) => {
                for (index, item) in items.iter().enumerate() {
                    let element = element(relation, item, index);
                    set.insert(&element);
                    set.graft(&element, self.below(node).fields_of(item));
                }
            }
        }
        set
    }

    /// How the fields of two values differ.
    pub(super) fn compare(&self, old: Option<&Value>, new: Option<&Value>) -> Difference {
        let mut difference = Difference::default();
        let empty = |value: Option<&Value>| match value {
            None | Some(Value::Null) => true,
            Some(value) => match self.view(value) {
                View::Leaf => false,
                View::Map(fields) => fields.is_empty(),
                View::List(items, ..) => items.is_empty(),
            },
        };
        let view = |value: Option<&'_ Value>| {
            value.filter(|value| !value.is_null()).map(|value| matches!(self.view(value), View::Leaf))
        };
        // Null and absence take the form of the other side.
        let leaf = view(old) == Some(true) || view(new) == Some(true);
        if leaf || empty(old) && empty(new) {
            difference.here = change(old, new);
            if leaf && difference.here == Some(Change::Modified) {
                // A container on the other side comes or goes with its fields.
                if let Some(old) = old {
                    difference.removed = self.fields_of(old);
                }
                if let Some(new) = new {
                    difference.added = self.fields_of(new);
                }
            }
            return difference;
        }
        match (old.map(|old| self.view(old)), new.map(|new| self.view(new))) {
            (Some(View::List(..)), _) | (_, Some(View::List(..))) => self.compare_lists(old, new, &mut difference),
            _ => self.compare_maps(old, new, &mut difference),
        }
        match (old, new) {
            (None, _) => difference.here = Some(Change::Added),
            (_, None) => difference.here = Some(Change::Removed),
            _ => {}
        }
        difference
    }

    fn compare_maps(&self, old: Option<&Value>, new: Option<&Value>, difference: &mut Difference) {
        let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
        for (name, new) in new.into_iter().flatten() {
            let old = old.and_then(|old| old.get(name));
            let below = self.field(name);
            let nested = below.compare(old, Some(new));
            // A struct that comes is visible by its fields.
            let silent = below.node.is_struct() && self.declares(name) && !nested.added.is_empty();
            difference.take(&field_element(name), nested, silent);
        }
        for (name, old) in old.into_iter().flatten() {
            if !new.is_some_and(|new| new.contains_key(name)) {
                difference.take(&field_element(name), self.field(name).compare(Some(old), None), false);
            }
        }
    }

    fn compare_lists(&self, old: Option<&Value>, new: Option<&Value>, difference: &mut Difference) {
        let Shape::List(list) = &self.node.shape else { return };
        let below = self.below(list.items.get());
        let mut pairs: BTreeMap<String, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (index, item) in old.and_then(Value::as_array).into_iter().flatten().enumerate() {
            pairs.entry(element(&list.relation, item, index)).or_default().0.push(item);
        }
        for (index, item) in new.and_then(Value::as_array).into_iter().flatten().enumerate() {
            pairs.entry(element(&list.relation, item, index)).or_default().1.push(item);
        }
        for (element, (old, new)) in pairs {
            if old.len() <= 1 && new.len() <= 1 {
                let mut nested = below.compare(old.first().copied(), new.first().copied());
                if old.is_empty() && nested.here.is_none() {
                    nested.here = Some(Change::Added);
                }
                difference.take(&element, nested, false);
            } else if old != new {
                // Items that cannot be told apart change together.
                match (old.is_empty(), new.is_empty()) {
                    (true, _) => difference.added.insert(&element),
                    (_, true) => difference.removed.insert(&element),
                    _ => difference.modified.insert(&element),
                }
            }
        }
    }

    /// `config` applied over `live`.
    pub(super) fn merge(&self, live: Option<Value>, config: &Value) -> Value {
        match self.view(config) {
            View::Leaf => config.clone(),
            View::Map(fields) => {
                let mut merged = if let Some(Value::Object(live)) = live { live } else { Map::new() };
                for (name, value) in fields {
                    let below = self.field(name);
                    let live = merged.remove(name);
                    if !(value.is_null() && self.schema.null_is_absent(below.node)) {
                        merged.insert(name.clone(), below.merge(live, value));
                    }
                }
                Value::Object(merged)
            }
            View::List(items, relation, node) => {
                let live = if let Some(Value::Array(live)) = live { live } else { Vec::new() };
                Value::Array(self.below(node).merge_items(live, items, relation))
            }
        }
    }

    /// Items in the order of the configuration; those it does not have stay before what followed them.
    fn merge_items(&self, live: Vec<Value>, config: &[Value], relation: &Relation) -> Vec<Value> {
        let keyed = |items: &[Value]| -> Vec<String> {
            items.iter().enumerate().map(|(index, item)| element(relation, item, index)).collect()
        };
        let (live_elements, config_elements) = (keyed(&live), keyed(config));
        let mut positions: HashMap<&str, usize> = HashMap::new();
        for (index, element) in live_elements.iter().enumerate() {
            positions.entry(element).or_insert(index);
        }
        let wanted: HashSet<&str> = config_elements.iter().map(String::as_str).collect();
        let others: Vec<bool> = live_elements.iter().map(|element| !wanted.contains(element.as_str())).collect();
        let mut live: Vec<Option<Value>> = live.into_iter().map(Some).collect();
        let mut merged = Vec::with_capacity(live.len() + config.len());
        let mut next = 0;
        for (item, element) in config.iter().zip(&config_elements) {
            let at = positions.get(element.as_str()).copied();
            if let Some(at) = at.filter(|at| *at >= next) {
                merged.extend((next..at).filter(|index| others[*index]).filter_map(|index| live[index].take()));
                next = at + 1;
            }
            merged.push(self.merge(at.and_then(|at| live[at].take()), item));
        }
        merged.extend((next..live.len()).filter(|index| others[*index]).filter_map(|index| live[index].take()));
        merged
    }

    /// The value without the fields of a set; `None` when nothing is left because of that.
    pub(super) fn remove(&self, value: &Value, fields: &Set) -> Option<Value> {
        match self.view(value) {
            View::Leaf => Some(value.clone()),
            View::Map(map) => {
                let mut left = Map::new();
                for (name, value) in map {
                    let element = field_element(name);
                    if fields.has(&element) {
                        continue;
                    }
                    let value = match fields.below(&element) {
                        Some(below) => self.field(name).remove(value, below),
                        None => Some(value.clone()),
                    };
                    if let Some(value) = value {
                        left.insert(name.clone(), value);
                    }
                }
                (map.is_empty() || !left.is_empty()).then_some(Value::Object(left))
            }
            View::List(items, relation, node) => {
                let below_node = self.below(node);
                let mut left = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let element = element(relation, item, index);
                    if fields.has(&element) {
                        continue;
                    }
                    left.extend(match fields.below(&element) {
                        Some(below) => below_node.remove(item, below),
                        None => Some(item.clone()),
                    });
                }
                (items.is_empty() || !left.is_empty()).then_some(Value::Array(left))
            }
        }
    }

    /// The set with every declared field on the way to a member as a member too.
    pub(super) fn with_named_fields(&self, set: &Set) -> Set {
        let mut named = Set::default();
        for (element, member, below) in set.iter() {
            let (declared, place) = match element.strip_prefix("f:") {
                Some(name) => (self.declares(name), self.field(name)),
                None => match &self.node.shape {
                    Shape::List(list) => (false, self.below(list.items.get())),
                    _ => (false, self.below(&ANY)),
                },
            };
            if member || declared {
                named.insert(element);
            }
            named.graft(element, place.with_named_fields(below));
        }
        named
    }

    /// What keeps a configuration from being applied: items that cannot be told apart.
    pub(super) fn check(&self, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
        if causes.len() >= 16 {
            return;
        }
        if path.too_deep() {
            let message = "Forbidden: the object is nested too deeply".to_owned();
            causes.push(Cause { reason: Reason::FieldValueForbidden, message, field: path.to_string() });
            return;
        }
        match self.view(value) {
            View::Leaf => {}
            View::Map(fields) => {
                for (name, value) in fields {
                    self.field(name).check(value, &path.field(name), causes);
                }
            }
            View::List(items, relation, node) => {
                let mut seen = HashSet::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let path = path.index(index);
                    let (reason, message) = match (item_element(relation, item), relation) {
                        (None, Relation::Map(keys)) => {
                            let keys: Vec<String> = keys.iter().map(|key| format!("{:?}", key.name)).collect();
                            let keys = keys.join(", ");
                            (
                                Reason::FieldValueRequired,
                                format!(
                                    "Required value: the item of the associative list omits the key field(s) {keys}"
                                ),
                            )
                        }
                        (Some(element), _) if !seen.insert(element.clone()) => {
                            let shown = element.get(2..).unwrap_or_default();
                            (Reason::FieldValueDuplicate, format!("Duplicate value: {shown}"))
                        }
                        _ => {
                            self.below(node).check(item, &path, causes);
                            continue;
                        }
                    };
                    causes.push(Cause { reason, message, field: path.to_string() });
                }
            }
        }
    }
}

// === impl Difference ===

impl Difference {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// What the writer of the new value has set.
    pub(super) fn taken(&self) -> Set {
        let mut taken = self.added.clone();
        taken.union(&self.modified);
        taken
    }

    fn take(&mut self, element: &str, nested: Self, silent: bool) {
        match nested.here {
            Some(Change::Added) if silent => {}
            Some(Change::Added) => self.added.insert(element),
            Some(Change::Modified) => self.modified.insert(element),
            Some(Change::Removed) => self.removed.insert(element),
            None => {}
        }
        self.added.graft(element, nested.added);
        self.modified.graft(element, nested.modified);
        self.removed.graft(element, nested.removed);
    }
}

fn change(old: Option<&Value>, new: Option<&Value>) -> Option<Change> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(Change::Added),
        (Some(_), None) => Some(Change::Removed),
        (Some(old), Some(new)) => (old != new).then_some(Change::Modified),
    }
}

/// Items without any key field are known by their place.
fn element(relation: &Relation, item: &Value, index: usize) -> String {
    item_element(relation, item).unwrap_or_else(|| format!("i:{index}"))
}
