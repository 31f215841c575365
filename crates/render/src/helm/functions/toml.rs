//! TOML as the BurntSushi encoder writes it.

use std::{fmt::Write as _, rc::Rc};

use crate::{
    goyaml,
    helm::value::{Text, Value, text},
    strconv,
};

/// How the error ends that says so.
pub(super) const TOO_LONG: &str = "exceeds the limit of a text";

/// The text of a map, `limit` bytes at most; plain values before tables, keys sorted.
pub(super) fn encode(value: &goyaml::Value, limit: usize) -> Result<String, String> {
    let mut out = String::new();
    match value {
        goyaml::Value::Map(map) => table(&mut out, map, &mut Vec::new(), limit)?,
        goyaml::Value::Null => return Err("toml: cannot encode a nil value".to_owned()),
        // A value alone is no TOML, but is what the encoder writes.
        other => inline(&mut out, other)?,
    }
    Ok(out)
}

fn is_table(value: &goyaml::Value) -> bool {
    matches!(value, goyaml::Value::Map(_)) || is_table_array(value)
}

fn is_table_array(value: &goyaml::Value) -> bool {
    value
        .as_list()
        .is_some_and(|items| !items.is_empty() && items.iter().all(|item| matches!(item, goyaml::Value::Map(_))))
}

fn table(out: &mut String, map: &goyaml::Map, path: &mut Vec<String>, limit: usize) -> Result<(), String> {
    // Every table repeats the names of those around it.
    if out.len() > limit {
        return Err(format!("toml: what is to be written {TOO_LONG}"));
    }
    let mut entries: Vec<(&Text, &goyaml::Value)> = map.iter().filter(|(_, value)| !value.is_null()).collect();
    entries.sort_by_key(|(left, _)| *left);
    let indent = "  ".repeat(path.len().saturating_sub(1));
    for (name, value) in entries.iter().filter(|(_, value)| !is_table(value)) {
        let indent = if path.is_empty() { "" } else { "  " };
        let depth = "  ".repeat(path.len().saturating_sub(1));
        let _ = write!(out, "{depth}{indent}{} = ", key(name));
        inline(out, value)?;
        out.push('\n');
    }
    for (name, value) in entries.iter().filter(|(_, value)| is_table(value)) {
        path.push(key(name));
        let own = if path.len() > 1 { format!("{indent}  ") } else { indent.clone() };
        match value {
            goyaml::Value::Map(map) => {
                if !out.is_empty() && path.len() == 1 {
                    out.push('\n');
                }
                let _ = writeln!(out, "{own}[{}]", path.join("."));
                table(out, map, path, limit)?;
            }
            goyaml::Value::List(items) => {
                for item in items {
                    if !out.is_empty() {
                        out.push('\n');
                    }
                    let _ = writeln!(out, "{own}[[{}]]", path.join("."));
                    if let goyaml::Value::Map(map) = item {
                        table(out, map, path, limit)?;
                    }
                }
            }
            _ => {}
        }
        path.pop();
    }
    Ok(())
}

fn key(name: &[u8]) -> String {
    let bare = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare { String::from_utf8_lossy(name).into_owned() } else { string(name) }
}

fn string(content: &[u8]) -> String {
    let mut out = String::from("\"");
    for character in String::from_utf8_lossy(content).chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' || control == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out + "\""
}

fn inline(out: &mut String, value: &goyaml::Value) -> Result<(), String> {
    match value {
        goyaml::Value::Null => return Err("toml: cannot encode array with nil element".to_owned()),
        goyaml::Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        goyaml::Value::Int(number) => out.push_str(&number.to_string()),
        goyaml::Value::Uint(number) => out.push_str(&number.to_string()),
        goyaml::Value::Float(number) if number.is_nan() => out.push_str("nan"),
        goyaml::Value::Float(number) if number.is_infinite() => {
            out.push_str(if *number < 0.0 { "-inf" } else { "inf" })
        }
        goyaml::Value::Float(number) => {
            let text = strconv::format_float(*number, b'g', None);
            out.push_str(&text);
            if !text.contains(['.', 'e']) {
                out.push_str(".0");
            }
        }
        goyaml::Value::String(content) => out.push_str(&string(content)),
        goyaml::Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                inline(out, item)?;
            }
            out.push(']');
        }
        goyaml::Value::Map(map) => {
            let mut entries: Vec<(&Text, &goyaml::Value)> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_by_key(|(left, _)| *left);
            out.push('{');
            for (index, (name, item)) in entries.into_iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                let _ = write!(out, "{} = ", key(name));
                inline(out, item)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// Reads a document; integers stay integers.
pub(super) fn decode(input: &str) -> Result<Value, String> {
    let values = input.bytes().filter(|byte| matches!(byte, b',' | b'=' | b'[' | b'{' | b'\n')).count();
    if values > goyaml::MAX_VALUES {
        return Err(format!("toml: {}", goyaml::TOO_MANY_VALUES));
    }
    let table: toml::Table = input.parse().map_err(|error: toml::de::Error| format!("toml: {}", error.message()))?;
    Ok(Value::map(table.iter().map(|(key, value)| (text(key), from_toml(value))).collect()))
}

fn from_toml(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(content) => Value::from(content.as_str()),
        toml::Value::Integer(number) => Value::Int64(*number),
        toml::Value::Float(number) => Value::Float(*number),
        toml::Value::Boolean(value) => Value::Bool(*value),
        toml::Value::Datetime(stamp) => {
            let shown = stamp.to_string();
            let layouts = [
                "2006-01-02T15:04:05.999999999Z07:00",
                "2006-01-02T15:04:05.999999999",
                "2006-01-02",
                "15:04:05.999999999",
            ];
            let parsed = layouts.iter().find_map(|layout| super::layout::parse(layout, &shown).ok());
            parsed.map_or_else(|| Value::from(shown), |time| Value::Time(Rc::new(time)))
        }
        toml::Value::Array(items) => {
            let items: Vec<Value> = items.iter().map(from_toml).collect();
            let tables = !items.is_empty() && items.iter().all(|item| matches!(item, Value::Map(_)));
            if tables { Value::typed_list(crate::helm::value::Element::Map, items) } else { Value::list(items) }
        }
        toml::Value::Table(table) => {
            Value::map(table.iter().map(|(key, value)| (text(key), from_toml(value))).collect())
        }
    }
}
