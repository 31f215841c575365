//! Methods of `chartutil.Values`: what `.Values`, `.Template` and the data of a template file are.

use super::Evaluator;
use crate::helm::{
    failure::Failure,
    functions::{Parameter, values_as_yaml},
    value::{Element, Entries, Map, Value},
};

/// What the method of that name takes, if there is one.
pub(super) fn parameters(name: &[u8]) -> Option<&'static [Parameter]> {
    match name {
        b"AsMap" | b"YAML" => Some(&[]),
        b"Table" | b"PathValue" => Some(&[Parameter::String]),
        // No template has such a thing.
        b"Encode" => Some(&[Parameter::Object("io.Writer")]),
        _ => None,
    }
}

/// Calls a method that [`parameters`] knows.
pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    map: &Map,
    name: &[u8],
    arguments: &[Value],
) -> Result<Value, Failure> {
    let path = arguments.first().and_then(Value::as_bytes).unwrap_or_default();
    match name {
        b"AsMap" if map.len() == 0 => Ok(Value::map(Entries::new())),
        b"AsMap" => Ok(Value::Map(map.as_plain())),
        b"YAML" => values_as_yaml(evaluator, map),
        b"Table" => table(map, path).map(|found| Value::Map(found.as_values())),
        _ => value_at(map, path),
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The table that dots lead to.
fn table(map: &Map, path: &[u8]) -> Result<Map, Failure> {
    let mut found = map.clone();
    for name in path.split(|byte| *byte == b'.') {
        match found.get(name) {
            Some(Value::Map(next)) if next.element() == Element::Any => found = next,
            _ => return Err(Failure::new(format!("{:?} is not a table", shown(name)))),
        }
    }
    Ok(found)
}

/// What dots lead to, which must not be a table.
fn value_at(map: &Map, path: &[u8]) -> Result<Value, Failure> {
    if path.is_empty() {
        return Err(Failure::new("YAML path cannot be empty"));
    }
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'.') {
        Some(dot) => (path.get(..dot), path.get(dot + 1..).unwrap_or_default()),
        None => (None, path),
    };
    let missing = || Failure::new(format!("{:?} is not a value", shown(name)));
    let parent = parent.map_or_else(|| Ok(map.clone()), |parent| table(map, parent).map_err(|_| missing()))?;
    match parent.get(name) {
        Some(Value::Map(found)) if found.element() == Element::Any && !found.is_values() => Err(missing()),
        Some(value) => Ok(value),
        None => Err(missing()),
    }
}
