//! Sprig's questions about types, and its defaults.

use super::{
    Function,
    Parameter::{Any, Bool, String},
    arguments, fixed, variadic,
};
use crate::helm::{
    failure::Failure,
    value::{MAX_VALUE_DEPTH, Map, Value, deep_equal},
};

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("typeOf", &[Any], |_, given| Ok(arguments::any(given, 0).type_name().into())),
    fixed("typeIs", &[String, Any], |_, given| {
        Ok((arguments::any(given, 1).type_name().as_bytes() == arguments::bytes(given, 0)).into())
    }),
    fixed("typeIsLike", &[String, Any], |_, given| {
        let (name, wanted) = (arguments::any(given, 1).type_name(), arguments::text(given, 0));
        Ok((name == wanted || name.strip_prefix('*') == Some(wanted.as_ref())).into())
    }),
    fixed("kindOf", &[Any], |_, given| Ok(arguments::any(given, 0).kind_name().into())),
    fixed("kindIs", &[String, Any], |_, given| {
        Ok((arguments::any(given, 1).kind_name().as_bytes() == arguments::bytes(given, 0)).into())
    }),
    fixed("deepEqual", &[Any, Any], |_, given| {
        Ok(deep_equal(&arguments::any(given, 0), &arguments::any(given, 1), MAX_VALUE_DEPTH).into())
    }),
    variadic("default", &[Any], Any, |_, given| {
        Ok(match given.get(1) {
            Some(value) if value.truth() => value.clone(),
            _ => arguments::any(given, 0),
        })
    }),
    fixed("empty", &[Any], |_, given| Ok((!arguments::any(given, 0).truth()).into())),
    variadic("coalesce", &[], Any, |_, given| {
        Ok(given.iter().find(|value| value.truth()).cloned().unwrap_or(Value::Nil))
    }),
    variadic("all", &[], Any, |_, given| Ok(given.iter().all(Value::truth).into())),
    variadic("any", &[], Any, |_, given| Ok(given.iter().any(Value::truth).into())),
    fixed("ternary", &[Any, Any, Bool], |_, given| {
        Ok(arguments::any(given, usize::from(!matches!(given.get(2), Some(Value::Bool(true))))))
    }),
    fixed("deepCopy", &[Any], |_, given| deep_copy(&arguments::any(given, 0), MAX_VALUE_DEPTH)),
    fixed("mustDeepCopy", &[Any], |_, given| deep_copy(&arguments::any(given, 0), MAX_VALUE_DEPTH)),
];

/// The same value, sharing no map with the original.
pub(super) fn deep_copy(value: &Value, depth: usize) -> super::Outcome {
    if depth == 0 {
        return Err(Failure::limit("a value is nested too deep to be copied"));
    }
    Ok(match value {
        Value::List(list) => {
            let items: Result<Vec<Value>, Failure> = list.items.iter().map(|item| deep_copy(item, depth - 1)).collect();
            Value::typed_list(list.element, items?)
        }
        Value::Map(map) => {
            let mut entries = crate::helm::value::Entries::new();
            for (key, item) in map.entries().iter() {
                entries.insert(crate::helm::value::Text::clone(key), deep_copy(item, depth - 1)?);
            }
            Value::Map(Map::typed(map.element(), entries))
        }
        other => other.clone(),
    })
}
