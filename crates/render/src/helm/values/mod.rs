//! Values: what the caller gives, merged, and coalesced with what the charts bring.

mod assign;
pub(super) mod coalesce;

use std::cell::{Cell, RefCell};

use serde_json::Value as Json;

use super::options::Values;
use crate::{
    Error,
    goyaml::{self, Dialect, Map},
};
use assign::{MAX_ELEMENTS, Style, assign, typed};

/// A value; integers are only those of `--set`, numbers of YAML and JSON are floats.
pub(super) use goyaml::Value;

/// A table of values.
pub(super) type Tree = Map;

/// Reads a file of values: a YAML mapping, or nothing.
pub(super) fn parse(path: &str, text: &[u8]) -> Result<Tree, Error> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let document = goyaml::parse_first(text, Dialect::V2).map_err(|error| Error::Yaml {
        path: path.to_owned(),
        line: error.line,
        column: error.column,
        message: error.message,
    })?;
    match document {
        None | Some(Value::Null) => Ok(Tree::new()),
        Some(mut value @ Value::Map(_)) => {
            if let Some(found) = not_in_json(&value) {
                let message = format!("{found} has no form in JSON");
                return Err(Error::Chart { path: path.to_owned(), message });
            }
            goyaml::numbers_to_float(&mut value);
            match value {
                Value::Map(map) => Ok(map),
                _ => Ok(Tree::new()),
            }
        }
        Some(_) => Err(Error::Chart { path: path.to_owned(), message: "values must be a mapping".to_owned() }),
    }
}

/// The first infinity or not-a-number, as Go writes it. Helm reads YAML by way of JSON, which has none of them.
pub(crate) fn not_in_json(value: &Value) -> Option<&'static str> {
    match value {
        Value::Float(number) if number.is_nan() => Some("NaN"),
        Value::Float(number) if number.is_infinite() => Some(if *number > 0.0 { "+Inf" } else { "-Inf" }),
        Value::List(items) => items.iter().find_map(not_in_json),
        Value::Map(map) => map.values().find_map(not_in_json),
        _ => None,
    }
}

/// Merges everything that the caller gives; see [`Values`] for the order.
pub(super) fn merge(given: &Values) -> Result<Tree, Error> {
    let mut base = Tree::new();
    let elements = Cell::new(MAX_ELEMENTS);
    for (name, text) in &given.files {
        merge_maps(&mut base, parse(name, text)?);
    }
    let plain = |text: String| Ok(Value::string(text));
    for argument in &given.set_json {
        let trimmed = argument.trim();
        if trimmed.starts_with('{') {
            let value: Json =
                serde_json::from_str(trimmed).map_err(|error| wrong("--set-json", argument, &error.to_string()))?;
            let mut value = goyaml::from_json_value(&value);
            goyaml::numbers_to_float(&mut value);
            if let Value::Map(map) = value {
                merge_maps(&mut base, map);
            }
        } else {
            assign(argument, Style::Json, &plain, &elements, &mut base)
                .map_err(|error| wrong("--set-json", argument, &error))?;
        }
    }
    let read = |path: String| match given.file_contents.iter().find(|(name, _)| *name == path) {
        Some((_, content)) => Ok(Value::string(content)),
        None => Err(format!("{path}: no such file")),
    };
    type Transform<'a> = &'a dyn Fn(String) -> Result<Value, String>;
    let kinds: [(&str, &[String], Style, Transform<'_>); 4] = [
        ("--set", &given.set, Style::Typed, &|text| Ok(typed(text))),
        ("--set-string", &given.set_string, Style::Text, &plain),
        ("--set-file", &given.set_file, Style::Text, &read),
        ("--set-literal", &given.set_literal, Style::Literal, &plain),
    ];
    for (option, arguments, style, transform) in kinds {
        for argument in arguments {
            assign(argument, style, transform, &elements, &mut base)
                .map_err(|error| wrong(option, argument, &error))?;
        }
    }
    Ok(base)
}

/// The paths of the files that `--set-file` arguments name, for the caller to read.
pub fn files_of_arguments(arguments: &[String]) -> Result<Vec<String>, Error> {
    let paths = RefCell::new(Vec::new());
    let elements = Cell::new(MAX_ELEMENTS);
    let note = |path: String| {
        paths.borrow_mut().push(path);
        Ok(Value::Null)
    };
    for argument in arguments {
        assign(argument, Style::Text, &note, &elements, &mut Tree::new())
            .map_err(|error| wrong("--set-file", argument, &error))?;
    }
    Ok(paths.into_inner())
}

fn wrong(option: &str, argument: &str, message: &str) -> Error {
    Error::Values { option: option.to_owned(), argument: argument.to_owned(), message: message.to_owned() }
}

/// Tables are merged; anything else of `other` replaces.
fn merge_maps(base: &mut Tree, other: Tree) {
    for (key, value) in other {
        match (base.get_mut(&key), value) {
            (Some(Value::Map(below)), Value::Map(map)) => merge_maps(below, map),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// The table at a path of keys.
pub(super) fn table<'t>(tree: &'t Tree, path: &str) -> Option<&'t Tree> {
    path.split('.').try_fold(tree, |table, key| match table.get(key.as_bytes()) {
        Some(Value::Map(map)) => Some(map),
        _ => None,
    })
}

/// The value at a path of keys, unless it is a table.
pub(super) fn leaf<'t>(tree: &'t Tree, path: &str) -> Option<&'t Value> {
    let (above, key) = path.rsplit_once('.').map_or((None, path), |(above, key)| (Some(above), key));
    let table = above.map_or(Some(tree), |above| table(tree, above))?;
    table.get(key.as_bytes()).filter(|value| !matches!(value, Value::Map(_)))
}
