//! `additionalPrinterColumns` of a CustomResourceDefinition as [`Column`]s.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Column, ColumnType, age,
    columns::{self, column},
    json::View,
    jsonpath::JsonPath,
};

/// The name and the columns of the version; the age where it has none, as on a real cluster.
pub(super) fn columns(version: &Value) -> Vec<Column> {
    let additional = version.items("additionalPrinterColumns");
    let mut all = vec![columns::name()];
    if additional.is_empty() {
        all.push(columns::age());
    }
    all.extend(additional.iter().filter_map(additional_column));
    all
}

fn additional_column(definition: &Value) -> Option<Column> {
    let path = JsonPath::parse(definition.filled("jsonPath")?).ok()?;
    let kind = column_type(definition.filled("type")?)?;
    let name = definition.filled("name")?.to_owned();
    let description = definition.text("description").unwrap_or_default().to_owned();
    let mut made = column(name, kind, description, move |object, now| cell(&path, kind, object, now));
    made.format = definition.text("format").unwrap_or_default().to_owned().into();
    made.priority = definition.int("priority").and_then(|priority| i32::try_from(priority).ok()).unwrap_or(0);
    Some(made)
}

pub(super) fn column_type(name: &str) -> Option<ColumnType> {
    match name {
        "string" => Some(ColumnType::String),
        "integer" => Some(ColumnType::Integer),
        "number" => Some(ColumnType::Number),
        "boolean" => Some(ColumnType::Boolean),
        "date" => Some(ColumnType::Date),
        _ => None,
    }
}

/// Text shows all values that the path finds, separated by spaces; the other types show the first one, and nothing when it is of
/// another type.
fn cell(path: &JsonPath, kind: ColumnType, object: &Value, now: Timestamp) -> Value {
    let found = path.find(object);
    let Some(first) = found.first().filter(|value| !value.is_null()) else { return Value::Null };
    match kind {
        ColumnType::String => {
            let texts: Vec<_> = found.iter().map(|value| plain(value)).collect();
            texts.join(" ").into()
        }
        ColumnType::Integer => match (first.as_i64(), first.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(number)) => (number as i64).into(),
            (None, None) => Value::Null,
        },
        ColumnType::Number => first.as_f64().map_or(Value::Null, Value::from),
        ColumnType::Boolean => first.as_bool().map_or(Value::Null, Value::from),
        ColumnType::Date => age::since(Some(first), now).into(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
