//! Merging maps as the `mergo` library does: in place, empty means unset, lists are not merged.

use crate::helm::{
    failure::Failure,
    template::evaluate::Evaluator,
    value::{MAX_VALUE_DEPTH, Map, Text, Value},
};

/// Merges `from` into `into`; with `overwrite`, what `from` has wins.
pub(super) fn merge(
    evaluator: &mut Evaluator<'_>,
    into: &Map,
    from: &Map,
    overwrite: bool,
    depth: usize,
) -> Result<(), Failure> {
    if depth > MAX_VALUE_DEPTH {
        return Err(Failure::limit("a value is nested too deep to be merged"));
    }
    if into.same(from) {
        return Ok(());
    }
    let entries: Vec<(Text, Value)> =
        from.entries().iter().map(|(key, value)| (Text::clone(key), value.clone())).collect();
    evaluator.reserve(entries.len() * 16)?;
    for (key, new) in entries {
        let old = into.get(&key);
        if let Value::Nil | Value::Invalid = new {
            if overwrite {
                into.insert(key, Value::Nil);
            }
            continue;
        }
        if let (Some(Value::Map(old)), Value::Map(new)) = (&old, &new) {
            merge(evaluator, old, new, overwrite, depth + 1)?;
            if old.len() > 0 {
                continue;
            }
        }
        let unset = old.as_ref().is_none_or(|old| !old.truth());
        if overwrite || unset {
            if matches!(new, Value::Map(_) | Value::List(_)) {
                evaluator.changes(into);
            }
            into.insert(key, new);
        }
    }
    Ok(())
}
