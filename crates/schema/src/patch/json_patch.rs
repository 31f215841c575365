//! JSON patch (RFC 6902).

use serde_json::{Map, Value};

use super::PatchError;
use crate::path::MAX_DEPTH;

/// The API server's limit (`maxJSONPatchOperations`).
const MAX_OPERATIONS: usize = 10_000;
/// What copies may add up to, in values: a chain of `copy` doubles an object every time.
const MAX_COPIED: usize = 1_000_000;

/// Applies a list of operations, all or none.
///
/// # Errors
/// When the patch is malformed, an operation does not fit, or a `test` fails.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Value::Array(operations) = patch else {
        return Err(PatchError::Malformed("json: a JSON patch is a list of operations".to_owned()));
    };
    if operations.len() > MAX_OPERATIONS {
        let length = operations.len();
        return Err(PatchError::Malformed(format!(
            "the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {length}"
        )));
    }
    let mut patched = target.clone();
    let mut copied = 0;
    for operation in operations {
        apply(&mut patched, operation, &mut copied)?;
    }
    *target = patched;
    Ok(())
}

fn apply(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let text = |name: &str| {
        let value = operation.get(name).and_then(Value::as_str);
        value.ok_or_else(|| {
            PatchError::Malformed(format!("a JSON patch operation needs {name:?}: {}", shorten(operation)))
        })
    };
    let value = || {
        let value = operation.get("value");
        value.ok_or_else(|| {
            PatchError::Malformed(format!("a JSON patch operation needs \"value\": {}", shorten(operation)))
        })
    };
    let path = Pointer::parse(text("path")?)?;
    match text("op")? {
        "add" => add(document, &path, value()?.clone()),
        "remove" => remove(document, &path).map(drop),
        "replace" => {
            *find(document, &path, "replace")? = value()?.clone();
            Ok(())
        }
        "move" => {
            let from = Pointer::parse(text("from")?)?;
            if path.0.len() > from.0.len() && path.0.starts_with(&from.0) {
                return Err(PatchError::Unprocessable(format!("move operation: {from} cannot be moved into itself")));
            }
            let value = remove(document, &from)?;
            add(document, &path, value)
        }
        "copy" => {
            let value = find(document, &Pointer::parse(text("from")?)?, "copy")?.clone();
            *copied += size(&value, 0);
            if *copied > MAX_COPIED {
                return Err(PatchError::Unprocessable("the copies of the JSON patch exceed the limit".to_owned()));
            }
            add(document, &path, value)
        }
        "test" => {
            let expected = value()?;
            let found = find(document, &path, "test").ok();
            if found.is_some_and(|found| same(found, expected)) {
                Ok(())
            } else {
                Err(PatchError::Unprocessable(format!("testing value {path} failed: test failed")))
            }
        }
        other => Err(PatchError::Malformed(format!("Unexpected kind: {other}"))),
    }
}

/// A JSON pointer (RFC 6901).
struct Pointer(Vec<String>);

// === impl Pointer ===

impl Pointer {
    fn parse(text: &str) -> Result<Self, PatchError> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let rest = text.strip_prefix('/');
        let rest = rest.ok_or_else(|| PatchError::Malformed(format!("a JSON pointer starts with '/': {text:?}")))?;
        let tokens: Vec<String> = rest.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
        if tokens.len() > MAX_DEPTH {
            return Err(PatchError::Malformed("the JSON pointer is too deep".to_owned()));
        }
        Ok(Self(tokens))
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for token in &self.0 {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

fn missing(operation: &str, path: &Pointer) -> PatchError {
    PatchError::Unprocessable(format!(
        "{operation} operation does not apply: doc is missing path: {path}: missing value"
    ))
}

fn step<'a>(value: &'a mut Value, token: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(fields) => fields.get_mut(token),
        Value::Array(items) => items.get_mut(index(token)?),
        _ => None,
    }
}

/// An index without leading zeros or signs.
fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if plain { token.parse().ok() } else { None }
}

fn find<'a>(document: &'a mut Value, path: &Pointer, operation: &str) -> Result<&'a mut Value, PatchError> {
    path.0.iter().try_fold(document, |value, token| step(value, token)).ok_or_else(|| missing(operation, path))
}

