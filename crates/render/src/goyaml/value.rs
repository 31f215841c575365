//! Values with Go's idea of strings: bytes.

use std::sync::Arc;

use indexmap::IndexMap;

/// A string of Go: bytes that are usually UTF-8.
pub type Bytes = Arc<[u8]>;

/// A map in the order in which its keys were added. Use `map.get(b"key".as_slice())` to look a key up.
pub type Map = IndexMap<Bytes, Value>;

/// What a document says.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true`, `false`
    Bool(bool),
    /// An integer that fits 64 bits with a sign.
    Int(i64),
    /// An integer above [`i64::MAX`].
    Uint(u64),
    /// A number with a fraction or an exponent, or too large.
    Float(f64),
    /// Text.
    String(Bytes),
    /// A sequence.
    List(Vec<Value>),
    /// A mapping; keys that are no strings were converted as `sigs.k8s.io/yaml` does it.
    Map(Map),
}

// === impl Value ===

impl Value {
    /// A string.
    pub fn string(text: impl AsRef<[u8]>) -> Self {
        Self::String(Bytes::from(text.as_ref()))
    }

    /// The bytes of a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a string, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The entries of a map.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// The value of a key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map().and_then(|map| map.get(key.as_bytes()))
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}
