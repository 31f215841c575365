//! The functions that templates may call: one table, a file per family.

pub(crate) mod arguments;
mod builtins;
mod certificates;
mod comparison;
mod cryptography;
pub(crate) mod dates;
mod decimal;
mod dictionaries;
pub(crate) mod encoding;
mod encryption;
pub(crate) mod helm;
mod json_to_yaml;
mod layout;
mod lists;
mod lists_more;
mod merge;
mod numbers;
mod paths;
pub(crate) mod random;
mod reflection;
mod regular;
mod scrypt;
pub(crate) mod strings;
mod text_case;
mod text_shape;
mod toml;
mod urls;
mod versions;

pub(crate) use encoding::{from_yaml, values_as_yaml, words_as_yaml};
pub(crate) use strings::trim;

use std::{collections::HashMap, sync::OnceLock};

use super::{failure::Failure, template::evaluate::Evaluator, value::Value};

/// What a Go function declares as the type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// `interface{}`
    Any,
    /// `reflect.Value`: anything, also no value
    Reflect,
    String,
    Int,
    Float,
    Bool,
    /// `map[string]interface{}`
    Map,
    Time,
    /// An object of that type.
    Object(&'static str),
}

impl Parameter {
    /// As Go's messages name the type.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Parameter::Any => "interface {}",
            Parameter::Reflect => "reflect.Value",
            Parameter::String => "string",
            Parameter::Int => "int",
            Parameter::Float => "float64",
            Parameter::Bool => "bool",
            Parameter::Map => "map[string]interface {}",
            Parameter::Time => "time.Time",
            Parameter::Object(name) => name,
        }
    }
}

pub(crate) type Outcome = Result<Value, Failure>;

type Call = fn(&mut Evaluator<'_>, &[Value]) -> Outcome;

/// A row of the table: how a function is called and what it does.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// The type of further arguments.
    pub(crate) variadic: Option<Parameter>,
    /// `and`, `or`: arguments are evaluated one by one.
    pub(crate) short_circuit: bool,
    pub(crate) call: Call,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// A function with a fixed number of arguments.
const fn fixed(name: &'static str, parameters: &'static [Parameter], call: Call) -> Function {
    Function { name, parameters, variadic: None, short_circuit: false, call }
}

/// A function with any number of further arguments.
const fn variadic(name: &'static str, parameters: &'static [Parameter], more: Parameter, call: Call) -> Function {
    Function { name, parameters, variadic: Some(more), short_circuit: false, call }
}

/// All families.
const FAMILIES: &[&[Function]] = &[
    builtins::FUNCTIONS,
    certificates::FUNCTIONS,
    comparison::FUNCTIONS,
    cryptography::FUNCTIONS,
    dates::FUNCTIONS,
    dictionaries::FUNCTIONS,
    encoding::FUNCTIONS,
    encryption::FUNCTIONS,
    helm::FUNCTIONS,
    lists::FUNCTIONS,
    lists_more::FUNCTIONS,
    numbers::FUNCTIONS,
    paths::FUNCTIONS,
    random::FUNCTIONS,
    reflection::FUNCTIONS,
    regular::FUNCTIONS,
    strings::FUNCTIONS,
    text_case::FUNCTIONS,
    text_shape::FUNCTIONS,
    urls::FUNCTIONS,
    versions::FUNCTIONS,
];

/// The function of that name.
pub(crate) fn find(name: &[u8]) -> Option<&'static Function> {
    static TABLE: OnceLock<HashMap<&'static [u8], &'static Function>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        FAMILIES.iter().copied().flatten().map(|function| (function.name.as_bytes(), function)).collect()
    });
    table.get(name).copied()
}