fn add(document: &mut Value, path: &Pointer, value: Value) -> Result<(), PatchError> {
    let Some((last, parents)) = path.0.split_last() else {
        *document = value;
        return Ok(());
    };
    let parent =
        parents.iter().try_fold(document, |value, token| step(value, token)).ok_or_else(|| missing("add", path))?;
    match parent {
        Value::Object(fields) => {
            fields.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(items) => {
            let at = if last == "-" { Some(items.len()) } else { index(last).filter(|at| *at <= items.len()) };
            items.insert(at.ok_or_else(|| missing("add", path))?, value);
            Ok(())
        }
        _ => Err(missing("add", path)),
    }
}

fn remove(document: &mut Value, path: &Pointer) -> Result<Value, PatchError> {
    let Some((last, parents)) = path.0.split_last() else {
        return Ok(std::mem::replace(document, Value::Object(Map::new())));
    };
    let parent = parents.iter().try_fold(document, |value, token| step(value, token));
    let removed = match parent {
        Some(Value::Object(fields)) => fields.remove(last),
        Some(Value::Array(items)) => index(last).filter(|at| *at < items.len()).map(|at| items.remove(at)),
        _ => None,
    };
    removed.ok_or_else(|| missing("remove", path))
}

/// Equal, with numbers compared by value (RFC 6902 section 4.6).
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

fn size(value: &Value, depth: usize) -> usize {
    match value {
        _ if depth > MAX_DEPTH => MAX_COPIED,
        Value::Array(items) => 1 + items.iter().map(|item| size(item, depth + 1)).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(|value| size(value, depth + 1)).sum::<usize>(),
        Value::String(text) => 1 + text.len() / 64,
        _ => 1,
    }
}

fn shorten(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_operations_of_the_rfc_work() {
        let table = [
            (json!({"foo":"bar"}), json!([{"op":"add","path":"/baz","value":"qux"}]), json!({"foo":"bar","baz":"qux"})),
            (
                json!({"foo":["bar","baz"]}),
                json!([{"op":"add","path":"/foo/1","value":"qux"}]),
                json!({"foo":["bar","qux","baz"]}),
            ),
            (json!({"foo":["bar"]}), json!([{"op":"add","path":"/foo/-","value":["a"]}]), json!({"foo":["bar",["a"]]})),
            (json!({"baz":"qux","foo":"bar"}), json!([{"op":"remove","path":"/baz"}]), json!({"foo":"bar"})),
            (json!({"foo":["a","b","c"]}), json!([{"op":"remove","path":"/foo/1"}]), json!({"foo":["a","c"]})),
            (json!({"baz":"qux"}), json!([{"op":"replace","path":"/baz","value":"boo"}]), json!({"baz":"boo"})),
            (
                json!({"foo":{"a":"b"},"q":{}}),
                json!([{"op":"move","from":"/foo/a","path":"/q/t"}]),
                json!({"foo":{},"q":{"t":"b"}}),
            ),
            (json!({"a":[1,2,3]}), json!([{"op":"move","from":"/a/0","path":"/a/2"}]), json!({"a":[2,3,1]})),
            (json!({"a":1}), json!([{"op":"copy","from":"/a","path":"/b"}]), json!({"a":1,"b":1})),
            (
                json!({"a/b":{"m~n":8}}),
                json!([{"op":"test","path":"/a~1b/m~0n","value":8.0},{"op":"remove","path":"/a~1b/m~0n"}]),
                json!({"a/b":{}}),
            ),
            (json!({"a":1}), json!([{"op":"replace","path":"","value":[1]}]), json!([1])),
            (json!({"foo":null}), json!([{"op":"test","path":"/foo","value":null}]), json!({"foo":null})),
        ];
        for (target, patch, expected) in table {
            let mut patched = target.clone();
            assert_eq!(json_patch(&mut patched, &patch), Ok(()), "{target} with {patch}");
            assert_eq!(patched, expected, "{target} with {patch}");
        }
    }

    #[test]
    fn a_patch_that_fails_changes_nothing() {
        let target = json!({"a": 1, "l": [1]});
        for patch in [
            json!([{"op":"add","path":"/b","value":1},{"op":"test","path":"/a","value":2}]),
            json!([{"op":"remove","path":"/a"},{"op":"remove","path":"/a"}]),
            json!([{"op":"add","path":"/l/2","value":1}]),
            json!([{"op":"add","path":"/l/01","value":1}]),
            json!([{"op":"add","path":"/x/y","value":1}]),
            json!([{"op":"replace","path":"/x","value":1}]),
            json!([{"op":"move","from":"/l","path":"/l/0"}]),
            json!([{"op":"jump","path":"/a"}]),
            json!([{"op":"add","path":"a","value":1}]),
            json!([{"op":"add","path":"/a"}]),
            json!({"op":"add"}),
        ] {
            let mut patched = target.clone();
            assert!(json_patch(&mut patched, &patch).is_err(), "{patch}");
            assert_eq!(patched, target, "{patch}");
        }
    }

    #[test]
    fn copies_cannot_grow_without_bound() {
        let mut operations = vec![json!({"op": "add", "path": "/a", "value": [1, 2, 3, 4, 5, 6, 7, 8]})];
        for _ in 0..64 {
            operations.push(json!({"op": "copy", "from": "", "path": "/a/-"}));
        }
        assert!(json_patch(&mut json!({"a": []}), &Value::Array(operations)).is_err());
    }
}
