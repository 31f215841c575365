//! Evaluates templates: Go's rules for pipelines, calls, ranges and scopes, within a budget.

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Instant};

use super::{
    node::{At, Branch, Command, Node, Operand, Pipeline, Template, Word},
    number::Number,
    set::Set,
};
use crate::helm::{
    Limits, Lookup,
    failure::Failure,
    format,
    functions::{Function, Parameter, random::Random},
    strconv::quoted,
    value::{Kind, Map, Text, Value},
};

/// How often the time is looked at.
const STEPS_BETWEEN_LOOKS: u64 = 10_000;

/// How the nodes of a list ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// One render: templates, budget, clock, randomness.
pub(crate) struct Evaluator<'a> {
    pub(crate) templates: Rc<Set>,
    pub(crate) limits: &'a Limits,
    pub(crate) lookup: &'a dyn Lookup,
    pub(crate) random: Random,
    /// Seconds and nanoseconds since 1970, from the caller.
    pub(crate) now: (i64, u32),
    /// Templates parsed for `tpl`, by text.
    pub(crate) parsed: HashMap<Text, Rc<Vec<Arc<Template>>>>,
    /// How often each name is being included right now.
    pub(crate) included: HashMap<Text, usize>,
    /// Compiled regular expressions.
    pub(crate) expressions: HashMap<Text, Rc<regex::bytes::Regex>>,
    /// Maps that were changed in place: cleared in the end, so that cycles through them are freed.
    changed: Vec<Map>,
    output: Vec<u8>,
    variables: Vec<(Text, Value)>,
    base: usize,
    template: Option<Arc<Template>>,
    at: At,
    depth: usize,
    steps: u64,
    started: Instant,
    /// At how many steps the time is looked at.
    next_look: u64,
    bytes: u64,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
        templates: Rc<Set>,
        limits: &'a Limits,
        lookup: &'a dyn Lookup,
        random: Random,
        now: (i64, u32),
    ) -> Self {
        Evaluator {
            templates,
            limits,
            lookup,
            random,
            now,
            parsed: HashMap::new(),
            included: HashMap::new(),
            expressions: HashMap::new(),
            changed: Vec::new(),
            output: Vec::new(),
            variables: Vec::new(),
            base: 0,
            template: None,
            at: At::Nothing,
            depth: 0,
            steps: 0,
            started: Instant::now(),
            next_look: 0,
            bytes: 0,
        }
    }

    /// Evaluates a template and gives what it prints. The failure says where.
    pub(crate) fn execute(&mut self, template: &Arc<Template>, data: &Value) -> Result<Vec<u8>, Failure> {
        let output = std::mem::take(&mut self.output);
        let result = self.invoke(template, data);
        let printed = std::mem::replace(&mut self.output, output);
        result.map(|()| printed)
    }

    /// Takes from the budget of steps.
    pub(crate) fn spend(&mut self, steps: u64) -> Result<(), Failure> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > self.limits.steps {
            return Err(Failure::limit(format!("the templates need more than {} steps", self.limits.steps)));
        }
        if self.steps >= self.next_look {
            self.next_look = self.steps.saturating_add(STEPS_BETWEEN_LOOKS);
            if self.started.elapsed() > self.limits.time {
                let seconds = self.limits.time.as_secs();
                return Err(Failure::limit(format!("the templates need more than {seconds} seconds")));
            }
        }
        Ok(())
    }

    /// Takes from the budget of bytes that templates and functions make, before they are made.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes > self.limits.text {
            return Err(Failure::limit(format!("a text of {bytes} bytes exceeds the limit of {}", self.limits.text)));
        }
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > self.limits.bytes {
            return Err(Failure::limit(format!("the templates make more than {} bytes of text", self.limits.bytes)));
        }
        self.spend(bytes as u64 / 64)
    }

    /// Remembers a map that is changed in place.
    pub(crate) fn changes(&mut self, map: &Map) {
        if !self.changed.last().is_some_and(|last| last.same(map)) {
            self.changed.push(map.clone());
        }
    }

    /// Frees values that refer to themselves.
    pub(crate) fn finish(&mut self) {
        for map in self.changed.drain(..) {
            map.clear();
        }
    }

    fn invoke(&mut self, template: &Arc<Template>, data: &Value) -> Result<(), Failure> {
        if self.depth >= self.limits.depth {
            return Err(Failure::limit(format!("exceeded maximum template depth ({})", self.limits.depth)));
        }
        self.depth += 1;
        let outer = self.template.replace(Arc::clone(template));
        let (base, at) = (self.base, self.at);
        self.base = self.variables.len();
        self.at = At::Nothing;
        self.variables.push((Text::from(b"$".as_slice()), data.clone()));
        let result = self.list(&template.body, data).map(|_| ()).map_err(|failure| self.locate(failure, template));
        self.variables.truncate(self.base);
        self.base = base;
        self.at = at;
        self.template = outer;
        self.depth -= 1;
        result
    }

    /// Words a failure as Go does, with the node that was being evaluated.
    fn locate(&self, mut failure: Failure, template: &Template) -> Failure {
        if failure.located {
            return failure;
        }
        let source = String::from_utf8_lossy(&template.source.name).into_owned();
        failure.message = match self.at.position() {
            None => format!("template: {source}: {}", failure.message),
            Some(position) => {
                let (line, column) = template.source.locate(position);
                failure.location = format!("{source}:{line}:{column}");
                let context = self.at.describe(template);
                let name = quoted(&template.name);
                format!("template: {}: executing {name} at <{context}>: {}", failure.location, failure.message)
            }
        };
        failure.located = true;
        failure
    }

    // --- nodes

    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Failure> {
        for node in nodes {
            self.spend(1)?;
            match node {
                Node::Text(content) => self.print_bytes(content)?,
                Node::Action(pipeline) => {
                    self.at = At::Pipeline(pipeline.position);
                    let value = self.pipeline(dot, pipeline)?;
                    if pipeline.declarations.is_empty() {
                        self.at = At::Pipeline(pipeline.position);
                        self.print(&value)?;
                    }
                }
                Node::If(branch) => {
                    let flow = self.branch(branch, dot, false)?;
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::With(branch) => {
                    let flow = self.branch(branch, dot, true)?;
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => {
                    let flow = self.range(branch, dot)?;
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Template { position, name, pipeline } => {
                    self.at = At::Template(*position);
                    let Some(template) = self.templates.find(name).map(Arc::clone) else {
                        return Err(Failure::new(format!("template {} not defined", quoted(name))));
                    };
                    let data = match pipeline {
                        Some(pipeline) => self.pipeline(dot, pipeline)?,
                        None => Value::Invalid,
                    };
                    self.invoke(&template, &data)?;
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::Next)
    }

    fn print_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.reserve(bytes.len())?;
        if self.output.len() + bytes.len() > self.limits.output {
            return Err(Failure::limit(format!("the output exceeds the limit of {} bytes", self.limits.output)));
        }
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    fn print(&mut self, value: &Value) -> Result<(), Failure> {
        match value {
            Value::String(text) => self.print_bytes(text),
            Value::Invalid => self.print_bytes(b"<no value>"),
            other => {
                let printed = format::print(std::slice::from_ref(other), self.limits.text)?;
                self.print_bytes(&printed)
            }
        }
    }

    fn branch(&mut self, branch: &Branch, dot: &Value, is_with: bool) -> Result<Flow, Failure> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let flow = if value.truth() {
            self.list(&branch.body, if is_with { &value } else { dot })
        } else if let Some(otherwise) = &branch.otherwise {
            self.list(otherwise, dot)
        } else {
            Ok(Flow::Next)
        };
        self.variables.truncate(mark);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, Failure> {
        self.at = At::Range(branch.position);
        let start = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let mark = self.variables.len();
        let mut any = false;
        let mut left = Flow::Next;
        match &value {
            Value::List(list) => {
                for (index, item) in list.items.iter().enumerate() {
                    any = true;
                    left = self.iteration(branch, Value::Int(index as i64), item, mark)?;
                    if left == Flow::Break {
                        break;
                    }
                }
            }
            Value::Bytes(bytes) => {
                for (index, byte) in bytes.iter().enumerate() {
                    any = true;
                    left = self.iteration(branch, Value::Int(index as i64), &Value::Uint8(*byte), mark)?;
                    if left == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                let entries: Vec<(Text, Value)> =
                    map.entries().iter().map(|(key, value)| (Text::clone(key), value.clone())).collect();
                for (key, item) in entries {
                    any = true;
                    left = self.iteration(branch, Value::String(key), &item, mark)?;
                    if left == Flow::Break {
                        break;
                    }
                }
            }
            Value::Object(object) if object.kind() == Kind::Map => {
                for (key, _, item) in object.members() {
                    any = true;
                    left = self.iteration(branch, Value::String(key), &item, mark)?;
                    if left == Flow::Break {
                        break;
                    }
                }
            }
            Value::Object(object) if object.kind() == Kind::Slice => {
                for (index, item) in object.items().unwrap_or_default().into_iter().enumerate() {
                    any = true;
                    left = self.iteration(branch, Value::Int(index as i64), &item, mark)?;
                    if left == Flow::Break {
                        break;
                    }
                }
            }
            Value::Int(_) | Value::Int64(_) | Value::Uint8(_) | Value::Uint64(_) => {
                if branch.pipeline.declarations.len() > 1 {
                    let shown =
                        String::from_utf8_lossy(&format::print(std::slice::from_ref(&value), 100)?).into_owned();
                    return Err(Failure::new(format!("can't use {shown} to iterate over more than one variable")));
                }
                let count = i64::try_from(value.as_integer().unwrap_or_default()).unwrap_or(i64::MAX);
                for number in 0..count.max(0) {
                    any = true;
                    let item = same_integer_type(&value, number);
                    left = self.iteration(branch, Value::Invalid, &item, mark)?;
                    if left == Flow::Break {
                        break;
                    }
                }
            }
            Value::Invalid | Value::Nil => {}
            other => {
                let shown = String::from_utf8_lossy(&format::print(std::slice::from_ref(other), self.limits.text)?)
                    .into_owned();
                return Err(Failure::new(format!("range can't iterate over {shown}")));
            }
        }
        let _ = left;
        let result = match &branch.otherwise {
            Some(otherwise) if !any => self.list(otherwise, dot),
            _ => Ok(Flow::Next),
        };
        self.variables.truncate(start);
        result
    }

    fn iteration(&mut self, branch: &Branch, index: Value, item: &Value, mark: usize) -> Result<Flow, Failure> {
        self.spend(1)?;
        let declarations = &branch.pipeline.declarations;
        if branch.pipeline.assigns {
            if let Some(first) = declarations.first() {
                let value = if declarations.len() > 1 { index.clone() } else { item.clone() };
                self.assign(first, value)?;
            }
            if let Some(second) = declarations.get(1) {
                self.assign(second, item.clone())?;
            }
        } else {
            if !declarations.is_empty()
                && let Some(slot) = self.variables.get_mut(mark.wrapping_sub(1))
            {
                slot.1 = item.clone();
            }
            if declarations.len() > 1
                && let Some(slot) = self.variables.get_mut(mark.wrapping_sub(2))
            {
                slot.1 = index;
            }
        }
        let flow = self.list(&branch.body, item)?;
        self.variables.truncate(mark);
        Ok(flow)
    }

    // --- variables

    fn assign(&mut self, name: &Text, value: Value) -> Result<(), Failure> {
        let base = self.base;
        match self.variables.iter_mut().skip(base).rev().find(|(known, _)| known == name) {
            Some(slot) => {
                slot.1 = value;
                Ok(())
            }
            None => Err(Failure::new(format!("undefined variable: {}", String::from_utf8_lossy(name)))),
        }
    }

    fn variable(&self, name: &Text) -> Result<Value, Failure> {
        match self.variables.iter().skip(self.base).rev().find(|(known, _)| known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => Err(Failure::new(format!("undefined variable: {}", String::from_utf8_lossy(name)))),
        }
    }

    // --- pipelines and commands

    fn pipeline(&mut self, dot: &Value, pipeline: &Pipeline) -> Result<Value, Failure> {
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

    fn variable_word(
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

    fn chain(
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

    fn fields(
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
                if has_arguments {
                    return Err(Failure::new(format!("{} is not a method but has arguments", shown())));
                }
                return Ok(map.get(name).unwrap_or(match map.element() {
                    super::super::value::Element::String => Value::string(""),
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
                    return object.call(name, &arguments).map_err(|failure| {
                        self.at = node;
                        Failure {
                            message: format!("error calling {}: {}", shown(), failure.message),
                            located: false,
                            ..failure
                        }
                    });
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
                if let Some(value) = super::field::of_time(&receiver, name) {
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

    // --- calls

    fn call(
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
                    Value::String(text) | Value::Bytes(text) => self.reserve(text.len())?,
                    Value::List(list) => self.reserve(list.items.len().saturating_mul(16))?,
                    Value::Map(map) => self.reserve(map.len().saturating_mul(64).saturating_add(64))?,
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

    fn arguments(
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

    fn argument(&mut self, dot: &Value, word: &Word, parameter: Parameter) -> Result<Value, Failure> {
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

fn not_a_function(words: &[Word], has_last: bool) -> Result<(), Failure> {
    match words.first() {
        Some(first) if words.len() > 1 || has_last => {
            Err(Failure::new(format!("can't give argument to non-function {}", super::node::describe_word(first))))
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
                super::node::describe_word(word),
                parameter.type_name()
            ))),
            Parameter::Int => {
                Err(Failure::new(format!("expected integer; found {}", super::node::describe_word(word))))
            }
            Parameter::Float => {
                Err(Failure::new(format!("expected float; found {}", super::node::describe_word(word))))
            }
            other => {
                Err(Failure::new(format!("expected {}; found {}", other.type_name(), super::node::describe_word(word))))
            }
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
        (Value::Map(map), Parameter::Map) => map.element() == super::super::value::Element::Any,
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

fn same_integer_type(like: &Value, number: i64) -> Value {
    match like {
        Value::Int64(_) => Value::Int64(number),
        Value::Uint8(_) => Value::Uint8(u8::try_from(number).unwrap_or(u8::MAX)),
        Value::Uint64(_) => Value::Uint64(u64::try_from(number).unwrap_or_default()),
        _ => Value::Int(number),
    }
}
