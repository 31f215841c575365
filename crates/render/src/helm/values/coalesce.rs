//! Joins the caller's values with those of a chart and its subcharts. What is higher up wins, and `null` takes a default away.

use super::{Tree, Value};
use crate::helm::chart::Chart;

/// The table that every subchart sees.
const GLOBAL: &[u8] = b"global";

/// What happens to nulls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::helm) enum Nulls {
    /// They take a default away and are gone with it: for rendering. Without a default they stay.
    Remove,
    /// They stay, so that they can take defaults away later: for import-values.
    Keep,
}

/// The values of a chart and, below the subcharts' names, of these. An error names the subchart whose place holds no table.
pub(in crate::helm) fn coalesce(chart: &Chart, values: &Tree, nulls: Nulls) -> Result<Tree, String> {
    let mut values = values.clone();
    chart_and_below(chart, &mut values, nulls)?;
    Ok(values)
}

fn chart_and_below(chart: &Chart, values: &mut Tree, nulls: Nulls) -> Result<(), String> {
    defaults(chart, values, nulls);
    for subchart in &chart.dependencies {
        let name = subchart.metadata.name.as_bytes();
        let mut below = match values.get(name) {
            None => Tree::new(),
            Some(Value::Map(map)) => map.clone(),
            Some(_) => {
                return Err(format!(
                    "type mismatch on {}: values of a subchart must be a table",
                    subchart.metadata.name
                ));
            }
        };
        globals(&mut below, values);
        chart_and_below(subchart, &mut below, nulls)?;
        values.insert(name.into(), Value::Map(below));
    }
    Ok(())
}

/// Adds the chart's own defaults.
fn defaults(chart: &Chart, values: &mut Tree, nulls: Nulls) {
    for (key, default) in &chart.values {
        match values.get_mut(key) {
            Some(Value::Null) if nulls == Nulls::Remove && !default.is_null() => {
                values.shift_remove(key);
            }
            Some(Value::Map(given)) => {
                if let Value::Map(default) = default {
                    // A subchart's part keeps its nulls until the subchart's own defaults are there.
                    let is_subchart =
                        chart.dependencies.iter().any(|subchart| subchart.metadata.name.as_bytes() == &**key);
                    tables(given, default, if is_subchart { Nulls::Keep } else { nulls });
                }
            }
            Some(_) => {}
            None => {
                values.insert(key.clone(), default.clone());
            }
        }
    }
}

/// Adds what `given` lacks; tables are joined.
pub(in crate::helm) fn tables(given: &mut Tree, defaults: &Tree, nulls: Nulls) {
    for (key, default) in defaults {
        match given.get_mut(key) {
            Some(Value::Null) if nulls == Nulls::Remove && !default.is_null() => {
                given.shift_remove(key);
            }
            Some(Value::Map(below)) => {
                if let Value::Map(default) = default {
                    tables(below, default, nulls);
                }
            }
            Some(_) => {}
            None => {
                given.insert(key.clone(), default.clone());
            }
        }
    }
}

/// Gives a subchart the globals from above; these win.
fn globals(below: &mut Tree, above: &Tree) {
    let source = match above.get(GLOBAL) {
        None => Tree::new(),
        Some(Value::Map(map)) => map.clone(),
        Some(_) => return,
    };
    let mut target = match below.get(GLOBAL) {
        None => Tree::new(),
        Some(Value::Map(map)) => map.clone(),
        Some(_) => return,
    };
    for (key, value) in source {
        match (value, target.get_mut(&key)) {
            (Value::Map(mut from_above), Some(Value::Map(own))) => {
                tables(&mut from_above, own, Nulls::Keep);
                target.insert(key, Value::Map(from_above));
            }
            (Value::Map(_), Some(_)) | (_, Some(Value::Map(_))) => {}
            (value, _) => {
                target.insert(key, value);
            }
        }
    }
    below.insert(GLOBAL.into(), Value::Map(target));
}
