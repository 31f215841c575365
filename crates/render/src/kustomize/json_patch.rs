//! JSON patches (RFC 6902) with the peculiarities of the library that Kustomize uses.
//!
//! A `replace` of a key that is missing adds it; negative indices count from the end; the part of a pointer before its first
//! slash is ignored; all numbers are floating point.

use crate::{
    goyaml::{self, Bytes, Dialect, Map, Node, Scalar, ScalarStyle, Tag, Value},
    strconv,
};

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    op: String,
    path: String,
    from: String,
    value: Option<Value>,
}

/// Reads a list of operations. One that begins with `[` has to be JSON, any other is YAML.
pub(super) fn parse(text: &str) -> Result<Vec<Operation>, String> {
    if text.starts_with('[')
        && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text)
    {
        return Err(format!(
            "begins with [ but is no JSON: {error}; quote keys and texts, or write it as a list with -"
        ));
    }
    let document = goyaml::parse_documents(text.as_bytes(), Dialect::V2)
        .map_err(|error| error.to_string())?
        .into_iter()
        .next()
        .unwrap_or_default();
    let Value::List(operations) = document else { return Err("is no list of operations".to_owned()) };
    operations.iter().map(operation).collect()
}

fn operation(value: &Value) -> Result<Operation, String> {
    let Value::Map(map) = value else { return Err("an operation of a JSON patch is no mapping".to_owned()) };
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut operand = map.get(b"value".as_slice()).cloned();
    if let Some(operand) = &mut operand {
        goyaml::numbers_to_float(operand);
    }
    Ok(Operation {
        op: text("op").unwrap_or_default(),
        path: text("path").unwrap_or_default(),
        from: text("from").unwrap_or_default(),
        value: operand,
    })
}

/// Applies operations to an object.
pub(super) fn apply(node: &Node, operations: &[Operation]) -> Result<Node, String> {
    let mut document = super::output::to_value(node)?;
    goyaml::numbers_to_float(&mut document);
    for operation in operations {
        step(&mut document, operation).map_err(|error| format!("{} {:?}: {error}", operation.op, operation.path))?;
    }
    from_value(&document)
}

fn step(document: &mut Value, operation: &Operation) -> Result<(), String> {
    let value = || operation.value.clone().ok_or_else(|| "the operation has no value".to_owned());
    match operation.op.as_str() {
        "add" => add(document, &operation.path, operation.value.clone().unwrap_or_default()),
        "replace" if operation.path.is_empty() => {
            *document = value()?;
            Ok(())
        }
        "replace" => replace(document, &operation.path, operation.value.clone().unwrap_or_default()),
        "remove" => remove(document, &operation.path).map(drop),
        "move" => {
            let moved = remove(document, &operation.from)?;
            add(document, &operation.path, moved)
        }
        "copy" => {
            let copied = find(document, &operation.from)?.cloned().unwrap_or_default();
            add(document, &operation.path, copied)
        }
        "test" => {
            let found = if operation.path.is_empty() { Some(&*document) } else { find(document, &operation.path)? };
            let wanted = operation.value.clone().unwrap_or_default();
            if found.unwrap_or(&Value::Null) == &wanted { Ok(()) } else { Err("the test failed".to_owned()) }
        }
        other => Err(format!("unknown operation {other:?}")),
    }
}

fn decode(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// The container of what a pointer means, and the last part.
fn container<'a>(document: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), String> {
    let parts: Vec<&str> = path.split('/').collect();
    let [_, inner @ .., last] = parts.as_slice() else { return Err("the pointer names nothing".to_owned()) };
    let mut current = document;
    for part in inner {
        let key = decode(part);
        current = match current {
            Value::Map(map) => map.get_mut(key.as_bytes()),
            Value::List(items) => index(&key, items.len()).and_then(|index| items.get_mut(index)),
            _ => None,
        }
        .ok_or_else(|| format!("{key:?} is missing"))?;
    }
    match current {
        Value::Map(_) | Value::List(_) => Ok((current, decode(last))),
        _ => Err("the pointer leads into a value that is neither object nor list".to_owned()),
    }
}

