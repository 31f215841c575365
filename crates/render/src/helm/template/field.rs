//! Methods of times and durations.

use crate::helm::{
    failure::Failure,
    functions::{Parameter, dates},
    value::Value,
};

/// A method: what it takes and how it is called.
pub(super) struct Method {
    pub(super) parameters: &'static [Parameter],
    pub(super) call: fn(&Value, &[Value]) -> Result<Value, Failure>,
}

/// The method of that name, if there is one.
pub(super) fn of_time(receiver: &Value, name: &[u8]) -> Option<Method> {
    let getter = |call| Some(Method { parameters: &[], call });
    match (receiver, name) {
        (Value::Time(_), b"Unix") => getter(|value, _| with_time(value, |time| Value::Int64(time.seconds))),
        (Value::Time(_), b"UnixNano") => getter(|value, _| {
            with_time(value, |time| {
                Value::Int64(time.seconds.wrapping_mul(1_000_000_000).wrapping_add(time.nanoseconds.into()))
            })
        }),
        (Value::Time(_), b"Year") => getter(|value, _| with_time(value, |time| Value::Int(time.civil().year))),
        (Value::Time(_), b"Day") => getter(|value, _| with_time(value, |time| Value::Int(time.civil().day.into()))),
        (Value::Time(_), b"Hour") => getter(|value, _| with_time(value, |time| Value::Int(time.civil().hour.into()))),
        (Value::Time(_), b"Minute") => {
            getter(|value, _| with_time(value, |time| Value::Int(time.civil().minute.into())))
        }
        (Value::Time(_), b"Second") => {
            getter(|value, _| with_time(value, |time| Value::Int(time.civil().second.into())))
        }
        (Value::Time(_), b"UTC") => {
            getter(|value, _| with_time(value, |time| dates::Time::utc(time.seconds, time.nanoseconds).into()))
        }
        (Value::Time(_), b"String") => getter(|value, _| with_time(value, |time| Value::from(time.to_go_string()))),
        (Value::Time(_), b"Format") => Some(Method {
            parameters: &[Parameter::String],
            call: |value, arguments| {
                let layout = arguments.first().and_then(Value::as_bytes).unwrap_or_default();
                with_time(value, |time| Value::from(time.format(&String::from_utf8_lossy(layout))))
            },
        }),
        (Value::Duration(_), b"String") => {
            getter(|value, _| with_duration(value, |nanoseconds| Value::from(dates::duration_text(nanoseconds))))
        }
        (Value::Duration(_), b"Seconds") => {
            getter(|value, _| with_duration(value, |nanoseconds| Value::Float(nanoseconds as f64 / 1e9)))
        }
        (Value::Duration(_), b"Minutes") => {
            getter(|value, _| with_duration(value, |nanoseconds| Value::Float(nanoseconds as f64 / 6e10)))
        }
        (Value::Duration(_), b"Hours") => {
            getter(|value, _| with_duration(value, |nanoseconds| Value::Float(nanoseconds as f64 / 3.6e12)))
        }
        (Value::Duration(_), b"Milliseconds") => {
            getter(|value, _| with_duration(value, |nanoseconds| Value::Int64(nanoseconds / 1_000_000)))
        }
        _ => None,
    }
}

fn with_time(value: &Value, get: impl Fn(&dates::Time) -> Value) -> Result<Value, Failure> {
    match value {
        Value::Time(time) => Ok(get(time)),
        _ => Err(Failure::new("not a time")),
    }
}

fn with_duration(value: &Value, get: impl Fn(i64) -> Value) -> Result<Value, Failure> {
    match value {
        Value::Duration(nanoseconds) => Ok(get(*nanoseconds)),
        _ => Err(Failure::new("not a duration")),
    }
}
