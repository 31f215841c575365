//! Reads arguments, which the evaluator has already checked against the parameters.

use std::{borrow::Cow, rc::Rc};

use crate::helm::{
    failure::Failure,
    value::{Kind, List, Map, Text, Value},
};

pub(super) fn any(arguments: &[Value], index: usize) -> Value {
    arguments.get(index).cloned().unwrap_or(Value::Nil)
}

pub(super) fn bytes(arguments: &[Value], index: usize) -> &[u8] {
    arguments.get(index).and_then(Value::as_bytes).unwrap_or_default()
}

/// A string as text; bytes that are not UTF-8 become U+FFFD.
pub(super) fn text(arguments: &[Value], index: usize) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes(arguments, index))
}

pub(super) fn int(arguments: &[Value], index: usize) -> i64 {
    arguments.get(index).and_then(Value::as_integer).and_then(|number| i64::try_from(number).ok()).unwrap_or_default()
}

pub(super) fn rest(arguments: &[Value], from: usize) -> &[Value] {
    arguments.get(from..).unwrap_or_default()
}

pub(super) fn map(arguments: &[Value], index: usize) -> Map {
    match arguments.get(index) {
        Some(Value::Map(map)) => map.clone(),
        _ => Map::nil(),
    }
}

pub(super) fn string(arguments: &[Value], index: usize) -> Text {
    match arguments.get(index) {
        Some(Value::String(content)) => Text::clone(content),
        _ => Text::from(b"".as_slice()),
    }
}

/// The list that an argument is; `action` is for Sprig's error text.
pub(super) fn list(arguments: &[Value], index: usize, action: &str) -> Result<Rc<List>, Failure> {
    match arguments.get(index) {
        Some(Value::List(list)) => Ok(Rc::clone(list)),
        Some(other) if other.kind() == Kind::Slice => {
            let element = crate::helm::value::Element::Any;
            Ok(Rc::new(List::new(element, other.as_items().unwrap_or_default())))
        }
        other => {
            // Go asks nil for its kind, which panics.
            let kind = other.map_or("invalid", Value::kind_name);
            Err(Failure::new(format!("Cannot {action} on type {kind}")))
        }
    }
}
