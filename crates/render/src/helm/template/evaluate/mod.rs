//! Evaluates templates by Go's rules, within a budget.

mod calls;
mod pipelines;
mod statements;
mod values;

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Instant};

use super::{
    node::{At, Template},
    set::Set,
};
use crate::helm::{
    Limits, Lookup,
    failure::Failure,
    functions::random::Random,
    held,
    quote::quoted,
    value::{Map, Text, Value},
};

/// How often the time is looked at.
const STEPS_BETWEEN_LOOKS: u64 = 10_000;

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
        self.has_room(0)?;
        self.spend(bytes as u64 / 64)
    }

    /// Whether lists and maps may take so many bytes more.
    pub(crate) fn has_room(&self, bytes: usize) -> Result<(), Failure> {
        let wanted = held::held().saturating_add(bytes);
        if wanted > self.limits.values {
            let limit = self.limits.values;
            return Err(Failure::limit(format!("lists and maps of {wanted} bytes exceed the limit of {limit}")));
        }
        Ok(())
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
}
