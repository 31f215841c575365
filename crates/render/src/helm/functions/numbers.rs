//! Sprig's arithmetic and number conversions.

use super::{
    Function, Outcome,
    Parameter::{Any, Float, Int, String},
    arguments,
    decimal::Decimal,
    fixed, variadic,
};
use crate::{
    helm::{
        failure::Failure,
        format,
        held::ELEMENT_BYTES,
        template::evaluate::Evaluator,
        value::{Element, Value},
    },
    strconv,
};

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("atoi", &[String], |_, given| {
        Ok(Value::Int(strconv::parse_int(&arguments::text(given, 0), 10).unwrap_or_default()))
    }),
    fixed("int", &[Any], |_, given| Ok(Value::Int(to_int64(&arguments::any(given, 0))))),
    fixed("int64", &[Any], |_, given| Ok(Value::Int64(to_int64(&arguments::any(given, 0))))),
    fixed("float64", &[Any], |_, given| Ok(Value::Float(to_float64(&arguments::any(given, 0))))),
    fixed("toDecimal", &[Any], |evaluator, given| {
        let text = format::print(&[arguments::any(given, 0)], evaluator.limits.text)?;
        Ok(Value::Int64(strconv::parse_int(&std::string::String::from_utf8_lossy(&text), 8).unwrap_or_default()))
    }),
    fixed("add1", &[Any], |_, given| Ok(Value::Int64(to_int64(&arguments::any(given, 0)).wrapping_add(1)))),
    variadic("add", &[], Any, |_, given| {
        Ok(Value::Int64(given.iter().fold(0, |sum: i64, value| sum.wrapping_add(to_int64(value)))))
    }),
    fixed("sub", &[Any, Any], |_, given| integers(given, |a, b| Ok(a.wrapping_sub(b)))),
    fixed("div", &[Any, Any], |_, given| integers(given, |a, b| divisor(b).map(|b| a.wrapping_div(b)))),
    fixed("mod", &[Any, Any], |_, given| integers(given, |a, b| divisor(b).map(|b| a.wrapping_rem(b)))),
    variadic("mul", &[Any], Any, |_, given| {
        Ok(Value::Int64(given.iter().fold(1, |product: i64, value| product.wrapping_mul(to_int64(value)))))
    }),
    variadic("max", &[Any], Any, |_, given| Ok(Value::Int64(given.iter().map(to_int64).max().unwrap_or_default()))),
    variadic("biggest", &[Any], Any, |_, given| Ok(Value::Int64(given.iter().map(to_int64).max().unwrap_or_default()))),
    variadic("min", &[Any], Any, |_, given| Ok(Value::Int64(given.iter().map(to_int64).min().unwrap_or_default()))),
    variadic("maxf", &[Any], Any, |_, given| Ok(Value::Float(fold_floats(given, f64::max)))),
    variadic("minf", &[Any], Any, |_, given| Ok(Value::Float(fold_floats(given, f64::min)))),
    fixed("ceil", &[Any], |_, given| Ok(Value::Float(to_float64(&arguments::any(given, 0)).ceil()))),
    fixed("floor", &[Any], |_, given| Ok(Value::Float(to_float64(&arguments::any(given, 0)).floor()))),
    variadic("round", &[Any, Int], Float, round),
    fixed("add1f", &[Any], |_, given| decimals(&[arguments::any(given, 0), Value::Int(1)], Decimal::add, |a, b| a + b)),
    variadic("addf", &[], Any, |_, given| {
        let mut all = vec![Value::Int(0)];
        all.extend_from_slice(given);
        decimals(&all, Decimal::add, |a, b| a + b)
    }),
    variadic("subf", &[Any], Any, |_, given| decimals(given, Decimal::subtract, |a, b| a - b)),
    variadic("mulf", &[Any], Any, |_, given| decimals(given, Decimal::multiply, |a, b| a * b)),
    variadic("divf", &[Any], Any, |_, given| {
        if arguments::rest(given, 1).iter().any(|value| to_float64(value) == 0.0) {
            return Err(Failure::new("decimal division by 0"));
        }
        decimals(given, Decimal::divide, |a, b| a / b)
    }),
    fixed("until", &[Int], |evaluator, given| {
        let count = arguments::int(given, 0);
        Ok(numbers(steps(evaluator, 0, count, if count < 0 { -1 } else { 1 })?))
    }),
    fixed("untilStep", &[Int, Int, Int], |evaluator, given| {
        Ok(numbers(steps(evaluator, arguments::int(given, 0), arguments::int(given, 1), arguments::int(given, 2))?))
    }),
    variadic("seq", &[], Int, seq),
];

