//! Sprig's questions about types, and its defaults.

use super::{
    Function,
    Parameter::{Any, Bool, String},
    arguments, fixed,
    lists::equal,
    variadic,
};
use crate::helm::{
    failure::Failure,
    template::evaluate::Evaluator,
    value::{MAX_VALUE_DEPTH, Map, Value},
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
    fixed("deepEqual", &[Any, Any], |evaluator, given| {
        Ok(equal(evaluator, &arguments::any(given, 0), &arguments::any(given, 1))?.into())
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
    fixed("deepCopy", &[Any], copy),
    fixed("mustDeepCopy", &[Any], copy),
];

fn copy(evaluator: &mut Evaluator<'_>, given: &[Value]) -> super::Outcome {
    let value = arguments::any(given, 0);
    if value.is_nil() {
        return Err(Failure::new("reflect: call of reflect.Value.Type on zero Value"));
    }
    deep_copy(evaluator, &value, MAX_VALUE_DEPTH)
}

/// Bytes that a copied part is reckoned at.
const COPY_BYTES: usize = 64;

/// The same value, sharing no map with the original. What appears in it several times is copied as often.
pub(super) fn deep_copy(evaluator: &mut Evaluator<'_>, value: &Value, depth: usize) -> super::Outcome {
    if depth == 0 {
        return Err(Failure::limit("a value is nested too deep to be copied"));
    }
    evaluator.reserve(COPY_BYTES)?;
    Ok(match value {
        Value::List(list) => {
            let items: Result<Vec<Value>, Failure> =
                list.items.iter().map(|item| deep_copy(evaluator, item, depth - 1)).collect();
            Value::typed_list(list.element, items?)
        }
        Value::Map(map) => {
            let mut entries = crate::helm::value::Entries::new();
            evaluator.has_room(map.len().saturating_mul(crate::helm::held::ENTRY_BYTES))?;
            for (key, item) in map.entries().iter() {
                entries.insert(crate::helm::value::Text::clone(key), deep_copy(evaluator, item, depth - 1)?);
            }
            let copy = Map::typed(map.element(), entries);
            Value::Map(if map.is_values() { copy.as_values() } else { copy })
        }
        other => other.clone(),
    })
}
