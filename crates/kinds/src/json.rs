//! Reading and editing objects that may have any shape: nothing here panics, and a value of another type than expected counts
//! as absent for readers and is left alone by writers (the schema reports it).

use serde_json::{Map, Value};

/// Readers.
pub(crate) trait View {
    /// The field, unless it is absent or null.
    fn at(&self, key: &str) -> Option<&Value>;
    /// The nested field.
    fn path(&self, keys: &[&str]) -> Option<&Value>;
    /// A string.
    fn text(&self, key: &str) -> Option<&str>;
    /// A string that says something: the API's Go types cannot tell an empty string from an absent one.
    fn filled(&self, key: &str) -> Option<&str>;
    /// A whole number.
    fn int(&self, key: &str) -> Option<i64>;
    /// True where the field is `true`.
    fn flag(&self, key: &str) -> bool;
    /// The elements of a list, none where there is no list.
    fn items(&self, key: &str) -> &[Value];
    /// The entries of an object.
    fn entries(&self, key: &str) -> impl Iterator<Item = (&str, &Value)>;
}

impl View for Value {
    fn at(&self, key: &str) -> Option<&Value> {
        self.get(key).filter(|value| !value.is_null())
    }

    fn path(&self, keys: &[&str]) -> Option<&Value> {
        keys.iter().try_fold(self, |value, key| value.at(key))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    fn filled(&self, key: &str) -> Option<&str> {
        self.text(key).filter(|text| !text.is_empty())
    }

    fn int(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_i64()
    }

    fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    fn items(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn entries(&self, key: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.get(key).and_then(Value::as_object).into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }
}

/// Writers.
pub(crate) trait Edit {
    /// The field for editing, unless it is absent or null.
    fn at_mut(&mut self, key: &str) -> Option<&mut Value>;
    /// The nested field for editing.
    fn path_mut(&mut self, keys: &[&str]) -> Option<&mut Value>;
    /// The elements of a list for editing.
    fn items_mut(&mut self, key: &str) -> impl Iterator<Item = &mut Value>;
    /// Sets a field that is absent, null or an empty string.
    fn set_default<V: Into<Value>>(&mut self, key: &str, value: V);
    /// Sets a number that is absent, null or 0 (fields that Go cannot tell from unset).
    fn set_default_nonzero(&mut self, key: &str, value: i64);
    /// The object in the field, made where it is absent or null; `None` where something else stands there.
    fn object_mut(&mut self, key: &str) -> Option<&mut Value>;
    /// Sets a field of an object.
    fn set<V: Into<Value>>(&mut self, key: &str, value: V);
    /// Takes a field out.
    fn remove(&mut self, key: &str) -> Option<Value>;
}

impl Edit for Value {
    fn at_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.get_mut(key).filter(|value| !value.is_null())
    }

    fn path_mut(&mut self, keys: &[&str]) -> Option<&mut Value> {
        keys.iter().try_fold(self, |value, key| value.at_mut(key))
    }

    fn items_mut(&mut self, key: &str) -> impl Iterator<Item = &mut Value> {
        self.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
    }

    fn set_default<V: Into<Value>>(&mut self, key: &str, value: V) {
        let unset = match self.get(key) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(_) => false,
        };
        if unset {
            self.set(key, value);
        }
    }

    fn set_default_nonzero(&mut self, key: &str, value: i64) {
        if self.at(key).is_none_or(|current| current.as_i64() == Some(0)) {
            self.set(key, value);
        }
    }

    fn object_mut(&mut self, key: &str) -> Option<&mut Value> {
        if self.at(key).is_none() {
            self.set(key, Value::Object(Map::new()));
        }
        self.get_mut(key).filter(|value| value.is_object())
    }

    fn set<V: Into<Value>>(&mut self, key: &str, value: V) {
        if let Some(object) = self.as_object_mut() {
            object.insert(key.to_owned(), value.into());
        }
    }

    fn remove(&mut self, key: &str) -> Option<Value> {
        self.as_object_mut()?.remove(key).filter(|value| !value.is_null())
    }
}

/// `{}`.
pub(crate) fn empty() -> Value {
    Value::Object(Map::new())
}

/// Whether a map or list is absent or has no element.
pub(crate) fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// Whether two optional values mean the same to the API: null and absent are equal, and so are absent and empty.
pub(crate) fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    if is_empty(one) && is_empty(other) { true } else { one == other }
}
