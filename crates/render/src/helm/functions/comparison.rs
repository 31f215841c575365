//! `eq`, `ne`, `lt`, `le`, `gt`, `ge`: strict about kinds, as in Go.

use std::{cmp::Ordering, rc::Rc};

use super::{Function, Parameter::Reflect, fixed, variadic};
use crate::helm::{
    failure::Failure,
    value::{Kind, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("eq", &[Reflect], Reflect, |_, given| {
        let Some((first, others)) = given.split_first() else {
            return Err(Failure::new("missing argument for comparison"));
        };
        if others.is_empty() {
            return Err(Failure::new("missing argument for comparison"));
        }
        for other in others {
            if equal(first, other)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    fixed("ne", &[Reflect, Reflect], |_, given| pair(given, |left, right| Ok(!equal(left, right)?))),
    fixed("lt", &[Reflect, Reflect], |_, given| {
        pair(given, |left, right| Ok(order(left, right)? == Some(Ordering::Less)))
    }),
    fixed("le", &[Reflect, Reflect], |_, given| {
        pair(given, |left, right| Ok(matches!(order(left, right)?, Some(Ordering::Less | Ordering::Equal))))
    }),
    fixed("gt", &[Reflect, Reflect], |_, given| {
        pair(given, |left, right| Ok(!matches!(order(left, right)?, Some(Ordering::Less | Ordering::Equal))))
    }),
    fixed("ge", &[Reflect, Reflect], |_, given| {
        pair(given, |left, right| Ok(order(left, right)? != Some(Ordering::Less)))
    }),
];

fn pair(given: &[Value], compare: impl Fn(&Value, &Value) -> Result<bool, Failure>) -> super::Outcome {
    match given {
        [left, right] => compare(left, right).map(Value::Bool),
        _ => Err(Failure::new("missing argument for comparison")),
    }
}

fn incompatible(left: &Value, right: &Value) -> Failure {
    Failure::new(format!("incompatible types for comparison: {} and {}", left.type_name(), right.type_name()))
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Int | Kind::Uint)
}

fn equal(left: &Value, right: &Value) -> Result<bool, Failure> {
    let (left_kind, right_kind) = (left.kind(), right.kind());
    if is_number(left_kind) && is_number(right_kind) {
        return Ok(left.as_integer() == right.as_integer());
    }
    let basic = |kind| matches!(kind, Kind::Bool | Kind::Float | Kind::Complex | Kind::String) || is_number(kind);
    if left_kind != right_kind && (basic(left_kind) || basic(right_kind)) {
        if left.is_nil() || right.is_nil() {
            return Ok(false);
        }
        return Err(incompatible(left, right));
    }
    match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Complex(a, b), Value::Complex(c, d)) => Ok(a == c && b == d),
        (Value::String(a), Value::String(b)) => Ok(a == b),
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (Value::Invalid | Value::Nil, Value::Invalid | Value::Nil) => Ok(true),
        (Value::Invalid | Value::Nil, other) | (other, Value::Invalid | Value::Nil) => match other {
            // A nil map or slice equals nil.
            Value::Map(map) => Ok(map.is_nil()),
            Value::List(list) => Ok(list.nil),
            _ => Ok(false),
        },
        (Value::Object(a), Value::Object(b)) if a.kind() == Kind::Pointer => Ok(Rc::ptr_eq(a, b)),
        _ => Err(Failure::new(format!("non-comparable types {}, {}", left.type_name(), right.type_name()))),
    }
}

/// The order of two values of comparable kinds; `None` with not-a-number.
fn order(left: &Value, right: &Value) -> Result<Option<Ordering>, Failure> {
    for value in [left, right] {
        if matches!(value.kind(), Kind::Invalid | Kind::Slice | Kind::Map | Kind::Struct | Kind::Pointer) {
            return Err(Failure::new("invalid type for comparison"));
        }
    }
    match (left, right) {
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::String(a), Value::String(b)) => Ok(Some(a.cmp(b))),
        _ => match (left.as_integer(), right.as_integer()) {
            (Some(a), Some(b)) => Ok(Some(a.cmp(&b))),
            _ if left.kind() == right.kind() => Err(Failure::new("invalid type for comparison")),
            _ => Err(incompatible(left, right)),
        },
    }
}
