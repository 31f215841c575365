//! Tests of the table of kinds through its public face.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod defaults;
mod robustness;
mod table;
mod validation;

use std::sync::Arc;

use lotse_kinds::{Kind, Strategy};
use lotse_schema::Cause;
use serde_json::Value;

/// The row of a kind.
fn kind(api_version: &str, name: &str) -> &'static Arc<Kind> {
    let mut rows = lotse_kinds::builtin().iter();
    rows.find(|kind| kind.api_version() == api_version && kind.kind == name).expect("a row")
}

/// The row of the object's kind.
fn kind_of(object: &Value) -> &'static Arc<Kind> {
    kind(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap())
}

/// What a write does before it is stored: default, prepare, schema, validate.
fn write(strategy: Strategy, mut object: Value, old: Option<&Value>) -> Result<Value, Vec<Cause>> {
    let kind = kind_of(&object);
    if let Some(default) = kind.hooks.default {
        default(&mut object);
    }
    if let Some(prepare) = kind.hooks.prepare {
        prepare(strategy, &mut object, old)?;
    }
    let mut causes = (kind.schema)().validate(&object);
    if let Some(validate) = kind.hooks.validate {
        causes.extend(validate(strategy, &object, old));
    }
    if causes.is_empty() { Ok(object) } else { Err(causes) }
}

fn sentences(causes: &[Cause]) -> Vec<String> {
    causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}
