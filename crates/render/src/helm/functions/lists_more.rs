//! Sprig's list functions that compare or filter elements.

use super::{Function, Outcome, Parameter::Any, arguments, fixed, lists::contains, variadic};
use crate::helm::{failure::Failure, template::evaluate::Evaluator, value::Value};

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("uniq", &[Any], uniq),
    fixed("mustUniq", &[Any], uniq),
    variadic("without", &[Any], Any, without),
    variadic("mustWithout", &[Any], Any, without),
    fixed("has", &[Any, Any], has),
    fixed("mustHas", &[Any, Any], has),
    fixed("compact", &[Any], compact),
    fixed("mustCompact", &[Any], compact),
];

fn uniq(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let mut out: Vec<Value> = Vec::new();
    for item in &arguments::list(given, 0, "find uniq")?.items {
        if !contains(evaluator, &out, item)? {
            out.push(item.clone());
        }
    }
    Ok(Value::list(out))
}

fn without(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let mut out = Vec::new();
    for item in &arguments::list(given, 0, "find without")?.items {
        if !contains(evaluator, arguments::rest(given, 1), item)? {
            out.push(item.clone());
        }
    }
    Ok(Value::list(out))
}

fn has(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    if given.get(1).is_none_or(Value::is_nil) {
        return Ok(Value::Bool(false));
    }
    let list = arguments::list(given, 1, "find has").map_err(|failure| Failure::new(failure.message))?;
    contains(evaluator, &list.items, &arguments::any(given, 0)).map(Value::Bool)
}

fn compact(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let list = arguments::list(given, 0, "compact")?;
    Ok(Value::list(list.items.iter().filter(|item| item.truth()).cloned().collect()))
}
