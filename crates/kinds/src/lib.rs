//! Kinds as data: one row for each built-in kind, and the small pure hooks where a kind differs.
//!
//! Router, discovery, OpenAPI, tables, RBAC and the coverage tests derive from these rows; a CustomResourceDefinition makes
//! the same [`Kind`] at run time, so typed and custom objects travel one path.

mod age;
mod columns;
mod crd;
mod findings;
mod hooks;
mod json;
mod jsonpath;
mod kind;
mod quantity;
mod row;
mod rows;

pub use age::human_duration;
pub use crd::{bundled_crds, from_crd};
pub use kind::{
    Cell, Column, ColumnType, DefaultHook, Hooks, Kind, NoConversion, PrepareHook, ScalePaths, Storage, StoredAs,
    Strategy, ValidateHook,
};
pub use rows::builtin;
