//! The syntax tree, and how Go writes its nodes in error messages.

use std::{fmt::Write as _, sync::Arc};

use super::number::Number;
use crate::helm::{functions::Function, value::Text};

/// A parsed template: a file or a `define`.
#[derive(Debug)]
pub(crate) struct Template {
    /// The name under which it is found.
    pub(crate) name: Text,
    /// The file (or `gotpl`) whose text it is part of, and that text, for positions in messages.
    pub(crate) source: Arc<Source>,
    pub(crate) body: Vec<Node>,
}

/// A text and its name.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: Text,
    pub(crate) text: Text,
    /// How many tokens the text consists of.
    pub(crate) tokens: usize,
}

/// Something between the delimiters, or text between actions.
#[derive(Debug)]
pub(crate) enum Node {
    Text(Text),
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { position: usize, name: Text, pipeline: Option<Pipeline> },
    Break,
    Continue,
}

/// `if`, `with` and `range`.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) position: usize,
    pub(crate) pipeline: Pipeline,
    pub(crate) body: Vec<Node>,
    pub(crate) otherwise: Option<Vec<Node>>,
}

/// Commands joined by `|`, with variables to set.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) position: usize,
    pub(crate) declarations: Vec<Text>,
    /// `=` instead of `:=`.
    pub(crate) assigns: bool,
    pub(crate) commands: Vec<Command>,
}

/// A word and its arguments; never empty.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) position: usize,
    pub(crate) words: Vec<Word>,
}

/// An operand and where it stands.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) position: usize,
    pub(crate) operand: Operand,
}

#[derive(Debug)]
pub(crate) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    /// The value, and the literal as written.
    String(Text, Text),
    Field(Vec<Text>),
    /// The name with `$`, and fields of it.
    Variable(Text, Vec<Text>),
    Function(&'static Function),
    Pipeline(Box<Pipeline>),
    Chain(Box<Word>, Vec<Text>),
}

impl Template {
    /// Whether there is nothing but blank text; such a definition does not replace another one.
    pub(crate) fn is_empty(&self) -> bool {
        self.body.iter().all(|node| matches!(node, Node::Text(text) if is_blank(text)))
    }
}

fn is_blank(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).trim().is_empty()
}

impl Source {
    /// Line (from 1) and column (from 0, in bytes) of a position.
    pub(crate) fn locate(&self, position: usize) -> (usize, usize) {
        let before = self.text.get(..position).unwrap_or(&self.text);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        (line, column)
    }
}

/// What an error is about: a kind of node and its position, enough to find it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Nothing,
    Pipeline(usize),
    Command(usize),
    Word(usize),
    If(usize),
    With(usize),
    Range(usize),
    Template(usize),
}

// === impl At ===

impl At {
    pub(crate) fn position(self) -> Option<usize> {
        match self {
            At::Nothing => None,
            At::Pipeline(position)
            | At::Command(position)
            | At::Word(position)
            | At::If(position)
            | At::With(position)
            | At::Range(position)
            | At::Template(position) => Some(position),
        }
    }

    /// The node's text, as Go's messages show it.
    pub(crate) fn describe(self, template: &Template) -> String {
        let mut out = String::new();
        find_in_nodes(self, &template.body, &mut out);
        out
    }
}

fn find_in_nodes(at: At, nodes: &[Node], out: &mut String) -> bool {
    nodes.iter().any(|node| match node {
        Node::Text(_) | Node::Break | Node::Continue => false,
        Node::Action(pipeline) => find_in_pipeline(at, pipeline, out),
        Node::If(branch) => find_in_branch(at, "if", At::If(branch.position), branch, out),
        Node::With(branch) => find_in_branch(at, "with", At::With(branch.position), branch, out),
        Node::Range(branch) => find_in_branch(at, "range", At::Range(branch.position), branch, out),
        Node::Template { position, name, pipeline } => {
            if at == At::Template(*position) {
                let _ = write!(out, "{{{{template {:?}", String::from_utf8_lossy(name));
                if let Some(pipeline) = pipeline {
                    out.push(' ');
                    write_pipeline(out, pipeline);
                }
                out.push_str("}}");
                return true;
            }
            pipeline.as_ref().is_some_and(|pipeline| find_in_pipeline(at, pipeline, out))
        }
    })
}

fn find_in_branch(at: At, keyword: &str, own: At, branch: &Branch, out: &mut String) -> bool {
    if at == own {
        let _ = write!(out, "{{{{{keyword} ");
        write_pipeline(out, &branch.pipeline);
        out.push_str("}}");
        return true;
    }
    find_in_pipeline(at, &branch.pipeline, out)
        || find_in_nodes(at, &branch.body, out)
        || branch.otherwise.as_ref().is_some_and(|nodes| find_in_nodes(at, nodes, out))
}

fn find_in_pipeline(at: At, pipeline: &Pipeline, out: &mut String) -> bool {
    if at == At::Pipeline(pipeline.position) {
        write_pipeline(out, pipeline);
        return true;
    }
    pipeline.commands.iter().any(|command| {
        if at == At::Command(command.position) {
            write_command(out, command);
            return true;
        }
        command.words.iter().any(|word| find_in_word(at, word, out))
    })
}

fn find_in_word(at: At, word: &Word, out: &mut String) -> bool {
    match &word.operand {
        Operand::Pipeline(pipeline) => return find_in_pipeline(at, pipeline, out),
        Operand::Chain(first, _) if find_in_word(at, first, out) => return true,
        _ => {}
    }
    if at == At::Word(word.position) {
        write_word(out, word);
        return true;
    }
    false
}

fn push_text(out: &mut String, text: &[u8]) {
    out.push_str(&String::from_utf8_lossy(text));
}

fn write_pipeline(out: &mut String, pipeline: &Pipeline) {
    for (index, name) in pipeline.declarations.iter().enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        push_text(out, name);
    }
    if !pipeline.declarations.is_empty() {
        out.push_str(if pipeline.assigns { " = " } else { " := " });
    }
    for (index, command) in pipeline.commands.iter().enumerate() {
        out.push_str(if index > 0 { " | " } else { "" });
        write_command(out, command);
    }
}

fn write_command(out: &mut String, command: &Command) {
    for (index, word) in command.words.iter().enumerate() {
        out.push_str(if index > 0 { " " } else { "" });
        if let Operand::Pipeline(pipeline) = &word.operand {
            out.push('(');
            write_pipeline(out, pipeline);
            out.push(')');
        } else {
            write_word(out, word);
        }
    }
}

fn write_word(out: &mut String, word: &Word) {
    match &word.operand {
        Operand::Dot => out.push('.'),
        Operand::Nil => out.push_str("nil"),
        Operand::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Operand::Number(number) => push_text(out, &number.text),
        Operand::String(_, literal) => push_text(out, literal),
        Operand::Field(names) => write_names(out, names),
        Operand::Variable(name, names) => {
            push_text(out, name);
            write_names(out, names);
        }
        Operand::Function(function) => out.push_str(function.name),
        Operand::Pipeline(pipeline) => write_pipeline(out, pipeline),
        Operand::Chain(first, names) => {
            if let Operand::Pipeline(pipeline) = &first.operand {
                out.push('(');
                write_pipeline(out, pipeline);
                out.push(')');
            } else {
                write_word(out, first);
            }
            write_names(out, names);
        }
    }
}

fn write_names(out: &mut String, names: &[Text]) {
    for name in names {
        out.push('.');
        push_text(out, name);
    }
}

/// A word's text, as Go's messages show it.
pub(crate) fn describe_word(word: &Word) -> String {
    let mut out = String::new();
    write_word(&mut out, word);
    out
}
