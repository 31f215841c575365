//! The values that templates work with: Go's, as far as templates can tell them apart.
//!
//! Strings are bytes. Maps are shared references with in-place changes; lists never change after they were made.

use std::{
    cell::{Ref, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
};

use super::{
    functions::dates::Time,
    held::{ELEMENT_BYTES, ENTRY_BYTES, Held, LIST_BYTES, MAP_BYTES},
    object::Object,
};

/// A Go string: any bytes.
pub(crate) type Text = Arc<[u8]>;

/// The entries of a map, in the order in which Go's templates visit them.
pub(crate) type Entries = BTreeMap<Text, Value>;

/// A value with the Go type that decides how it prints, compares and is accepted by functions.
#[derive(Clone)]
pub(crate) enum Value {
    /// No value at all: Go's zero `reflect.Value`. Fields of it are again no value.
    Invalid,
    /// A nil `interface{}`, e.g. a missing key. Fields of it are an error.
    Nil,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `int64`
    Int64(i64),
    /// `uint8`, e.g. a byte of a string
    Uint8(u8),
    /// `uint64`
    Uint64(u64),
    /// `float64`
    Float(f64),
    /// `complex128`
    Complex(f64, f64),
    /// `string`
    String(Text),
    /// `[]byte`
    Bytes(Text),
    /// A slice.
    List(Rc<List>),
    /// A map with string keys.
    Map(Map),
    /// `time.Time`
    Time(Rc<Time>),
    /// `time.Duration`, in nanoseconds
    Duration(i64),
    /// Anything with methods or fixed fields.
    Object(Rc<dyn Object>),
}

/// What the elements of a slice, or the values of a map, are declared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// `interface {}`
    Any,
    /// `string`
    String,
    /// `int`
    Int,
    /// `[]interface {}`
    List,
    /// `map[string]interface {}`
    Map,
}

/// A slice.
pub(crate) struct List {
    pub(crate) element: Element,
    /// Go's nil slice: `null` in JSON.
    pub(crate) nil: bool,
    pub(crate) items: Vec<Value>,
    _held: Held,
}

/// A shared map.
#[derive(Clone)]
pub(crate) struct Map {
    cell: Rc<MapCell>,
    /// Declared as `chartutil.Values`, which some functions do not take for a map.
    named: bool,
}

struct MapCell {
    element: Element,
    /// A nil map: reads as empty, refuses writes.
    nil: bool,
    entries: RefCell<Entries>,
    held: Held,
}

/// Kinds as Go's `reflect` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Invalid,
    Bool,
    Int,
    Uint,
    Float,
    Complex,
    String,
    Slice,
    Map,
    Struct,
    Pointer,
}

// === impl List ===

impl List {
    pub(crate) fn new(element: Element, items: Vec<Value>) -> List {
        let _held = Held::new(LIST_BYTES + items.capacity().saturating_mul(ELEMENT_BYTES));
        List { element, nil: false, items, _held }
    }
}

// === impl Drop ===

/// Values nest as deep as a template likes. They are taken apart one after the other, since a call for each level would use up the
/// stack.
fn take_apart(mut pending: Vec<Value>) {
    while let Some(value) = pending.pop() {
        match value {
            Value::List(list) => {
                if let Some(mut list) = Rc::into_inner(list) {
                    pending.append(&mut list.items);
                }
            }
            Value::Map(map) => {
                if let Some(mut cell) = Rc::into_inner(map.cell) {
                    pending.extend(std::mem::take(cell.entries.get_mut()).into_values());
                }
            }
            _ => {}
        }
    }
}

fn nests(value: &Value) -> bool {
    matches!(value, Value::List(_) | Value::Map(_))
}

impl Drop for List {
    fn drop(&mut self) {
        if self.items.iter().any(nests) {
            take_apart(std::mem::take(&mut self.items));
        }
    }
}

impl Drop for MapCell {
    fn drop(&mut self) {
        let entries = self.entries.get_mut();
        if entries.values().any(nests) {
            take_apart(std::mem::take(entries).into_values().collect());
        }
    }
}

// === impl Element ===

impl Element {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Element::Any => "interface {}",
            Element::String => "string",
            Element::Int => "int",
            Element::List => "[]interface {}",
            Element::Map => "map[string]interface {}",
        }
    }
}

// === impl Map ===

fn bytes_of_map(entries: usize) -> usize {
    MAP_BYTES.saturating_add(entries.saturating_mul(ENTRY_BYTES))
}

