//! The functions of `text/template` itself, without comparisons.

use super::{
    Function, Outcome, Parameter,
    Parameter::{Any, Reflect, String},
    arguments, fixed, variadic,
};
use crate::helm::{
    failure::Failure,
    format, quote,
    template::evaluate::Evaluator,
    value::{Kind, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "and", parameters: &[Reflect], variadic: Some(Reflect), short_circuit: true, call: last },
    Function { name: "or", parameters: &[Reflect], variadic: Some(Reflect), short_circuit: true, call: last },
    fixed("not", &[Reflect], |_, given| Ok(Value::Bool(!given.first().is_some_and(Value::truth)))),
    fixed("len", &[Reflect], len),
    variadic("index", &[Reflect], Reflect, index),
    variadic("print", &[], Any, |evaluator, given| Ok(format::print(given, evaluator.limits.text)?.into())),
    variadic("println", &[], Any, |evaluator, given| Ok(format::println(given, evaluator.limits.text)?.into())),
    variadic("printf", &[String], Any, |evaluator, given| {
        Ok(format::printf(arguments::bytes(given, 0), arguments::rest(given, 1), evaluator.limits.text)?.into())
    }),
    variadic("html", &[], Any, |evaluator, given| Ok(html(&joined(evaluator, given)?).into())),
    variadic("js", &[], Any, |evaluator, given| Ok(javascript(&joined(evaluator, given)?).into())),
    variadic("urlquery", &[], Any, |evaluator, given| Ok(super::urls::query_escape(&joined(evaluator, given)?).into())),
    variadic("call", &[Parameter::Reflect], Reflect, call),
];

/// The evaluator short-circuits these itself.
fn last(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    Ok(given.last().cloned().unwrap_or(Value::Nil))
}

fn call(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    match given.first() {
        None | Some(Value::Invalid | Value::Nil) => Err(Failure::new("call of nil")),
        Some(other) => Err(Failure::new(format!("non-function of type {}", other.type_name()))),
    }
}

fn len(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let length = match given.first() {
        None | Some(Value::Invalid | Value::Nil) => return Err(Failure::new("len of nil pointer")),
        Some(Value::String(text) | Value::Bytes(text)) => text.len(),
        Some(Value::List(list)) => list.items.len(),
        Some(Value::Map(map)) => map.len(),
        Some(Value::Object(object)) if object.kind() == Kind::Map => object.members().len(),
        Some(Value::Object(object)) if object.kind() == Kind::Slice => object.items().unwrap_or_default().len(),
        Some(other) => return Err(Failure::new(format!("len of type {}", other.type_name()))),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// An index into something of that length.
fn position(index: &Value, length: usize) -> Result<usize, Failure> {
    if index.is_nil() {
        return Err(Failure::new("cannot index slice/array with nil"));
    }
    let Some(number) = index.as_integer() else {
        return Err(Failure::new(format!("cannot index slice/array with type {}", index.type_name())));
    };
    match usize::try_from(number) {
        Ok(found) if found < length => Ok(found),
        _ => Err(Failure::new(format!("index out of range: {number}"))),
    }
}

fn index(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let mut item = arguments::any(given, 0);
    if item.is_nil() {
        return Err(Failure::new("index of untyped nil"));
    }
    for index in arguments::rest(given, 1) {
        item = match &item {
            Value::Invalid | Value::Nil => return Err(Failure::new("index of nil pointer")),
            Value::String(text) | Value::Bytes(text) => {
                Value::Uint8(text.get(position(index, text.len())?).copied().unwrap_or_default())
            }
            Value::List(list) => list.items.get(position(index, list.items.len())?).cloned().unwrap_or(Value::Nil),
            Value::Map(map) => {
                let key = key(index)?;
                map.get(key).unwrap_or(match map.element() {
                    crate::helm::value::Element::String => Value::string(""),
                    _ => Value::Nil,
                })
            }
            Value::Object(object) if object.kind() == Kind::Map => object.field(key(index)?).unwrap_or(Value::Nil),
            Value::Object(object) if object.kind() == Kind::Slice => {
                let items = object.items().unwrap_or_default();
                items.get(position(index, items.len())?).cloned().unwrap_or(Value::Nil)
            }
            other => return Err(Failure::new(format!("can't index item of type {}", other.type_name()))),
        };
    }
    Ok(item)
}

fn key(index: &Value) -> Result<&[u8], Failure> {
    match index {
        Value::String(key) => Ok(key),
        Value::Invalid | Value::Nil => Err(Failure::new("value is nil; should be of type string")),
        other => Err(Failure::new(format!("value has type {}; should be string", other.type_name()))),
    }
}

fn joined(evaluator: &Evaluator<'_>, given: &[Value]) -> Result<Vec<u8>, Failure> {
    if let [Value::String(text)] = given {
        return Ok(text.to_vec());
    }
    let shown: Vec<Value> =
        given.iter().map(|value| if value.is_nil() { Value::string("<no value>") } else { value.clone() }).collect();
    format::print(&shown, evaluator.limits.text)
}

fn html(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len());
    for byte in input {
        match byte {
            0 => out.extend_from_slice("\u{fffd}".as_bytes()),
            b'"' => out.extend_from_slice(b"&#34;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            other => out.push(*other),
        }
    }
    out
}

fn javascript(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some((character, length)) = crate::helm::template::decode(rest) {
        let raw = rest.get(..length).unwrap_or_default();
        rest = rest.get(length..).unwrap_or_default();
        match character {
            '\\' => out.extend_from_slice(b"\\\\"),
            '\'' => out.extend_from_slice(b"\\'"),
            '"' => out.extend_from_slice(b"\\\""),
            '<' => out.extend_from_slice(b"\\u003C"),
            '>' => out.extend_from_slice(b"\\u003E"),
            '&' => out.extend_from_slice(b"\\u0026"),
            '=' => out.extend_from_slice(b"\\u003D"),
            control if control < ' ' => out.extend_from_slice(format!("\\u{:04X}", u32::from(control)).as_bytes()),
            character if character.is_ascii() || quote::is_printable(character) => out.extend_from_slice(raw),
            other => out.extend_from_slice(format!("\\u{:04X}", u32::from(other)).as_bytes()),
        }
    }
    out
}
