//! `--set` and its relatives: `a.b[0].c=value,…`, after Helm's `strvals`.

use std::cell::Cell;

use super::{Tree, Value};
use crate::goyaml::{self, Bytes};

/// Deeper keys are refused, as by Helm.
const MAX_NESTING: usize = 30;

/// Larger indices are refused, as by Helm.
const MAX_INDEX: usize = 65_536;

/// Elements of lists that all arguments together may fill up or copy: `a[65536]=` makes as many of ten bytes.
pub(super) const MAX_ELEMENTS: usize = 4 << 20;

/// What the text after `=` means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Numbers, booleans and null are recognised.
    Typed,
    /// Everything is text.
    Text,
    /// JSON.
    Json,
    /// The rest of the argument, as it is.
    Literal,
}

/// Sets what `argument` says; takes what it needs from `elements`, which begins as [`MAX_ELEMENTS`]. `transform` makes the value of a text (the content of a file, for `--set-file`).
pub(super) fn assign(
    argument: &str,
    style: Style,
    transform: &dyn Fn(String) -> Result<Value, String>,
    elements: &Cell<usize>,
    target: &mut Tree,
) -> Result<(), String> {
    let mut parser = Parser { rest: argument, style, transform, elements };
    loop {
        match parser.key(target, 0) {
            Ok(()) => {}
            Err(Stop::End) => return Ok(()),
            Err(Stop::Because(message)) => return Err(message),
        }
    }
}

/// `true`, `null`, `12`, else text: numbers that begin with 0 stay text.
pub(super) fn typed(text: String) -> Value {
    match text.to_ascii_lowercase().as_str() {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        "null" => return Value::Null,
        "0" => return Value::Int(0),
        _ => {}
    }
    match text.parse() {
        Ok(number) if !text.starts_with('0') => Value::Int(number),
        _ => Value::string(text),
    }
}

/// Why a key could not be read: the input is used up, or a mistake.
enum Stop {
    End,
    Because(String),
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Stop::Because(message)
    }
}

struct Parser<'a> {
    rest: &'a str,
    style: Style,
    transform: &'a dyn Fn(String) -> Result<Value, String>,
    elements: &'a Cell<usize>,
}

fn set(target: &mut Tree, key: &str, value: Value) {
    // A key without a name is dropped, as by Helm.
    if !key.is_empty() {
        target.insert(Bytes::from(key.as_bytes()), value);
    }
}