impl Map {
    pub(crate) fn new(entries: Entries) -> Map {
        Map::typed(Element::Any, entries)
    }

    pub(crate) fn typed(element: Element, entries: Entries) -> Map {
        let held = Held::new(bytes_of_map(entries.len()));
        Map { cell: Rc::new(MapCell { element, nil: false, entries: RefCell::new(entries), held }), named: false }
    }

    /// Go's nil map.
    pub(crate) fn nil() -> Map {
        let (entries, held) = (RefCell::default(), Held::new(bytes_of_map(0)));
        Map { cell: Rc::new(MapCell { element: Element::Any, nil: true, entries, held }), named: false }
    }

    /// The same map as `chartutil.Values`.
    pub(crate) fn as_values(&self) -> Map {
        Map { cell: Rc::clone(&self.cell), named: true }
    }

    /// The same map as `map[string]interface {}`: what a function has that declares such a parameter.
    pub(crate) fn as_plain(&self) -> Map {
        Map { cell: Rc::clone(&self.cell), named: false }
    }

    pub(crate) fn is_values(&self) -> bool {
        self.named
    }

    pub(crate) fn element(&self) -> Element {
        self.cell.element
    }

    pub(crate) fn is_nil(&self) -> bool {
        self.cell.nil
    }

    pub(crate) fn entries(&self) -> Ref<'_, Entries> {
        self.cell.entries.borrow()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Value> {
        self.cell.entries.borrow().get(key).cloned()
    }

    /// Sets an entry; `false` for a nil map.
    pub(crate) fn insert(&self, key: Text, value: Value) -> bool {
        if self.cell.nil {
            return false;
        }
        let mut entries = self.cell.entries.borrow_mut();
        let replaced = entries.insert(key, value);
        self.cell.held.set(bytes_of_map(entries.len()));
        drop(entries);
        drop(replaced);
        true
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        let removed = self.cell.entries.borrow_mut().remove(key);
        self.cell.held.set(bytes_of_map(self.len()));
        drop(removed);
    }

    /// Empties the map, which breaks reference cycles through it.
    pub(crate) fn clear(&self) {
        let taken = std::mem::take(&mut *self.cell.entries.borrow_mut());
        self.cell.held.set(bytes_of_map(0));
        drop(taken);
    }

    pub(crate) fn len(&self) -> usize {
        self.cell.entries.borrow().len()
    }

    pub(crate) fn same(&self, other: &Map) -> bool {
        Rc::ptr_eq(&self.cell, &other.cell)
    }
}

// === impl Value ===

/// A [`Text`] of anything that has bytes.
pub(crate) fn text(content: impl AsRef<[u8]>) -> Text {
    Arc::from(content.as_ref())
}

impl Value {
    pub(crate) fn string(content: impl AsRef<[u8]>) -> Value {
        Value::String(text(content))
    }

    /// `[]interface {}`
    pub(crate) fn list(items: Vec<Value>) -> Value {
        Value::typed_list(Element::Any, items)
    }

    /// `[]string`
    pub(crate) fn strings<T: AsRef<[u8]>>(items: impl IntoIterator<Item = T>) -> Value {
        let items = items.into_iter().map(Value::string).collect();
        Value::typed_list(Element::String, items)
    }

    pub(crate) fn typed_list(element: Element, items: Vec<Value>) -> Value {
        Value::List(Rc::new(List::new(element, items)))
    }

    /// Go's nil slice.
    pub(crate) fn nil_list(element: Element) -> Value {
        let mut list = List::new(element, Vec::new());
        list.nil = true;
        Value::List(Rc::new(list))
    }

