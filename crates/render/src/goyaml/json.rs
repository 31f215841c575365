//! Values and JSON.

use serde_json::Number;

use super::{Error, MAX_VALUES, Map, TOO_MANY_VALUES, Value, value::Bytes};
use crate::strconv;

/// Reads JSON as Go reads it into `interface{}`: every number is a float.
pub fn from_json(text: &[u8]) -> Result<Value, Error> {
    if values_of_json(text) > MAX_VALUES {
        return Err(Error::new(0, 0, TOO_MANY_VALUES));
    }
    let value: serde_json::Value = serde_json::from_slice(text)
        .map_err(|error| Error::new(error.line() as u64, error.column() as u64, error.to_string()))?;
    let mut value = from_json_value(&value);
    numbers_to_float(&mut value);
    Ok(value)
}

/// How many values a JSON text has at most: each but the first comes after a bracket, a brace, a comma or a colon.
fn values_of_json(text: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' | b',' | b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// The same value; integers stay integers.
pub fn from_json_value(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::Int(value),
            (None, Some(value)) => Value::Uint(value),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::string(text),
        serde_json::Value::Array(items) => Value::List(items.iter().map(from_json_value).collect()),
        serde_json::Value::Object(fields) => Value::Map(
            fields.iter().map(|(key, value)| (Bytes::from(key.as_bytes()), from_json_value(value))).collect::<Map>(),
        ),
    }
}

/// The same value; bytes that are no UTF-8 become U+FFFD as in `encoding/json`, and infinities become null.
pub fn to_json_value(value: &Value) -> serde_json::Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => serde_json::Value::Bool(*value),
        Value::Int(value) => serde_json::Value::Number((*value).into()),
        Value::Uint(value) => serde_json::Value::Number((*value).into()),
        Value::Float(value) => whole(*value).map_or_else(
            || Number::from_f64(*value).map_or(serde_json::Value::Null, serde_json::Value::Number),
            |whole| serde_json::Value::Number(whole.into()),
        ),
        Value::String(bytes) => serde_json::Value::String(text(bytes)),
        Value::List(items) => serde_json::Value::Array(items.iter().map(to_json_value).collect()),
        Value::Map(map) => {
            serde_json::Value::Object(map.iter().map(|(key, value)| (text(key), to_json_value(value))).collect())
        }
    }
}

/// The integer that a float is exactly.
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 9.2e18).then_some(value as i64)
}

/// Makes every number a float, as reading JSON into `interface{}` does.
pub fn numbers_to_float(value: &mut Value) {
    match value {
        Value::Int(number) => *value = Value::Float(*number as f64),
        Value::Uint(number) => *value = Value::Float(*number as f64),
        Value::List(items) => items.iter_mut().for_each(numbers_to_float),
        Value::Map(map) => map.values_mut().for_each(numbers_to_float),
        _ => {}
    }
}

/// Compact JSON as `json.Marshal` writes it: keys sorted by bytes; `<`, `>`, `&`, U+2028 and U+2029 escaped when `escape_html`.
pub fn to_json(value: &Value, escape_html: bool) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    write(value, escape_html, true, &mut out)?;
    Ok(out)
}

/// The same with keys as they stand: the fields of Go's structs have an order of their own.
pub fn to_json_in_order(value: &Value, escape_html: bool) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    write(value, escape_html, false, &mut out)?;
    Ok(out)
}

fn write(value: &Value, escape_html: bool, sorted: bool, out: &mut Vec<u8>) -> Result<(), Error> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Uint(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Float(value) => match strconv::json_float(*value) {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => return Err(Error::new(0, 0, "infinities and not-a-number have no JSON form")),
        },
        Value::String(text) => write_string(text, escape_html, out),
        Value::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, escape_html, sorted, out)?;
            }
            out.push(b']');
        }
        Value::Map(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            if sorted {
                entries.sort_by_key(|(key, _)| *key);
            }
            out.push(b'{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(key, escape_html, out);
                out.push(b':');
                write(value, escape_html, sorted, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(text: &[u8], escape_html: bool, out: &mut Vec<u8>) {
    out.push(b'"');
    for letter in String::from_utf8_lossy(text).chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '<' | '>' | '&' if escape_html => out.extend_from_slice(format!("\\u{:04x}", letter as u32).as_bytes()),
            '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.extend_from_slice(format!("\\u{:04x}", letter as u32).as_bytes());
            }
            _ => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
