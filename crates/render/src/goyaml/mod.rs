//! YAML as go-yaml reads and writes it, byte for byte.
//!
//! Helm's `toYaml` and what Kustomize prints depend on the exact text: checksums of it decide whether pods restart. What the
//! API server reads goes through [`crate::yaml`] instead. [`Dialect`] chooses between the rules of go-yaml 2 (Helm) and 3
//! (Kustomize); see `docs/adr/0005-go-yaml.md`.
//!
//! Everything is bounded: bytes, nesting, and what aliases may expand to.

mod emit;
mod json;
mod node;
mod parse;
mod resolve;
mod scalar;
mod timestamp;
mod value;

pub use emit::{EmitStyle, emit, emit_onto, natural_order};
pub use json::{from_json, from_json_value, numbers_to_float, to_json, to_json_in_order, to_json_value};
pub use node::{Node, Scalar, ScalarStyle, Tag};
pub use parse::{parse_documents, parse_first, parse_first_node, parse_nodes};
pub use resolve::{is_string, resolve_scalar, to_value};
pub use scalar::style_of;
pub use value::{Bytes, Map, Value};

/// Whose rules decide what an unquoted word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// go-yaml 2, through JSON, as Helm reads and writes: `yes`, `on` and `y` are booleans, timestamps stay strings.
    V2,
    /// go-yaml 3, as Kustomize reads: only `true` and `false` are booleans, timestamps become full RFC 3339.
    V3,
}

/// Larger inputs are refused.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Texts of more values than this are refused: each takes many times the memory of the byte that it may be written with.
pub const MAX_VALUES: usize = 1 << 20;

/// The message of [`Error`] when there are more.
pub const TOO_MANY_VALUES: &str = "more than 1048576 values";

/// Deeper nesting is refused.
pub const MAX_DEPTH: usize = 100;

/// Why a text is no YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Error {
    /// From 1; 0 when unknown.
    pub line: u64,
    /// From 1; 0 when unknown.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

// === impl Error ===

impl Error {
    /// An error at a position (from 1; 0 when unknown).
    pub fn new(line: u64, column: u64, message: impl Into<String>) -> Self {
        Self { line, column, message: message.into() }
    }

    fn text(&self) -> String {
        match (self.line, self.column) {
            (0, _) => self.message.clone(),
            (line, 0) => format!("line {line}: {}", self.message),
            (line, column) => format!("line {line}, column {column}: {}", self.message),
        }
    }
}

#[cfg(test)]
mod tests;
