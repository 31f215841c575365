//! The subset of Kubernetes' JSONPath that CustomResourceDefinitions use: fields, indices, `[*]`, `..field` and filters such as
//! `[?(@.type=="Ready")]`. <https://kubernetes.io/docs/reference/kubectl/jsonpath/>

use serde_json::Value;

/// Longest accepted path, in bytes.
const LENGTH_LIMIT: usize = 1024;
/// Most values that a path may yield: a filter over a hostile object stays cheap.
const RESULT_LIMIT: usize = 1024;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Descend(String),
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    path: JsonPath,
    test: Option<(Comparison, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

// === impl JsonPath ===

impl JsonPath {
    /// Parses a path, with or without the leading `$` and the braces of kubectl.
    ///
    /// # Errors
    /// A sentence that says what is not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LENGTH_LIMIT {
            return Err(format!("must be no more than {LENGTH_LIMIT} bytes"));
        }
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let inner = inner.strip_prefix('$').unwrap_or(inner);
        if !inner.starts_with(['.', '[']) {
            return Err("must be a JSON path that starts with '.'".to_owned());
        }
        let mut parser = Parser { rest: inner };
        let path = parser.path(0)?;
        if parser.rest.is_empty() { Ok(path) } else { Err(format!("unexpected {:?}", parser.rest)) }
    }

    /// The JSON pointer of a path that consists of plain fields; `None` for anything else.
    pub(crate) fn pointer(&self) -> Option<String> {
        self.0.iter().try_fold(String::new(), |mut pointer, step| match step {
            Step::Field(name) => {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                Some(pointer)
            }
            _ => None,
        })
    }

    /// The values at the path, in document order.
    pub(crate) fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![root];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.follow(value, &mut next);
            }
            next.truncate(RESULT_LIMIT);
            found = next;
        }
        found
    }
}

impl Step {
    fn follow<'v>(&self, value: &'v Value, found: &mut Vec<&'v Value>) {
        match self {
            Self::Field(name) => found.extend(value.get(name)),
            Self::Index(index) => {
                let list = value.as_array().map_or(&[][..], Vec::as_slice);
                let at = if *index < 0 {
                    list.len().checked_sub(index.unsigned_abs() as usize)
                } else {
                    usize::try_from(*index).ok()
                };
                found.extend(at.and_then(|at| list.get(at)));
            }
            Self::All => match value {
                Value::Array(list) => found.extend(list),
                Value::Object(map) => found.extend(map.values()),
                _ => {}
            },
            Self::Descend(name) => descend(name, value, found),
            Self::Filter(filter) => {
                found.extend(value.as_array().into_iter().flatten().filter(|element| filter.accepts(element)));
            }
        }
    }
}

fn descend<'v>(name: &str, value: &'v Value, found: &mut Vec<&'v Value>) {
    if found.len() >= RESULT_LIMIT {
        return;
    }
    match value {
        Value::Object(map) => {
            found.extend(map.get(name));
            map.values().for_each(|child| descend(name, child, found));
        }
        Value::Array(list) => list.iter().for_each(|child| descend(name, child, found)),
        _ => {}
    }
}

impl Filter {
    fn accepts(&self, element: &Value) -> bool {
        let found = self.path.find(element);
        match &self.test {
            None => !found.is_empty(),
            Some((comparison, literal)) => found.first().is_some_and(|value| comparison.holds(value, literal)),
        }
    }
}

