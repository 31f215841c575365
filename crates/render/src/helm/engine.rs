//! Renders all templates of a chart and its subcharts, in Helm's order, on a stack of its own.

use std::{collections::BTreeMap, rc::Rc, sync::Arc, thread};

use super::{
    builtin,
    chart::{Chart, TemplateFile},
    failure::Failure,
    functions::{helm::without_no_value, random::Random},
    options::{Lookup, Options},
    template::{MAX_TOKENS, evaluate::Evaluator, set::Set},
    value::{Entries, Map, Text, Value, text},
    values::{Tree, Value as Given},
};
use crate::Error;

/// Stack of the evaluation. Only what is used of it becomes real.
const STACK_BYTES: usize = 512 << 20;

/// Charts of more tokens are refused: with this many, the syntax trees take some 200 MiB.
const MAX_TOKENS_OF_CHART: usize = 3 * MAX_TOKENS;

/// Longer texts of `fail` and `required`, and longer messages, are cut.
const LONGEST_MESSAGE: usize = 64 << 10;

/// What each template printed, by full name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Renders a chart whose dependencies have been processed, with values that have been coalesced.
pub(super) fn render(chart: &Chart, values: &Tree, options: &Options, lookup: &dyn Lookup) -> Result<Files, Error> {
    let work = || evaluate(chart, values, options, lookup);
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("helm".to_owned()).stack_size(STACK_BYTES);
        let handle = builder.spawn_scoped(scope, work);
        let handle = handle.map_err(|error| failed(format!("no thread to render on: {error}")))?;
        handle.join().unwrap_or_else(|_| Err(failed("the templates could not be evaluated".to_owned())))
    })
}

fn failed(message: String) -> Error {
    Error::Template { path: String::new(), line: 0, column: 0, message }
}

/// A template file in its place.
struct Placed {
    name: String,
    file: Arc<TemplateFile>,
    dot: Map,
    base_path: String,
}

fn evaluate(chart: &Chart, values: &Tree, options: &Options, lookup: &dyn Lookup) -> Result<Files, Error> {
    let shared = Shared {
        release: builtin::release(&options.release),
        capabilities: builtin::capabilities(&options.capabilities),
    };
    let mut placed = Vec::new();
    place(chart, &chart.metadata.name, true, from_given(&Given::Map(values.clone())), &shared, &mut placed);
    // The deepest come first, and names in reverse: what is higher up defines last, and so wins.
    let depth = |placed: &Placed| placed.name.matches('/').count();
    placed.sort_by(|left, right| (depth(right), &right.name).cmp(&(depth(left), &left.name)));
    let mut set = Set::default();
    let mut tokens = 0_usize;
    for template in &placed {
        let parsed = template.file.parsed(template.name.as_bytes()).map_err(|error| {
            let line = line_of(&template.file.file.data, error.line as u64);
            Error::Template {
                path: template.name.clone(),
                line: error.line as u64,
                column: 0,
                message: format!("parse error at ({}:{}): {}{line}", template.name, error.line, error.message),
            }
        })?;
        tokens = tokens.saturating_add(parsed.first().map_or(0, |template| template.source.tokens));
        if tokens > MAX_TOKENS_OF_CHART {
            return Err(failed(format!("the templates of the chart have more than {MAX_TOKENS_OF_CHART} words")));
        }
        parsed.into_iter().for_each(|template| set.add(template));
    }
    let mut evaluator =
        Evaluator::new(Rc::new(set), &options.limits, lookup, Random::new(options.seed), (options.now, 0));
    let mut files = Files::new();
    let (mut failure, mut printed_bytes) = (None, 0_usize);
    for template in &placed {
        if base_name(&template.name).starts_with('_') {
            continue;
        }
        let about = [("Name", &template.name), ("BasePath", &template.base_path)];
        let about = about.into_iter().map(|(key, value)| (text(key), Value::string(value))).collect();
        template.dot.insert(text("Template"), as_values(&Value::map(about)));
        let Some(found) = evaluator.templates.find(template.name.as_bytes()).map(Arc::clone) else { continue };
        evaluator.random = Random::of_template(&options.seed, &template.name);
        match evaluator.execute(&found, &Value::Map(template.dot.as_values())) {
            Ok(printed) => {
                let printed = without_no_value(printed);
                printed_bytes = printed_bytes.saturating_add(printed.len());
                if printed_bytes > options.limits.output {
                    let limit = options.limits.output;
                    failure = Some(failed(format!("the output of all templates exceeds the limit of {limit} bytes")));
                    break;
                }
                files.insert(template.name.clone(), printed);
            }
            Err(error) => {
                failure = Some(explain(error, &placed));
                break;
            }
        }
    }
    evaluator.finish();
    // What templates made may refer to itself in circles; the tables that lead there are taken apart.
    placed.iter().for_each(|template| template.dot.clear());
    failure.map_or(Ok(files), Err)
}