    /// `map[string]interface {}`
    pub(crate) fn map(entries: Entries) -> Value {
        Value::Map(Map::new(entries))
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Value::Nil | Value::Invalid)
    }

    /// The value as it comes out of a pipeline: a nil interface becomes no value.
    pub(crate) fn unwrapped(self) -> Value {
        if matches!(self, Value::Nil) { Value::Invalid } else { self }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Value::Invalid | Value::Nil => Kind::Invalid,
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) | Value::Int64(_) | Value::Duration(_) => Kind::Int,
            Value::Uint8(_) | Value::Uint64(_) => Kind::Uint,
            Value::Float(_) => Kind::Float,
            Value::Complex(..) => Kind::Complex,
            Value::String(_) => Kind::String,
            Value::Bytes(_) | Value::List(_) => Kind::Slice,
            Value::Map(_) => Kind::Map,
            Value::Time(_) => Kind::Struct,
            Value::Object(object) => object.kind(),
        }
    }

    /// As `kindOf` prints it.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Value::Int(_) => "int",
            Value::Int64(_) | Value::Duration(_) => "int64",
            Value::Uint8(_) => "uint8",
            Value::Uint64(_) => "uint64",
            other => match other.kind() {
                Kind::Invalid => "invalid",
                Kind::Bool => "bool",
                Kind::Int => "int",
                Kind::Uint => "uint",
                Kind::Float => "float64",
                Kind::Complex => "complex128",
                Kind::String => "string",
                Kind::Slice => "slice",
                Kind::Map => "map",
                Kind::Struct => "struct",
                Kind::Pointer => "ptr",
            },
        }
    }

    /// As `%T` prints it.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Value::Invalid | Value::Nil => "<nil>".to_owned(),
            Value::Bytes(_) => "[]uint8".to_owned(),
            Value::List(list) => format!("[]{}", list.element.type_name()),
            Value::Map(map) if map.is_values() => "chartutil.Values".to_owned(),
            Value::Map(map) => format!("map[string]{}", map.element().type_name()),
            Value::Time(_) => "time.Time".to_owned(),
            Value::Duration(_) => "time.Duration".to_owned(),
            Value::Object(object) => object.type_name().to_owned(),
            other => other.kind_name().to_owned(),
        }
    }

    /// Go's truth of a value in `if`, `and`, `not`.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Value::Invalid | Value::Nil => false,
            Value::Bool(value) => *value,
            Value::Int(value) | Value::Int64(value) | Value::Duration(value) => *value != 0,
            Value::Uint8(value) => *value != 0,
            Value::Uint64(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Value::String(text) | Value::Bytes(text) => !text.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => map.len() > 0,
            Value::Time(_) => true,
            Value::Object(object) => object.truth(),
        }
    }

    /// The number when it is of an integer type.
    pub(crate) fn as_integer(&self) -> Option<i128> {
        match self {
            Value::Int(value) | Value::Int64(value) | Value::Duration(value) => Some((*value).into()),
            Value::Uint8(value) => Some((*value).into()),
            Value::Uint64(value) => Some((*value).into()),
            _ => None,
        }
    }

    /// The elements of a slice.
    pub(crate) fn as_items(&self) -> Option<Vec<Value>> {
        match self {
            Value::List(list) => Some(list.items.clone()),
            Value::Bytes(bytes) => Some(bytes.iter().map(|byte| Value::Uint8(*byte)).collect()),
            Value::Object(object) => object.items(),
            _ => None,
        }
    }

    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::string(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::string(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Value {
        Value::String(Arc::from(value))
    }
}

impl From<Map> for Value {
    fn from(value: Map) -> Value {
        Value::Map(value)
    }
}

/// Whether two values are the same all the way down (Go's `reflect.DeepEqual`): types count.
/// Parts that appear several times are compared as often: every pair takes from `fuel`, and nothing is equal once that is used up.
pub(crate) fn deep_equal(left: &Value, right: &Value, depth: usize, fuel: &mut u64) -> bool {
    if depth == 0 || *fuel == 0 {
        return false;
    }
    *fuel -= 1;
    match (left, right) {
        (Value::Invalid | Value::Nil, Value::Invalid | Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b))
        | (Value::Int64(a), Value::Int64(b))
        | (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Uint8(a), Value::Uint8(b)) => a == b,
        (Value::Uint64(a), Value::Uint64(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Complex(a, b), Value::Complex(c, d)) => a == c && b == d,
        (Value::String(a), Value::String(b)) | (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            a.element == b.element
                && a.items.len() == b.items.len()
                && a.items.iter().zip(&b.items).all(|(a, b)| deep_equal(a, b, depth - 1, fuel))
        }
        (Value::Map(a), Value::Map(b)) => {
            if a.same(b) {
                return true;
            }
            let (a_entries, b_entries) = (a.entries(), b.entries());
            a.element() == b.element()
                && a_entries.len() == b_entries.len()
                && a_entries
                    .iter()
                    .zip(b_entries.iter())
                    .all(|((ka, va), (kb, vb))| ka == kb && deep_equal(va, vb, depth - 1, fuel))
        }
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Object(a), Value::Object(b)) => {
            Rc::ptr_eq(a, b) || (a.type_name() == b.type_name() && a.string() == b.string())
        }
        _ => false,
    }
}

/// How deep values may be nested before comparing, copying or printing them gives up.
pub(crate) const MAX_VALUE_DEPTH: usize = 1000;