fn set_index(mut list: Vec<Value>, index: usize, value: Value) -> Result<Vec<Value>, Stop> {
    if index > MAX_INDEX {
        return Err(format!("index of {index} is greater than maximum supported index of {MAX_INDEX}").into());
    }
    if list.len() <= index {
        list.resize(index + 1, Value::Null);
    }
    if let Some(place) = list.get_mut(index) {
        *place = value;
    }
    Ok(list)
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let found = characters.next()?;
        self.rest = characters.as_str();
        Some(found)
    }

    /// Takes from what arguments may fill up or copy.
    fn spend(&self, elements: usize) -> Result<(), Stop> {
        match self.elements.get().checked_sub(elements) {
            Some(left) => {
                self.elements.set(left);
                Ok(())
            }
            None => Err(format!("the arguments make more than {MAX_ELEMENTS} elements of lists").into()),
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// The text up to one of the characters, which is taken too; `None` at the end of the input.
    fn until(&mut self, stops: &[char]) -> (String, Option<char>) {
        let mut text = String::new();
        while let Some(character) = self.next() {
            if stops.contains(&character) {
                return (text, Some(character));
            }
            if character == '\\' && self.style != Style::Literal {
                match self.next() {
                    Some(escaped) => text.push(escaped),
                    None => return (text, None),
                }
            } else {
                text.push(character);
            }
        }
        (text, None)
    }

    fn key(&mut self, target: &mut Tree, nesting: usize) -> Result<(), Stop> {
        let stops: &[char] = if self.style == Style::Literal { &['=', '[', '.'] } else { &['=', '[', ',', '.'] };
        let (key, stop) = self.until(stops);
        match stop {
            None if key.is_empty() => Err(Stop::End),
            None => Err(format!("key {key:?} has no value").into()),
            Some('[') => {
                let index = self.index()?;
                let list = match target.get(key.as_bytes()) {
                    None => Vec::new(),
                    Some(Value::List(list)) => list.clone(),
                    Some(_) => return Err(format!("unable to parse key: {key:?} is no list").into()),
                };
                self.spend(list.len())?;
                let (list, stop) = self.item(list, index, nesting);
                set(target, &key, Value::List(list));
                stop
            }
            Some('=') => {
                let (value, stop) = self.value()?;
                set(target, &key, value);
                stop
            }
            Some(',') => {
                set(target, &key, Value::string(""));
                Err(format!("key {key:?} has no value (cannot end with ,)").into())
            }
            Some(_) => {
                if nesting + 1 > MAX_NESTING {
                    return Err(format!(
                        "value name nested level is greater than maximum supported nested level of {MAX_NESTING}"
                    )
                    .into());
                }
                let mut inner = match target.get(key.as_bytes()) {
                    None => Tree::new(),
                    Some(Value::Map(map)) => map.clone(),
                    Some(_) => return Err(format!("unable to parse key: {key:?} is no map").into()),
                };
                self.spend(inner.len())?;
                let outcome = self.key(&mut inner, nesting + 1);
                if inner.is_empty() {
                    return match outcome {
                        Ok(()) => Err(format!("key map {key:?} has no value").into()),
                        other => other,
                    };
                }
                set(target, &key, Value::Map(inner));
                outcome
            }
        }
    }

    fn index(&mut self) -> Result<usize, Stop> {
        let (text, stop) = self.until(&[']']);
        if stop.is_none() {
            return Err("error parsing index: there is no ]".to_owned().into());
        }
        match text.parse::<i64>() {
            Ok(index) if index < 0 => Err(format!("negative {index} index not allowed").into()),
            Ok(index) => Ok(usize::try_from(index).unwrap_or(usize::MAX)),
            Err(_) => Err(format!("error parsing index: {text:?} is no number").into()),
        }
    }

    /// The list with the element set, and how the input went on.
    fn item(&mut self, list: Vec<Value>, index: usize, nesting: usize) -> (Vec<Value>, Result<(), Stop>) {
        let (text, stop) = self.until(&['[', '.', '=']);
        if !text.is_empty() {
            return (list, Err(format!("unexpected data at end of array index: {text:?}").into()));
        }
        if let Err(error) = self.spend((index.min(MAX_INDEX) + 1).saturating_sub(list.len())) {
            return (list, Err(error));
        }
        let store = |list: Vec<Value>, value: Value, stop: Result<(), Stop>| match set_index(list, index, value) {
            Ok(list) => (list, stop),
            Err(error) => (Vec::new(), Err(error)),
        };
        match stop {
            None => (list, Err(Stop::End)),
            Some('=') => match self.value() {
                // Helm forgets here that the input has ended, and notices at the next key.
                Ok((value, _)) => store(list, value, Ok(())),
                Err(error) => (list, Err(error)),
            },
            Some('[') => {
                if nesting + 1 > MAX_NESTING {
                    return (list, Err(format!("lists are nested deeper than {MAX_NESTING}").into()));
                }
                let next = match self.index() {
                    Ok(next) => next,
                    Err(error) => return (list, Err(error)),
                };
                let inner = match list.get(index) {
                    Some(Value::List(inner)) => match self.spend(inner.len()) {
                        Ok(()) => inner.clone(),
                        Err(error) => return (list, Err(error)),
                    },
                    None | Some(Value::Null) => Vec::new(),
                    Some(_) => return (list, Err("unable to parse key: the element is no list".to_owned().into())),
                };
                match self.item(inner, next, nesting + 1) {
                    (inner, Ok(())) => store(list, Value::List(inner), Ok(())),
                    (_, error) => (list, error),
                }
            }
            Some(_) => {
                let mut inner = match list.get(index) {
                    Some(Value::Map(map)) => map.clone(),
                    _ => Tree::new(),
                };
                match self.key(&mut inner, nesting) {
                    Ok(()) => store(list, Value::Map(inner), Ok(())),
                    // An empty value at the end reaches only a map that was there before.
                    Err(Stop::End) if list.len() > index => store(list, Value::Map(inner), Err(Stop::End)),
                    error => (list, error),
                }
            }
        }
    }

    /// The value after `=`, and whether the input ended with it.
    fn value(&mut self) -> Result<(Value, Result<(), Stop>), Stop> {
        match self.style {
            Style::Json => return Ok((self.json()?, Ok(()))),
            Style::Literal => return Ok((Value::string(std::mem::take(&mut self.rest)), Ok(()))),
            Style::Typed | Style::Text => {}
        }
        match self.peek() {
            None => Ok((Value::string(""), Err(Stop::End))),
            Some('{') => {
                self.next();
                Ok((Value::List(self.list()?), Ok(())))
            }
            Some(_) => {
                let (text, _) = self.until(&[',']);
                Ok(((self.transform)(text)?, Ok(())))
            }
        }
    }

    fn list(&mut self) -> Result<Vec<Value>, Stop> {
        let mut list = Vec::new();
        loop {
            let (text, stop) = self.until(&[',', '}']);
            match stop {
                None => return Err("list must terminate with '}'".to_owned().into()),
                Some('}') => {
                    if self.peek() == Some(',') {
                        self.next();
                    }
                    list.push((self.transform)(text)?);
                    return Ok(list);
                }
                Some(_) => list.push((self.transform)(text)?),
            }
        }
    }

    fn json(&mut self) -> Result<Value, Stop> {
        if self.ends_here() {
            return Ok(Value::Null);
        }
        let mut documents = serde_json::Deserializer::from_str(self.rest).into_iter::<serde_json::Value>();
        let value = match documents.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => return Err(error.to_string().into()),
            None => return Err("there is no JSON after =".to_owned().into()),
        };
        self.rest = self.rest.get(documents.byte_offset()..).unwrap_or_default();
        let mut value = goyaml::from_json_value(&value);
        goyaml::numbers_to_float(&mut value);
        self.ends_here();
        Ok(value)
    }

    /// Takes blanks, and a comma after them; whether there is no value.
    fn ends_here(&mut self) -> bool {
        loop {
            match self.peek() {
                None => return true,
                Some(',') => {
                    self.next();
                    return true;
                }
                Some(blank) if blank.is_whitespace() => {
                    self.next();
                }
                Some(_) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::{Value as Json, json};

    use super::*;

    fn set(argument: &str, style: Style) -> Result<Json, String> {
        let plain = |text: String| Ok(if style == Style::Typed { typed(text) } else { Value::string(text) });
        let mut tree =
            Tree::from_iter([(Bytes::from(b"old".as_slice()), Value::List(vec![Value::Int(1), Value::Int(2)]))]);
        assign(argument, style, &plain, &Cell::new(MAX_ELEMENTS), &mut tree)?;
        let mut json = goyaml::to_json_value(&Value::Map(tree));
        if json["old"] == json!([1, 2]) {
            json.as_object_mut().unwrap().remove("old");
        }
        Ok(json)
    }

    #[test]
    fn arguments_set_what_they_name() {
        for (argument, expected) in [
            ("a=1,b=x", json!({"a": 1, "b": "x"})),
            ("a.b.c=true", json!({"a": {"b": {"c": true}}})),
            ("a={x,1,null}", json!({"a": ["x", 1, null]})),
            ("a[2]=x", json!({"a": [null, null, "x"]})),
            ("a[0].b=1,a[0].c=2", json!({"a": [{"b": 1, "c": 2}]})),
            ("a[1][0]=x", json!({"a": [null, ["x"]]})),
            ("old[1]=3", json!({"old": [1, 3]})),
            (r"a\.b=1", json!({"a.b": 1})),
            (r"a=1\,2", json!({"a": "1,2"})),
            ("a=", json!({"a": ""})),
            ("a=007", json!({"a": "007"})),
            ("a=null", json!({"a": null})),
            ("a=1.5", json!({"a": "1.5"})),
            ("a=9223372036854775808", json!({"a": "9223372036854775808"})),
            ("", json!({})),
        ] {
            assert_eq!(set(argument, Style::Typed), Ok(expected), "{argument}");
        }
    }

    #[test]
    fn text_stays_text_and_a_literal_takes_the_rest() {
        assert_eq!(set("a=1,b=true", Style::Text), Ok(json!({"a": "1", "b": "true"})));
        assert_eq!(set(r"a.b=1,b={x\,=", Style::Literal), Ok(json!({"a": {"b": r"1,b={x\,="}})));
        assert_eq!(set(r#"a={"b": [1, null]},c="x,y""#, Style::Json), Ok(json!({"a": {"b": [1, null]}, "c": "x,y"})));
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        for argument in [
            "a",
            "a,b=1",
            "a[x]=1",
            "a[1=1",
            "a[-1]=1",
            "a[65537]=1",
            "a[0]x=1",
            "a={1",
            "old.b=1",
            "a=1,a.b=2",
            "a=1,a[0]=2",
        ] {
            assert!(set(argument, Style::Typed).is_err(), "{argument}");
        }
        assert!(set("a={", Style::Json).is_err());
        assert!(set(&format!("{}=1", "a.".repeat(40)), Style::Typed).is_err());
    }

    #[test]
    fn elements_are_counted_over_all_arguments() {
        let elements = Cell::new(MAX_ELEMENTS);
        let mut tree = Tree::new();
        let outcomes: Vec<bool> = (0..100)
            .map(|number| {
                assign(&format!("a{number}[65535]=1"), Style::Typed, &|text| Ok(typed(text)), &elements, &mut tree)
                    .is_ok()
            })
            .collect();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome).count(), 64);
    }
}
