//! `values.schema.json`.

use jsonschema::Validator;

use super::Chart;
use crate::{
    goyaml,
    helm::values::{Tree, Value},
};

/// Messages that are shown of one chart.
const SHOWN: usize = 10;

/// Checks the values of a chart and of its subcharts. The error lists what is wrong, chart by chart.
pub(in crate::helm) fn validate(chart: &Chart, values: &Tree) -> Result<(), String> {
    let mut problems = String::new();
    collect(chart, values, &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn collect(chart: &Chart, values: &Tree, problems: &mut String) {
    if let Some(schema) = &chart.schema {
        let found = check(schema, values);
        if !found.is_empty() {
            problems.push_str(&format!("{}:\n", chart.metadata.name));
            found.iter().for_each(|problem| problems.push_str(&format!("- {problem}\n")));
        }
    }
    for subchart in &chart.dependencies {
        if let Some(Value::Map(below)) = values.get(subchart.metadata.name.as_bytes()) {
            collect(subchart, below, problems);
        }
    }
}

fn check(schema: &[u8], values: &Tree) -> Vec<String> {
    let schema: serde_json::Value = match serde_json::from_slice(schema) {
        Ok(schema) => schema,
        Err(error) => return vec![format!("values.schema.json: {error}")],
    };
    let validator: Validator = match jsonschema::options().build(&schema) {
        Ok(validator) => validator,
        Err(error) => return vec![format!("values.schema.json: {error}")],
    };
    let values = goyaml::to_json_value(&Value::Map(values.clone()));
    let describe = |error: jsonschema::ValidationError<'_>| match error.instance_path().to_string() {
        path if path.is_empty() => error.to_string(),
        path => format!("at '{path}': {error}"),
    };
    validator.iter_errors(&values).take(SHOWN).map(describe).collect()
}
