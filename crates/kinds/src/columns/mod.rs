//! Cells of `kubectl get`, as a real cluster shows them. One file for each family of kinds; every cell is a pure function of
//! the object and the time.

pub(crate) mod admission;
pub(crate) mod autoscaling;
pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod event;
pub(crate) mod jobs;
pub(crate) mod network;
pub(crate) mod pod;
pub(crate) mod rbac;
pub(crate) mod storage;
pub(crate) mod workloads;

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use crate::{Column, ColumnType, age};

/// What an absent value looks like.
pub(crate) const NONE: &str = "<none>";

/// A text column.
pub(crate) fn text<T: Into<Value> + 'static>(
    name: &'static str,
    description: &'static str,
    cell: fn(&Value) -> T,
) -> Column {
    column(name, ColumnType::String, description, move |object, _| cell(object).into())
}

/// A column of whole numbers; an absent number is 0, as in Go.
pub(crate) fn integer(name: &'static str, description: &'static str, pointer: &'static str) -> Column {
    column(name, ColumnType::Integer, description, move |object, _| {
        object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0).into()
    })
}

/// A text column that shows one field, empty when absent.
pub(crate) fn field(name: &'static str, description: &'static str, pointer: &'static str) -> Column {
    field_or(name, description, pointer, "")
}

/// A text column that shows one field, or `absent`.
pub(crate) fn field_or(
    name: &'static str,
    description: &'static str,
    pointer: &'static str,
    absent: &'static str,
) -> Column {
    column(name, ColumnType::String, description, move |object, _| match object.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => text.as_str().into(),
        Some(Value::Bool(value)) => value.to_string().into(),
        Some(Value::Number(value)) => value.to_string().into(),
        _ => absent.into(),
    })
}

/// Any column.
pub(crate) fn column(
    name: impl Into<Cow<'static, str>>,
    kind: ColumnType,
    description: impl Into<Cow<'static, str>>,
    cell: impl Fn(&Value, Timestamp) -> Value + Send + Sync + 'static,
) -> Column {
    Column {
        name: name.into(),
        kind,
        format: Cow::Borrowed(""),
        description: description.into(),
        priority: 0,
        cell: Arc::new(cell),
    }
}

/// The column that every table begins with.
pub(crate) fn name() -> Column {
    Column {
        format: Cow::Borrowed("name"),
        ..field("Name", "Name of the object, unique within its namespace.", "/metadata/name")
    }
}

/// Time since creation.
pub(crate) fn age() -> Column {
    since("Age", "Time since the object was created.", "/metadata/creationTimestamp")
}

/// Time since the moment in a field.
pub(crate) fn since(name: &'static str, description: &'static str, pointer: &'static str) -> Column {
    column(name, ColumnType::String, description, move |object, now| age::since(object.pointer(pointer), now).into())
}

/// Columns of a kind that has none of its own.
pub(crate) fn name_and_created_at() -> Vec<Column> {
    vec![
        name(),
        column("Created At", ColumnType::Date, "Time at which the server created the object.", |object, _| {
            object.pointer("/metadata/creationTimestamp").cloned().unwrap_or(Value::Null)
        }),
    ]
}

// === impl Column ===

impl Column {
    /// Shown with `-o wide` only.
    pub(crate) fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}