fn integers(given: &[Value], compute: impl Fn(i64, i64) -> Result<i64, Failure>) -> Outcome {
    compute(to_int64(&arguments::any(given, 0)), to_int64(&arguments::any(given, 1))).map(Value::Int64)
}

fn divisor(number: i64) -> Result<i64, Failure> {
    if number == 0 { Err(Failure::new("runtime error: integer divide by zero")) } else { Ok(number) }
}

/// As the `cast` library converts: base prefixes count, a fraction of zeros is ignored, nonsense is 0.
pub(super) fn to_int64(value: &Value) -> i64 {
    match value {
        Value::Bool(value) => i64::from(*value),
        // As the processor converts: what does not fit is the smallest number.
        Value::Float(value) if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(value) => i64::MIN,
        Value::Float(value) => *value as i64,
        Value::Uint64(value) => *value as i64,
        Value::String(text) => {
            let text = std::string::String::from_utf8_lossy(text);
            strconv::parse_int(without_zero_fraction(&text), 0).unwrap_or_default()
        }
        other => other.as_integer().and_then(|number| i64::try_from(number).ok()).unwrap_or_default(),
    }
}

fn without_zero_fraction(text: &str) -> &str {
    match text.split_once('.') {
        Some((whole, fraction))
            if !whole.is_empty() && !fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0') =>
        {
            whole
        }
        _ => text,
    }
}

pub(super) fn to_float64(value: &Value) -> f64 {
    match value {
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Float(value) => *value,
        Value::String(text) => strconv::parse_float(&std::string::String::from_utf8_lossy(text)).unwrap_or_default(),
        other => other.as_integer().map_or(0.0, |number| number as f64),
    }
}

fn fold_floats(given: &[Value], choose: fn(f64, f64) -> f64) -> f64 {
    given.iter().map(to_float64).reduce(choose).unwrap_or_default()
}

/// Exact as decimals; as floats when that does not fit.
fn decimals(given: &[Value], exact: fn(Decimal, Decimal) -> Option<Decimal>, rough: fn(f64, f64) -> f64) -> Outcome {
    let floats: Vec<f64> = given.iter().map(to_float64).collect();
    let precise = floats
        .iter()
        .map(|value| Decimal::from_float(*value))
        .reduce(|left, right| exact(left?, right?))
        .flatten()
        .map(Decimal::to_float);
    Ok(Value::Float(precise.or_else(|| floats.into_iter().reduce(rough)).unwrap_or_default()))
}

fn round(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let threshold = match given.get(2) {
        Some(Value::Float(threshold)) => *threshold,
        _ => 0.5,
    };
    let power = 10_f64.powf(arguments::int(given, 1) as f64);
    let scaled = power * to_float64(&arguments::any(given, 0));
    let rounded = if scaled.fract() >= threshold { scaled.ceil() } else { scaled.floor() };
    Ok(Value::Float(rounded / power))
}

fn steps(evaluator: &mut Evaluator<'_>, start: i64, stop: i64, step: i64) -> Result<Vec<i64>, Failure> {
    let goes = if stop < start { step < 0 } else { step > 0 };
    if !goes {
        return Ok(Vec::new());
    }
    let count = (i128::from(stop) - i128::from(start)).unsigned_abs() / u128::from(step.unsigned_abs()) + 1;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    evaluator.has_room(count.saturating_mul(ELEMENT_BYTES))?;
    evaluator.spend(count as u64 / 16)?;
    let mut out = Vec::with_capacity(count);
    let mut number = start;
    while if step > 0 { number < stop } else { number > stop } {
        out.push(number);
        let Some(next) = number.checked_add(step) else { break };
        number = next;
    }
    Ok(out)
}

fn numbers(items: Vec<i64>) -> Value {
    Value::typed_list(Element::Int, items.into_iter().map(Value::Int).collect())
}

fn seq(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let at = |index| arguments::int(given, index);
    let (start, step, end) = match given.len() {
        1 => (1, if at(0) < 1 { -1 } else { 1 }, at(0)),
        2 => (at(0), if at(1) < at(0) { -1 } else { 1 }, at(1)),
        3 => (at(0), at(1), at(2)),
        _ => return Ok("".into()),
    };
    if given.len() == 3 && end < start && step > 0 {
        return Ok("".into());
    }
    let past = if end < start { -1 } else { 1 };
    let stop = end.saturating_add(past);
    let texts: Vec<std::string::String> = steps(evaluator, start, stop, step)?.iter().map(i64::to_string).collect();
    Ok(texts.join(" ").into())
}