impl Comparison {
    fn holds(self, value: &Value, literal: &Value) -> bool {
        let order = match (value, literal) {
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            (Value::Number(one), Value::Number(other)) => {
                one.as_f64().zip(other.as_f64()).and_then(|(one, other)| one.partial_cmp(&other))
            }
            (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
            _ => None,
        };
        match self {
            Self::Equal => order.is_some_and(|order| order.is_eq()),
            Self::NotEqual => !order.is_some_and(|order| order.is_eq()),
            Self::Less => order.is_some_and(|order| order.is_lt()),
            Self::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Self::Greater => order.is_some_and(|order| order.is_gt()),
            Self::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected {token:?} before {:?}", self.rest)) }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    fn path(&mut self, depth: usize) -> Result<JsonPath, String> {
        let mut steps = Vec::new();
        loop {
            if self.eat("..") {
                steps.push(Step::Descend(self.name()?));
            } else if self.eat(".") {
                if self.rest.starts_with('[') || self.rest.is_empty() {
                    continue;
                }
                steps.push(if self.eat("*") { Step::All } else { Step::Field(self.name()?) });
            } else if self.eat("[") {
                steps.push(self.bracket(depth)?);
                self.expect("]")?;
            } else {
                return Ok(JsonPath(steps));
            }
        }
    }

    /// A field's name; `\.` stands for a dot within it.
    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
                c if c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | ':' | '@' | '$') => name.push(c),
                _ => {
                    end = at;
                    break;
                }
            }
        }
        self.rest = self.rest.get(end..).unwrap_or_default();
        if name.is_empty() { Err(format!("expected a field name before {:?}", self.rest)) } else { Ok(name) }
    }

    fn bracket(&mut self, depth: usize) -> Result<Step, String> {
        if self.eat("?(") {
            if depth > 0 {
                return Err("a filter within a filter is not supported".to_owned());
            }
            let filter = self.filter(depth)?;
            self.expect(")")?;
            return Ok(Step::Filter(filter));
        }
        if self.eat("*") {
            return Ok(Step::All);
        }
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Step::Field(self.quoted()?));
        }
        let end = self.rest.find(']').unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        let index = text
            .trim()
            .parse()
            .map_err(|_| format!("{text:?} is not an index; slices and unions are not supported"))?;
        self.rest = rest;
        Ok(Step::Index(index))
    }

    fn filter(&mut self, depth: usize) -> Result<Filter, String> {
        self.spaces();
        self.expect("@")?;
        let path = self.path(depth + 1)?;
        self.spaces();
        let operators = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let Some((_, comparison)) = operators.into_iter().find(|(token, _)| self.eat(token)) else {
            return Ok(Filter { path, test: None });
        };
        self.spaces();
        let literal = self.literal()?;
        self.spaces();
        Ok(Filter { path, test: Some((comparison, literal)) })
    }

    fn literal(&mut self) -> Result<Value, String> {
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(Value::from);
        }
        let end = self.rest.find([')', ' ']).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        serde_json::from_str::<Value>(text)
            .ok()
            .filter(|value| value.is_number() || value.is_boolean())
            .ok_or_else(|| format!("{text:?} is neither quoted text, a number, true nor false"))
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
                c if Some(c) == quote => {
                    self.rest = self.rest.get(at + c.len_utf8()..).unwrap_or_default();
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err("a quotation mark is not closed".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_custom_resource_definitions_are_followed() {
        let object = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "web"}},
            "spec": {"ports": [80, 443], "hosts": [{"name": "a"}, {"name": "b"}]},
            "status": {"conditions": [{"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True", "n": 3}]},
        });
        for (path, expected) in [
            (".spec.ports[0]", json!([80])),
            ("$.spec.ports[-1]", json!([443])),
            ("{.spec.hosts[*].name}", json!(["a", "b"])),
            (".spec..name", json!(["a", "b"])),
            (r".metadata.labels.app\.kubernetes\.io/name", json!(["web"])),
            (".metadata.labels['app.kubernetes.io/name']", json!(["web"])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type == 'Ready')].status", json!(["True"])),
            (".status.conditions[?(@.n > 2)].type", json!(["Ready"])),
            (".status.conditions[?(@.n)].type", json!(["Ready"])),
            (".status.nothing.here", json!([])),
            (".spec.ports[7]", json!([])),
        ] {
            assert_eq!(json!(JsonPath::parse(path).unwrap().find(&object)), expected, "{path}");
        }
    }

    #[test]
    fn paths_that_are_not_understood_are_refused() {
        for path in
            ["", "spec", ".spec[", ".spec[1:2]", ".a[?(@.b[?(@.c)])]", ".a[?(@.b==)]", ".a['b]", ". .a", ".spec }"]
        {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
        assert!(JsonPath::parse(&".a".repeat(1000)).is_err());
    }

    #[test]
    fn plain_paths_have_a_pointer() {
        assert_eq!(JsonPath::parse(".spec.replicas").unwrap().pointer().as_deref(), Some("/spec/replicas"));
        assert_eq!(JsonPath::parse(".spec.hosts[0]").unwrap().pointer(), None);
    }
}
