//! Values with methods and fixed fields: `.Files`, `.Capabilities`, `.Chart`, versions.

use std::rc::Rc;

use super::{
    failure::Failure,
    functions::Parameter,
    value::{Kind, Text, Value},
};

/// A method's parameters.
#[derive(Clone, Copy)]
pub(crate) struct Signature {
    pub(crate) parameters: &'static [Parameter],
}

/// A Go value that is neither a plain scalar, slice nor map.
pub(crate) trait Object {
    /// As `%T` prints it.
    fn type_name(&self) -> &'static str;

    fn kind(&self) -> Kind {
        Kind::Struct
    }

    fn truth(&self) -> bool {
        true
    }

    /// A field, or an entry when it is a map; `Nil` for a missing entry of a map.
    fn field(&self, _name: &[u8]) -> Option<Value> {
        None
    }

    fn method(&self, _name: &[u8]) -> Option<Signature> {
        None
    }

    /// Calls a method that [`Object::method`] knows, with arguments of the types that it named.
    fn call(&self, name: &[u8], _arguments: &[Value]) -> Result<Value, Failure> {
        Err(Failure::new(format!("no method {}", String::from_utf8_lossy(name))))
    }

    /// What its `String` method gives, when it has one.
    fn string(&self) -> Option<Text> {
        None
    }

    /// Names and values for printing, ranging (maps) and encoding. The second name is the one in JSON, empty when left out.
    fn members(&self) -> Vec<(Text, Text, Value)> {
        Vec::new()
    }

    /// Elements, when it is a slice.
    fn items(&self) -> Option<Vec<Value>> {
        None
    }

    fn as_version(&self) -> Option<&super::semver::Version> {
        None
    }
}

/// A struct without methods of its own, apart from a `String`.
pub(crate) struct Struct {
    pub(crate) type_name: &'static str,
    pub(crate) pointer: bool,
    /// Go's name, the name in JSON (empty: absent there), the value.
    pub(crate) fields: Vec<(&'static str, &'static str, Value)>,
    pub(crate) string: Option<Text>,
    /// Methods without arguments and what they give.
    pub(crate) getters: Vec<(&'static str, Value)>,
}

impl Struct {
    pub(crate) fn value(type_name: &'static str, fields: Vec<(&'static str, &'static str, Value)>) -> Value {
        Value::Object(Rc::new(Struct { type_name, pointer: false, fields, string: None, getters: Vec::new() }))
    }

    pub(crate) fn pointer(type_name: &'static str, fields: Vec<(&'static str, &'static str, Value)>) -> Value {
        Value::Object(Rc::new(Struct { type_name, pointer: true, fields, string: None, getters: Vec::new() }))
    }
}

impl Object for Struct {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn kind(&self) -> Kind {
        if self.pointer { Kind::Pointer } else { Kind::Struct }
    }

    fn field(&self, name: &[u8]) -> Option<Value> {
        self.fields.iter().find(|(field, _, _)| field.as_bytes() == name).map(|(_, _, value)| value.clone())
    }

    fn method(&self, name: &[u8]) -> Option<Signature> {
        let known = (name == b"String" && self.string.is_some())
            || self.getters.iter().any(|(getter, _)| getter.as_bytes() == name);
        known.then_some(Signature { parameters: &[] })
    }

    fn call(&self, name: &[u8], _arguments: &[Value]) -> Result<Value, Failure> {
        if let Some((_, value)) = self.getters.iter().find(|(getter, _)| getter.as_bytes() == name) {
            return Ok(value.clone());
        }
        Ok(self.string.clone().map_or(Value::Nil, Value::String))
    }

    fn string(&self) -> Option<Text> {
        self.string.clone()
    }

    fn members(&self) -> Vec<(Text, Text, Value)> {
        let member =
            |(name, json, value): &(&str, &str, Value)| (name.as_bytes().into(), json.as_bytes().into(), value.clone());
        self.fields.iter().map(member).collect()
    }
}
