//! Kinds as data: one row for each built-in kind, and the small pure hooks where a kind differs.
//!
//! Router, discovery, OpenAPI, tables, RBAC and the coverage tests derive from these rows; a CustomResourceDefinition makes
//! the same [`Kind`] at run time, so typed and custom objects travel one path.

mod age;
mod columns;
mod kind;
mod row;
mod rows;

pub use kind::{Column, ColumnType, Hooks, Kind, ScalePaths, Storage, StoredAs, Strategy};
pub use rows::builtin;
