//! Pipelines and commands; fields and methods of values.

use std::rc::Rc;

use super::{Evaluator, calls::not_a_function, values};
use crate::helm::{
    failure::Failure,
    functions::Parameter,
    template::{
        field,
        node::{At, Command, Operand, Pipeline, Word},
    },
    value::{Element, Text, Value},
};

impl Evaluator<'_> {
    pub(super) fn pipeline(&mut self, dot: &Value, pipeline: &Pipeline) -> Result<Value, Failure> {
        self.at = At::Pipeline(pipeline.position);
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(dot, command, value)?.unwrapped());
        }
        let value = value.unwrap_or(Value::Invalid);
        for name in &pipeline.declarations {
            if pipeline.assigns {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((Text::clone(name), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &Command, last: Option<Value>) -> Result<Value, Failure> {
        let Some(first) = command.words.first() else { return Err(Failure::new("empty command")) };
        self.spend(1)?;
        match &first.operand {
            Operand::Field(names) => {
                self.at = At::Word(first.position);
                self.fields(dot, dot.clone(), names, &command.words, last, At::Word(first.position))
            }
            Operand::Chain(start, names) => self.chain(dot, first, start, names, &command.words, last),
            Operand::Function(function) => {
                self.at = At::Word(first.position);
                self.call(dot, function, &command.words, last, At::Command(command.position))
            }
            Operand::Pipeline(pipeline) => {
                not_a_function(&command.words, last.is_some())?;
                self.pipeline(dot, pipeline)
            }
            Operand::Variable(name, names) => self.variable_word(dot, first, name, names, &command.words, last),
            simple => {
                self.at = At::Word(first.position);
                not_a_function(&command.words, last.is_some())?;
                match simple {
                    Operand::Bool(value) => Ok(Value::Bool(*value)),
                    Operand::Dot => Ok(dot.clone()),
                    Operand::Number(number) => number.ideal().map_err(Failure::from),
                    Operand::String(content, _) => Ok(Value::String(Text::clone(content))),
                    _ => Err(Failure::new("nil is not a command")),
                }
            }
        }
    }

    pub(super) fn variable_word(
        &mut self,
        dot: &Value,
        word: &Word,
        name: &Text,
        names: &[Text],
        words: &[Word],
        last: Option<Value>,
    ) -> Result<Value, Failure> {
        self.at = At::Word(word.position);
        let value = self.variable(name)?;
        if names.is_empty() {
            not_a_function(words, last.is_some())?;
            return Ok(value);
        }
        self.fields(dot, value, names, words, last, At::Word(word.position))
    }

    pub(super) fn chain(
        &mut self,
        dot: &Value,
        word: &Word,
        start: &Word,
        names: &[Text],
        words: &[Word],
        last: Option<Value>,
    ) -> Result<Value, Failure> {
        self.at = At::Word(word.position);
        if matches!(start.operand, Operand::Nil) {
            return Err(Failure::new("indirection through explicit nil"));
        }
        let receiver = self.argument(dot, start, Parameter::Reflect)?;
        self.fields(dot, receiver, names, words, last, At::Word(word.position))
    }

    pub(super) fn fields(
        &mut self,
        dot: &Value,
        receiver: Value,
        names: &[Text],
        words: &[Word],
        last: Option<Value>,
        node: At,
    ) -> Result<Value, Failure> {
        let mut receiver = receiver;
        let Some((final_name, before)) = names.split_last() else { return Ok(receiver) };
        for name in before {
            receiver = self.field(dot, name, &[], None, receiver, node)?;
        }
        self.field(dot, final_name, words, last, receiver, node)
    }

    fn field(
        &mut self,
        dot: &Value,
        name: &Text,
        words: &[Word],
        last: Option<Value>,
        receiver: Value,
        node: At,
    ) -> Result<Value, Failure> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let has_arguments = words.len() > 1 || last.is_some();
        match &receiver {
            Value::Invalid => return Ok(Value::Invalid),
            Value::Nil => return Err(Failure::new(format!("nil pointer evaluating interface {{}}.{}", shown()))),
            Value::Map(map) => {
                if let Some(parameters) = values::parameters(name).filter(|_| map.is_values()) {
                    let words = words.get(1..).unwrap_or_default();
                    let arguments = self.arguments(dot, &shown(), parameters, None, words, last)?;
                    let called = values::call(self, map, name, &arguments);
                    return called.map_err(|failure| self.in_method(failure, &shown(), node));
                }
                if has_arguments {
                    return Err(Failure::new(format!("{} is not a method but has arguments", shown())));
                }
                return Ok(map.get(name).unwrap_or(match map.element() {
                    Element::String => Value::string(""),
                    _ => Value::Nil,
                }));
            }
            Value::Object(object) => {
                if let Some(signature) = object.method(name) {
                    let arguments = self.arguments(
                        dot,
                        &shown(),
                        signature.parameters,
                        None,
                        words.get(1..).unwrap_or_default(),
                        last,
                    )?;
                    let object = Rc::clone(object);
                    let called = object.call(name, &arguments);
                    return called.map_err(|failure| self.in_method(failure, &shown(), node));
                }
                if let Some(value) = object.field(name) {
                    if has_arguments {
                        return Err(Failure::new(format!(
                            "{} has arguments but cannot be invoked as function",
                            shown()
                        )));
                    }
                    return Ok(value);
                }
            }
            Value::Time(_) | Value::Duration(_) => {
                if let Some(value) = field::of_time(&receiver, name) {
                    let parameters = value.parameters;
                    let arguments =
                        self.arguments(dot, &shown(), parameters, None, words.get(1..).unwrap_or_default(), last)?;
                    return (value.call)(&receiver, &arguments);
                }
            }
            _ => {}
        }
        Err(Failure::new(format!("can't evaluate field {} in type {}", shown(), receiver.type_name())))
    }

    /// What a method says when it fails.
    fn in_method(&mut self, failure: Failure, name: &str, node: At) -> Failure {
        self.at = node;
        Failure { message: format!("error calling {name}: {}", failure.message), located: false, ..failure }
    }
}