/// An index into a list of so many elements; negative ones count from the end.
fn index(text: &str, length: usize) -> Option<usize> {
    let index: i64 = text.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index + length } else { index };
    usize::try_from(index).ok().filter(|index| *index < length as usize)
}

fn find<'a>(document: &'a mut Value, path: &str) -> Result<Option<&'a Value>, String> {
    let (container, key) = container(document, path)?;
    match container {
        Value::Map(map) => Ok(map.get(key.as_bytes())),
        Value::List(items) => {
            let at = index(&key, items.len()).ok_or_else(|| format!("there is no element {key:?}"))?;
            Ok(items.get(at))
        }
        _ => Ok(None),
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    match container(document, path)? {
        (Value::Map(map), key) => {
            map.insert(Bytes::from(key.as_bytes()), value);
            Ok(())
        }
        (Value::List(items), key) if key == "-" => {
            items.push(value);
            Ok(())
        }
        (Value::List(items), key) => {
            let at = index(&key, items.len() + 1).ok_or_else(|| format!("index {key:?} is out of bounds"))?;
            items.insert(at, value);
            Ok(())
        }
        _ => Err("the pointer leads nowhere".to_owned()),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    match container(document, path)? {
        (Value::Map(map), key) => {
            map.insert(Bytes::from(key.as_bytes()), value);
            Ok(())
        }
        (Value::List(items), key) => {
            let slot = index(&key, items.len()).and_then(|at| items.get_mut(at));
            *slot.ok_or_else(|| format!("index {key:?} is out of bounds"))? = value;
            Ok(())
        }
        _ => Err("the pointer leads nowhere".to_owned()),
    }
}

fn remove(document: &mut Value, path: &str) -> Result<Value, String> {
    match container(document, path)? {
        (Value::Map(map), key) => map.shift_remove(key.as_bytes()).ok_or_else(|| "there is no such key".to_owned()),
        (Value::List(items), key) => {
            let at = index(&key, items.len()).ok_or_else(|| format!("index {key:?} is out of bounds"))?;
            Ok(items.remove(at))
        }
        _ => Err("the pointer leads nowhere".to_owned()),
    }
}

/// A node as the encoder would write the value and the decoder read it again.
pub(super) fn from_value(value: &Value) -> Result<Node, String> {
    let plain = |text: String, tag: Tag| Node::Scalar(Scalar { value: text.into(), tag, ..Scalar::default() });
    Ok(match value {
        Value::Null => Node::null(),
        Value::Bool(value) => plain(value.to_string(), Tag::Bool),
        Value::Int(value) => plain(value.to_string(), Tag::Int),
        Value::Uint(value) => plain(value.to_string(), Tag::Int),
        Value::Float(value) => {
            let text = strconv::shortest_float(*value);
            let tag = goyaml::resolve_scalar(&text, Dialect::V3).0;
            plain(text, tag)
        }
        Value::String(text) => {
            let text = String::from_utf8_lossy(text);
            let style = goyaml::style_of(&text);
            if style == ScalarStyle::Literal && text.starts_with('\t') {
                return Err("a text of several lines begins with a tab".to_owned());
            }
            Node::Scalar(Scalar { value: text.into(), tag: Tag::Str, style, ..Scalar::default() })
        }
        Value::List(items) => Node::List(items.iter().map(from_value).collect::<Result<_, _>>()?),
        Value::Map(map) => Node::Map(from_map(map)?),
    })
}

fn from_map(map: &Map) -> Result<Vec<(Scalar, Node)>, String> {
    map.iter()
        .map(|(key, value)| {
            let key = Scalar {
                value: String::from_utf8_lossy(key).into(),
                style: ScalarStyle::DoubleQuoted,
                ..Scalar::default()
            };
            Ok((key, from_value(value)?))
        })
        .collect()
}
