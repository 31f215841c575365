//! Sprig's list functions. Those named `must…` and their plain twins fail alike: the plain ones panic, which is also an error.

use super::{
    Function, Outcome,
    Parameter::{Any, Int},
    arguments, fixed,
    numbers::to_int64,
    variadic,
};
use crate::helm::{
    failure::Failure,
    held::{ELEMENT_BYTES, LIST_BYTES},
    template::evaluate::Evaluator,
    value::{Element, MAX_VALUE_DEPTH, Value, deep_equal},
};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("list", &[], Any, |_, given| Ok(Value::list(given.to_vec()))),
    variadic("tuple", &[], Any, |_, given| Ok(Value::list(given.to_vec()))),
    fixed("append", &[Any, Any], append),
    fixed("push", &[Any, Any], append),
    fixed("mustAppend", &[Any, Any], append),
    fixed("mustPush", &[Any, Any], append),
    fixed("prepend", &[Any, Any], prepend),
    fixed("mustPrepend", &[Any, Any], prepend),
    fixed("first", &[Any], first),
    fixed("mustFirst", &[Any], first),
    fixed("last", &[Any], last),
    fixed("mustLast", &[Any], last),
    fixed("rest", &[Any], rest),
    fixed("mustRest", &[Any], rest),
    fixed("initial", &[Any], initial),
    fixed("mustInitial", &[Any], initial),
    fixed("reverse", &[Any], reverse),
    fixed("mustReverse", &[Any], reverse),
    fixed("chunk", &[Int, Any], chunk),
    fixed("mustChunk", &[Int, Any], chunk),
    variadic("slice", &[Any], Any, slice),
    variadic("mustSlice", &[Any], Any, slice),
    variadic("concat", &[], Any, concat),
];

fn append(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let list = arguments::list(given, 0, "push")?;
    let mut items = Vec::with_capacity(list.items.len() + 1);
    items.extend_from_slice(&list.items);
    items.push(arguments::any(given, 1));
    Ok(Value::list(items))
}

fn prepend(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let list = arguments::list(given, 0, "prepend")?;
    let mut items = Vec::with_capacity(list.items.len() + 1);
    items.push(arguments::any(given, 1));
    items.extend_from_slice(&list.items);
    Ok(Value::list(items))
}

fn first(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    Ok(arguments::list(given, 0, "find first")?.items.first().cloned().unwrap_or(Value::Nil))
}

fn last(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    Ok(arguments::list(given, 0, "find last")?.items.last().cloned().unwrap_or(Value::Nil))
}

fn rest(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let list = arguments::list(given, 0, "find rest")?;
    Ok(list.items.split_first().map_or_else(|| Value::nil_list(Element::Any), |(_, rest)| Value::list(rest.to_vec())))
}

fn initial(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let list = arguments::list(given, 0, "find initial")?;
    Ok(list.items.split_last().map_or_else(|| Value::nil_list(Element::Any), |(_, rest)| Value::list(rest.to_vec())))
}

fn reverse(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let mut items = arguments::list(given, 0, "find reverse")?.items.clone();
    items.reverse();
    Ok(Value::list(items))
}

fn chunk(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let list = arguments::list(given, 1, "chunk")?;
    let size = match usize::try_from(arguments::int(given, 0)) {
        Ok(size) if size > 0 => size,
        _ => return Err(Failure::new("runtime error: integer divide by zero")),
    };
    let chunks = list.items.len().div_ceil(size);
    evaluator.has_room(chunks.saturating_mul(LIST_BYTES).saturating_add(list.items.len() * ELEMENT_BYTES))?;
    Ok(Value::typed_list(Element::List, list.items.chunks(size).map(|part| Value::list(part.to_vec())).collect()))
}

fn slice(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let list = arguments::list(given, 0, "slice")?;
    let length = list.items.len();
    if length == 0 {
        return Ok(Value::Nil);
    }
    let (start, end) =
        (given.get(1).map_or(0, to_int64), given.get(2).map_or(i64::try_from(length).unwrap_or(0), to_int64));
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    match range.and_then(|(start, end)| list.items.get(start..end)) {
        Some(items) => Ok(Value::typed_list(list.element, items.to_vec())),
        None => Err(Failure::new("reflect.Value.Slice: slice index out of bounds")),
    }
}

fn concat(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let mut items = Vec::new();
    for (index, value) in given.iter().enumerate() {
        if value.as_items().is_none() {
            return Err(Failure::new(format!("Cannot concat type {} as list", value.kind_name())));
        }
        items.extend_from_slice(&arguments::list(given, index, "concat")?.items);
    }
    Ok(if items.is_empty() { Value::nil_list(Element::Any) } else { Value::list(items) })
}

/// Pairs that one comparison of two values may look at.
const MAX_PAIRS: u64 = 10_000_000;

/// Whether two values are the same all the way down; costs steps for every pair beyond the first.
pub(super) fn equal(evaluator: &mut Evaluator<'_>, left: &Value, right: &Value) -> Result<bool, Failure> {
    let mut fuel = MAX_PAIRS;
    let found = deep_equal(left, right, MAX_VALUE_DEPTH, &mut fuel);
    evaluator.spend((MAX_PAIRS - fuel).saturating_sub(1))?;
    if fuel == 0 { Err(Failure::limit("the values have too many parts to be compared")) } else { Ok(found) }
}

/// Whether a list has the value; costs steps, since every pair is compared.
pub(super) fn contains(evaluator: &mut Evaluator<'_>, items: &[Value], wanted: &Value) -> Result<bool, Failure> {
    evaluator.spend(items.len() as u64 / 4)?;
    for item in items {
        if equal(evaluator, item, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}
