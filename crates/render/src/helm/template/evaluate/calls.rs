//! Calls of functions, and what they accept as arguments.

use std::sync::Arc;

use super::Evaluator;
use crate::helm::{
    failure::Failure,
    functions::{Function, Parameter},
    template::{
        node::{At, Operand, Word, describe_word},
        number::Number,
    },
    value::{Element, Map, Text, Value},
};

/// What a text takes beside its bytes.
const TEXT_BYTES: usize = 32;

impl Evaluator<'_> {
    pub(super) fn call(
        &mut self,
        dot: &Value,
        function: &'static Function,
        words: &[Word],
        last: Option<Value>,
        node: At,
    ) -> Result<Value, Failure> {
        let words = words.get(1..).unwrap_or_default();
        if function.short_circuit {
            return self.and_or(dot, function, words, last);
        }
        let arguments = self.arguments(dot, function.name, function.parameters, function.variadic, words, last)?;
        // Most functions look at every byte that they are given.
        let given: usize = arguments.iter().filter_map(Value::as_bytes).map(<[u8]>::len).sum();
        self.spend(given as u64 / 64)?;
        match (function.call)(self, &arguments) {
            Ok(value) => {
                match &value {
                    // A text that something else holds too was there before.
                    Value::String(text) | Value::Bytes(text) if Arc::strong_count(text) == 1 => {
                        self.reserve(text.len().saturating_add(TEXT_BYTES))?;
                    }
                    Value::List(list) => {
                        self.has_room(0)?;
                        self.spend(list.items.len() as u64 / 16)?;
                    }
                    Value::Map(_) => self.has_room(0)?,
                    _ => {}
                }
                Ok(value)
            }
            Err(failure) => {
                self.at = node;
                Err(Failure {
                    message: format!("error calling {}: {}", function.name, failure.message),
                    located: false,
                    ..failure
                })
            }
        }
    }

    /// `and` and `or` stop at the first value that decides.
    fn and_or(
        &mut self,
        dot: &Value,
        function: &Function,
        words: &[Word],
        last: Option<Value>,
    ) -> Result<Value, Failure> {
        if words.is_empty() && last.is_none() {
            return Err(Failure::new(format!("wrong number of args for {}: want at least 1 got 0", function.name)));
        }
        let stops_at = function.name == "or";
        let mut value = Value::Invalid;
        for word in words {
            value = self.argument(dot, word, Parameter::Reflect)?;
            if value.truth() == stops_at {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    pub(super) fn arguments(
        &mut self,
        dot: &Value,
        name: &str,
        parameters: &[Parameter],
        variadic: Option<Parameter>,
        words: &[Word],
        last: Option<Value>,
    ) -> Result<Vec<Value>, Failure> {
        let count = words.len() + usize::from(last.is_some());
        if variadic.is_some() && count < parameters.len() {
            return Err(Failure::new(format!(
                "wrong number of args for {name}: want at least {} got {}",
                parameters.len(),
                words.len()
            )));
        }
        if variadic.is_none() && count != parameters.len() {
            return Err(Failure::new(format!(
                "wrong number of args for {name}: want {} got {count}",
                parameters.len()
            )));
        }
        let parameter = |index: usize| parameters.get(index).copied().or(variadic).unwrap_or(Parameter::Any);
        let mut arguments = Vec::with_capacity(count);
        for (index, word) in words.iter().enumerate() {
            arguments.push(self.argument(dot, word, parameter(index))?);
        }
        if let Some(last) = last {
            arguments.push(accept(last, parameter(words.len()))?);
        }
        Ok(arguments)
    }

    pub(super) fn argument(&mut self, dot: &Value, word: &Word, parameter: Parameter) -> Result<Value, Failure> {
        self.spend(1)?;
        self.at = match &word.operand {
            Operand::Pipeline(pipeline) => At::Pipeline(pipeline.position),
            _ => At::Word(word.position),
        };
        let value = match &word.operand {
            Operand::Dot => dot.clone(),
            Operand::Nil => {
                return match parameter {
                    Parameter::Any => Ok(Value::Nil),
                    Parameter::Reflect => Ok(Value::Invalid),
                    Parameter::Map => Ok(Value::Map(Map::nil())),
                    other => Err(Failure::new(format!("cannot assign nil to {}", other.type_name()))),
                };
            }
            Operand::Field(names) => {
                self.fields(dot, dot.clone(), names, std::slice::from_ref(word), None, At::Word(word.position))?
            }
            Operand::Variable(name, names) => self.variable_word(dot, word, name, names, &[], None)?,
            Operand::Pipeline(pipeline) => self.pipeline(dot, pipeline)?,
            Operand::Function(function) => self.call(dot, function, &[], None, At::Word(word.position))?,
            Operand::Chain(start, names) => self.chain(dot, word, start, names, &[], None)?,
            Operand::Bool(value) => return literal(word, parameter, Some(Value::Bool(*value)), Parameter::Bool),
            Operand::String(content, _) => {
                return literal(word, parameter, Some(Value::String(Text::clone(content))), Parameter::String);
            }
            Operand::Number(number) => return number_argument(word, number, parameter),
        };
        accept(value, parameter)
    }
}

pub(super) fn not_a_function(words: &[Word], has_last: bool) -> Result<(), Failure> {
    match words.first() {
        Some(first) if words.len() > 1 || has_last => {
            Err(Failure::new(format!("can't give argument to non-function {}", describe_word(first))))
        }
        _ => Ok(()),
    }
}

/// A literal where a parameter of its own type or of any type stands.
fn literal(word: &Word, parameter: Parameter, value: Option<Value>, own: Parameter) -> Result<Value, Failure> {
    match value {
        Some(value) if parameter == own || matches!(parameter, Parameter::Any | Parameter::Reflect) => Ok(value),
        _ => match parameter {
            Parameter::Map => Err(Failure::new(format!(
                "can't handle {} for arg of type {}",
                describe_word(word),
                parameter.type_name()
            ))),
            Parameter::Int => Err(Failure::new(format!("expected integer; found {}", describe_word(word)))),
            Parameter::Float => Err(Failure::new(format!("expected float; found {}", describe_word(word)))),
            other => Err(Failure::new(format!("expected {}; found {}", other.type_name(), describe_word(word)))),
        },
    }
}

fn number_argument(word: &Word, number: &Number, parameter: Parameter) -> Result<Value, Failure> {
    match (parameter, number.integer, number.float) {
        (Parameter::Any | Parameter::Reflect, ..) => number.ideal().map_err(Failure::from),
        (Parameter::Int, Some(integer), _) => Ok(Value::Int(integer)),
        (Parameter::Float, _, Some(float)) => Ok(Value::Float(float)),
        _ => literal(word, parameter, None, parameter),
    }
}

/// Whether a value may be passed for a parameter, and as what.
fn accept(value: Value, parameter: Parameter) -> Result<Value, Failure> {
    let fits = match (&value, parameter) {
        (Value::Invalid, Parameter::Any) => return Ok(Value::Nil),
        (_, Parameter::Any | Parameter::Reflect)
        | (Value::String(_), Parameter::String)
        | (Value::Int(_), Parameter::Int)
        | (Value::Float(_), Parameter::Float)
        | (Value::Bool(_), Parameter::Bool)
        | (Value::Time(_), Parameter::Time) => true,
        (Value::Map(map), Parameter::Map) if map.is_values() => return Ok(Value::Map(map.as_plain())),
        (Value::Map(map), Parameter::Map) => map.element() == Element::Any,
        (Value::Object(object), Parameter::Object(name)) => object.type_name() == name,
        (Value::Invalid, Parameter::Map) => return Ok(Value::Map(Map::nil())),
        (Value::Invalid, other) => return Err(Failure::new(format!("invalid value; expected {}", other.type_name()))),
        _ => false,
    };
    if fits {
        return Ok(value);
    }
    let found = if value.is_nil() { "interface {}".to_owned() } else { value.type_name() };
    Err(Failure::new(format!("wrong type for value; expected {}; got {found}", parameter.type_name())))
}