struct Shared {
    release: Value,
    capabilities: Value,
}

/// Puts the templates of a chart and its subcharts in their places; gives what the parent sees below `.Subcharts`.
fn place(chart: &Chart, path: &str, is_root: bool, values: Value, shared: &Shared, placed: &mut Vec<Placed>) -> Map {
    let subcharts = Map::new(Entries::new());
    let entries = [
        ("Chart", builtin::chart(&chart.metadata, is_root)),
        ("Files", builtin::files(&chart.files)),
        ("Release", shared.release.clone()),
        ("Capabilities", shared.capabilities.clone()),
        ("Values", as_values(&values)),
        ("Subcharts", Value::Map(subcharts.clone())),
    ];
    let dot = Map::new(entries.into_iter().map(|(key, value)| (text(key), value)).collect());
    for subchart in &chart.dependencies {
        let name = &subchart.metadata.name;
        let below = match &values {
            Value::Map(map) => map.get(name.as_bytes()).filter(|below| matches!(below, Value::Map(_))),
            _ => None,
        };
        let below = below.unwrap_or_else(|| Value::map(Entries::new()));
        let inner = place(subchart, &format!("{path}/charts/{name}"), false, below, shared, placed);
        subcharts.insert(text(name), Value::Map(inner));
    }
    for file in &chart.templates {
        // A library only defines.
        if chart.metadata.is_library() && !base_name(&file.file.name).starts_with('_') {
            continue;
        }
        placed.push(Placed {
            name: format!("{path}/{}", file.file.name),
            file: Arc::clone(file),
            dot: dot.clone(),
            base_path: format!("{path}/templates"),
        });
    }
    dot
}

fn as_values(value: &Value) -> Value {
    match value {
        Value::Map(map) => Value::Map(map.as_values()),
        other => other.clone(),
    }
}

pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Values as templates see them: whole numbers are those of `--set`.
fn from_given(given: &Given) -> Value {
    match given {
        Given::Null => Value::Nil,
        Given::Bool(value) => Value::Bool(*value),
        Given::Int(number) => Value::Int64(*number),
        Given::Uint(number) => Value::Float(*number as f64),
        Given::Float(number) => Value::Float(*number),
        Given::String(content) => Value::String(Text::clone(content)),
        Given::List(items) => Value::list(items.iter().map(from_given).collect()),
        Given::Map(map) => Value::map(map.iter().map(|(key, value)| (Text::clone(key), from_given(value))).collect()),
    }
}

/// A failure with its place and the line of the template that it is about.
fn explain(failure: Failure, placed: &[Placed]) -> Error {
    let mut parts = failure.location.rsplitn(3, ':');
    let column = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let line = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let path = parts.next().unwrap_or_default().to_owned();
    let source = placed.iter().find(|placed| placed.name == path);
    let shown = source.map(|placed| line_of(&placed.file.file.data, line)).unwrap_or_default();
    let message = match failure.by_author {
        Some(words) if !failure.location.is_empty() => format!("execution error at ({}): {words}", failure.location),
        _ => failure.message,
    };
    let message = shortened(message);
    Error::Template { path, line, column, message: format!("{message}{shown}") }
}

fn shortened(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        let end = (0..=LONGEST_MESSAGE).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
        message.truncate(end);
        message.push('…');
    }
    message
}

/// The line of a text, to be put below a message; nothing when there is no such line.
fn line_of(data: &[u8], line: u64) -> String {
    const SHOWN: usize = 200;
    let index = usize::try_from(line).ok().and_then(|line| line.checked_sub(1));
    let found = index.and_then(|index| data.split(|byte| *byte == b'\n').nth(index));
    let Some(found) = found else { return String::new() };
    let text: String = String::from_utf8_lossy(found).trim_end().chars().take(SHOWN).collect();
    if text.trim().is_empty() { String::new() } else { format!("\n  {line} | {text}") }
}
