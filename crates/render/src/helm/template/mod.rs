//! Go's `text/template` language: lexer, parser, evaluator.

pub(crate) mod evaluate;
mod field;
mod lexer;
pub(crate) mod node;
pub(crate) mod number;
pub(crate) mod parser;
pub(crate) mod set;
pub(crate) mod unquote;

pub(crate) use lexer::{MAX_TOKENS, decode, find};
