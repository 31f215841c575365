//! The `Table` and `PartialObjectMetadata` shapes.

use jiff::Timestamp;
use lotse_kinds::{ColumnType, Kind};
use serde_json::{Map, Value, json};

use crate::status::{Error, Result};

/// Which part of each object a table row carries (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Reads the query parameter.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self> {
        match text {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(Error::bad_request(format!("invalid includeObject value {other:?}"))),
        }
    }
}

/// A table of these objects. `metadata` is the list's.
pub(crate) fn table(kind: &Kind, objects: Vec<Value>, metadata: Value, include: Include, columns: bool) -> Value {
    let now = Timestamp::now();
    let rows: Vec<Value> = objects.into_iter().map(|object| row(kind, object, include, now)).collect();
    let definitions: Vec<Value> = if columns { definitions(kind) } else { Vec::new() };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn definitions(kind: &Kind) -> Vec<Value> {
    kind.columns
        .iter()
        .map(|column| {
            let r#type = match column.kind {
                ColumnType::String => "string",
                ColumnType::Integer => "integer",
                ColumnType::Number => "number",
                ColumnType::Boolean => "boolean",
                ColumnType::Date => "date",
            };
            json!({
                "name": column.name, "type": r#type, "format": column.format,
                "description": column.description, "priority": column.priority,
            })
        })
        .collect()
}

fn row(kind: &Kind, object: Value, include: Include, now: Timestamp) -> Value {
    let cells: Vec<Value> = kind.columns.iter().map(|column| (column.cell)(&object, now)).collect();
    let mut row = Map::new();
    row.insert("cells".to_owned(), cells.into());
    match include {
        Include::None => {}
        Include::Metadata => {
            row.insert("object".to_owned(), metadata_only(object));
        }
        Include::Object => {
            row.insert("object".to_owned(), object);
        }
    }
    Value::Object(row)
}

/// Type and metadata of an object.
pub(crate) fn metadata_only(mut object: Value) -> Value {
    let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}
