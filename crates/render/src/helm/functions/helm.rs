//! Helm's own functions: `include`, `tpl`, `required`, `fail`, `lookup`.

use std::{rc::Rc, sync::Arc};

use super::{
    Function, Outcome,
    Parameter::{Any, String},
    arguments,
    encoding::from_yaml,
    fixed,
};
use crate::helm::{
    failure::Failure,
    quote::quoted,
    template::{evaluate::Evaluator, node::Template, parser, set::Set},
    value::{Entries, Text, Value},
};

/// How often a name may be included inside itself, as in Helm.
const MAX_INCLUDES: usize = 1000;

/// What a token of a parsed text is reckoned at.
const TOKEN_BYTES: usize = 96;

/// The name that texts given to `tpl` have in messages.
const TPL_NAME: &[u8] = b"gotpl";

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("include", &[String, Any], include),
    fixed("tpl", &[String, Any], tpl),
    fixed("required", &[String, Any], |_, given| {
        let value = arguments::any(given, 1);
        let missing = value.is_nil() || value.as_bytes().is_some_and(<[u8]>::is_empty);
        if missing { Err(Failure::by_author(arguments::text(given, 0))) } else { Ok(value) }
    }),
    fixed("fail", &[String], |_, given| Err(Failure::by_author(arguments::text(given, 0)))),
    fixed("lookup", &[String, String, String, String], |evaluator, given| {
        let found = evaluator.lookup.lookup(
            &arguments::text(given, 0),
            &arguments::text(given, 1),
            &arguments::text(given, 2),
            &arguments::text(given, 3),
        );
        match found {
            Ok(Some(object)) => Ok(from_yaml(&crate::goyaml::from_json_value(&object))),
            Ok(None) => Ok(Value::map(Entries::new())),
            Err(message) => Err(Failure::new(message)),
        }
    }),
    // Names are never resolved: a chart could leak data through them.
    fixed("getHostByName", &[String], |_, _| Ok("".into())),
];

fn include(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let name = arguments::string(given, 0);
    let Some(template) = evaluator.templates.find(&name).map(Arc::clone) else {
        let message = format!("template: no template {} associated with template \"gotpl\"", quoted(&name));
        return Err(Failure::new(message));
    };
    let count = evaluator.included.entry(Text::clone(&name)).or_default();
    if *count > MAX_INCLUDES {
        let message =
            format!("rendering template has a nested reference name: {}: unable to execute template", quoted(&name));
        return Err(Failure::limit(message));
    }
    *count += 1;
    let result = evaluator.execute(&template, &arguments::any(given, 1));
    if let Some(count) = evaluator.included.get_mut(&name) {
        *count -= 1;
    }
    result.map(Value::from)
}

fn tpl(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let source = arguments::string(given, 0);
    // Most texts have no action at all.
    if memchr::memmem::find(&source, b"{{").is_none() {
        let missing = memchr::memmem::find(&source, NO_VALUE).is_some();
        return Ok(if missing { without_no_value(source.to_vec()).into() } else { Value::String(source) });
    }
    let parsed = parse(evaluator, &source)?;
    let Some(main) = parsed.last().map(Arc::clone) else { return Ok("".into()) };
    let outer = Rc::clone(&evaluator.templates);
    if parsed.len() > 1 {
        let mut set = Set::below(&outer);
        parsed.iter().rev().skip(1).for_each(|template| set.add(Arc::clone(template)));
        evaluator.templates = Rc::new(set);
    }
    let result = evaluator.execute(&main, &arguments::any(given, 1));
    evaluator.templates = outer;
    match result {
        Ok(printed) => Ok(without_no_value(printed).into()),
        Err(failure) => {
            let message = format!("error during tpl function execution for {}: {}", shown(&source), failure.message);
            Err(Failure { message, ..failure })
        }
    }
}

/// How much of a text a message shows: a `tpl` inside a thousand others shows each of them.
const SHOWN_BYTES: usize = 1_000;

fn shown(source: &Text) -> std::string::String {
    match source.get(..SHOWN_BYTES) {
        Some(start) if source.len() > SHOWN_BYTES => format!("{}…", quoted(start)),
        _ => quoted(source),
    }
}

/// The templates of a text, the text itself last.
fn parse(evaluator: &mut Evaluator<'_>, source: &Text) -> Result<Rc<Vec<Arc<Template>>>, Failure> {
    if let Some(known) = evaluator.parsed.get(source) {
        return Ok(Rc::clone(known));
    }
    evaluator.reserve(source.len())?;
    let templates = parser::parse(TPL_NAME, source).map_err(|error| {
        let place = format!("template: gotpl:{}", error.line);
        Failure::new(format!("cannot parse template {}: {place}: {}", shown(source), error.message))
    })?;
    let tokens = templates.first().map_or(0, |template| template.source.tokens);
    evaluator.reserve(tokens.saturating_mul(TOKEN_BYTES))?;
    let templates = Rc::new(templates.into_iter().map(Arc::new).collect::<Vec<_>>());
    evaluator.parsed.insert(Text::clone(source), Rc::clone(&templates));
    Ok(templates)
}

/// What Go prints for missing values.
const NO_VALUE: &[u8] = b"<no value>";

/// Removes what Go prints for missing values.
pub(crate) fn without_no_value(printed: Vec<u8>) -> Vec<u8> {
    if memchr::memmem::find(&printed, NO_VALUE).is_none() {
        return printed;
    }
    let mut out = Vec::with_capacity(printed.len());
    let mut start = 0;
    for found in memchr::memmem::find_iter(&printed, NO_VALUE) {
        out.extend_from_slice(printed.get(start..found).unwrap_or_default());
        start = found + NO_VALUE.len();
    }
    out.extend_from_slice(printed.get(start..).unwrap_or_default());
    out
}
