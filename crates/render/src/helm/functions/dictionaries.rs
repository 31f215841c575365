//! Sprig's functions for maps.

use super::{
    Function, Outcome,
    Parameter::{Any, Map as MapType, String},
    arguments, fixed, merge, variadic,
};
use crate::helm::{
    failure::Failure,
    format,
    template::evaluate::Evaluator,
    value::{Entries, Map, Text, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("dict", &[], Any, dict),
    fixed("get", &[MapType, String], |_, given| {
        Ok(arguments::map(given, 0).get(arguments::bytes(given, 1)).unwrap_or_else(|| Value::string("")))
    }),
    fixed("set", &[MapType, String, Any], set),
    fixed("unset", &[MapType, String], |_, given| {
        let map = arguments::map(given, 0);
        map.remove(arguments::bytes(given, 1));
        Ok(Value::Map(map))
    }),
    fixed("hasKey", &[MapType, String], |_, given| {
        Ok(arguments::map(given, 0).get(arguments::bytes(given, 1)).is_some().into())
    }),
    variadic("pluck", &[String], MapType, |_, given| {
        let maps = (1..given.len()).map(|index| arguments::map(given, index));
        Ok(Value::list(maps.filter_map(|map| map.get(arguments::bytes(given, 0))).collect()))
    }),
    variadic("keys", &[], MapType, |_, given| {
        let maps = (0..given.len()).map(|index| arguments::map(given, index));
        let keys: Vec<Text> = maps.flat_map(|map| map.entries().keys().map(Text::clone).collect::<Vec<_>>()).collect();
        Ok(Value::strings(keys))
    }),
    fixed("values", &[MapType], |_, given| {
        Ok(Value::list(arguments::map(given, 0).entries().values().cloned().collect()))
    }),
    variadic("pick", &[MapType], String, |_, given| {
        let map = arguments::map(given, 0);
        let keys = (1..given.len()).map(|index| arguments::string(given, index));
        Ok(Value::map(keys.filter_map(|key| map.get(&key).map(|value| (key, value))).collect()))
    }),
    variadic("omit", &[MapType], String, |_, given| {
        let map = arguments::map(given, 0);
        let omitted = |key: &Text| arguments::rest(given, 1).iter().any(|name| name.as_bytes() == Some(key));
        let kept: Entries = map
            .entries()
            .iter()
            .filter(|(key, _)| !omitted(key))
            .map(|(key, value)| (Text::clone(key), value.clone()))
            .collect();
        Ok(Value::map(kept))
    }),
    variadic("dig", &[], Any, dig),
    variadic("merge", &[MapType], MapType, |evaluator, given| merge_all(evaluator, given, false)),
    variadic("mustMerge", &[MapType], MapType, |evaluator, given| merge_all(evaluator, given, false)),
    variadic("mergeOverwrite", &[MapType], MapType, |evaluator, given| merge_all(evaluator, given, true)),
    variadic("mustMergeOverwrite", &[MapType], MapType, |evaluator, given| merge_all(evaluator, given, true)),
];

fn dict(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let mut entries = Entries::new();
    for pair in given.chunks(2) {
        let key = format::string_of(&arguments::any(pair, 0), evaluator.limits.text)?;
        entries.insert(key, pair.get(1).cloned().unwrap_or_else(|| Value::string("")));
    }
    Ok(Value::map(entries))
}

fn set(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let map = arguments::map(given, 0);
    let value = arguments::any(given, 2);
    if matches!(value, Value::Map(_) | Value::List(_)) {
        evaluator.reserve(64)?;
        evaluator.changes(&map);
    }
    if !map.insert(arguments::string(given, 1), value) {
        return Err(Failure::new("assignment to entry in nil map"));
    }
    Ok(Value::Map(map))
}

fn dig(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let (Some((last, before)), true) = (given.split_last(), given.len() >= 3) else {
        return Err(Failure::new("dig needs at least three arguments"));
    };
    let Some((default, keys)) = before.split_last() else {
        return Err(Failure::new("dig needs at least three arguments"));
    };
    let mut current = last.clone();
    for key in keys {
        let Value::String(key) = key else {
            return Err(Failure::new(format!(
                "interface conversion: interface {{}} is {}, not string",
                key.type_name()
            )));
        };
        let table = match &current {
            Value::Map(map) if !map.is_values() => Some(map),
            _ => None,
        };
        let Some(map) = table else {
            let found = if current.is_nil() { "nil".to_owned() } else { current.type_name() };
            return Err(Failure::new(format!(
                "interface conversion: interface {{}} is {found}, not map[string]interface {{}}"
            )));
        };
        match map.get(key) {
            Some(next) => current = next,
            None => return Ok(default.clone()),
        }
    }
    Ok(current)
}

fn merge_all(evaluator: &mut Evaluator<'_>, given: &[Value], overwrite: bool) -> Outcome {
    let first = arguments::map(given, 0);
    let into = if first.is_nil() { Map::new(Entries::new()) } else { first };
    for index in 1..given.len() {
        merge::merge(evaluator, &into, &arguments::map(given, index), overwrite, 0)?;
    }
    Ok(Value::Map(into))
}
