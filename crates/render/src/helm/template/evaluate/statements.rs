//! Texts, branches and loops; variables and their scopes.

use std::sync::Arc;

use super::Evaluator;
use crate::helm::{
    failure::Failure,
    format,
    quote::quoted,
    template::node::{At, Branch, Node},
    value::{Kind, Text, Value},
};

/// How the nodes of a list ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

impl Evaluator<'_> {
    pub(super) fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Failure> {
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
        if self.output.capacity() - self.output.len() < bytes.len() {
            // Doubling would take twice the memory that is reckoned.
            self.output.reserve_exact(bytes.len().max(self.output.len() / 4));
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

    pub(super) fn assign(&mut self, name: &Text, value: Value) -> Result<(), Failure> {
        let base = self.base;
        match self.variables.iter_mut().skip(base).rev().find(|(known, _)| known == name) {
            Some(slot) => {
                slot.1 = value;
                Ok(())
            }
            None => Err(Failure::new(format!("undefined variable: {}", String::from_utf8_lossy(name)))),
        }
    }

    pub(super) fn variable(&self, name: &Text) -> Result<Value, Failure> {
        match self.variables.iter().skip(self.base).rev().find(|(known, _)| known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => Err(Failure::new(format!("undefined variable: {}", String::from_utf8_lossy(name)))),
        }
    }
}

fn same_integer_type(like: &Value, number: i64) -> Value {
    match like {
        Value::Int64(_) => Value::Int64(number),
        Value::Uint8(_) => Value::Uint8(u8::try_from(number).unwrap_or(u8::MAX)),
        Value::Uint64(_) => Value::Uint64(u64::try_from(number).unwrap_or_default()),
        _ => Value::Int(number),
    }
}
