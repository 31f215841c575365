//! Label and field selectors of lists and watches.

use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    registry::Resource,
    status::{Error, Result},
};

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// `key=a`, `key in (a,b)`.
    In(String, Vec<String>),
    /// `key!=a`, `key notin (a,b)`; holds for objects without the label.
    NotIn(String, Vec<String>),
    /// `key`.
    Exists(String),
    /// `!key`.
    Absent(String),
    /// `key>1`.
    Greater(String, i64),
    /// `key<1`.
    Less(String, i64),
}

/// One requirement on a field.
#[derive(Clone, Debug)]
struct FieldRequirement {
    pointer: String,
    equal: bool,
    value: String,
}

/// What a list or watch selects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Deserialize)]
struct Labelled<'a> {
    #[serde(borrow)]
    metadata: Labels<'a>,
}

#[derive(Deserialize)]
struct Labels<'a> {
    #[serde(borrow, default)]
    labels: Option<HashMap<Cow<'a, str>, Cow<'a, str>>>,
}

// === impl Requirement ===

impl Requirement {
    /// Whether labels satisfy it.
    pub(crate) fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::In(key, values) => label(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(key, values) => label(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Self::Exists(key) => label(key).is_some(),
            Self::Absent(key) => label(key).is_none(),
            Self::Greater(key, than) => label(key).and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *than),
            Self::Less(key, than) => label(key).and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *than),
        }
    }
}

/// Reads a label selector: `app=a,tier in (x,y),!legacy`.
pub(crate) fn parse_labels(text: &str) -> Result<Vec<Requirement>> {
    let bad =
        |what: &str| Error::bad_request(format!("unable to parse requirement: {what} in label selector {text:?}"));
    let mut requirements = Vec::new();
    for part in split_outside_parentheses(text) {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        let values = |list: &str| -> Result<Vec<String>> {
            let list = list
                .trim()
                .strip_prefix('(')
                .and_then(|l| l.strip_suffix(')'))
                .ok_or_else(|| bad("expected a list in parentheses"))?;
            Ok(list.split(',').map(|v| v.trim().to_owned()).collect())
        };
        let number = |value: &str| value.trim().parse::<i64>().map_err(|_| bad("expected a whole number"));
        let requirement = if let Some(key) = part.strip_prefix('!') {
            Requirement::Absent(key.trim().to_owned())
        } else if let Some((key, list)) = split_word(part, "notin") {
            Requirement::NotIn(key, values(list)?)
        } else if let Some((key, list)) = split_word(part, "in") {
            Requirement::In(key, values(list)?)
        } else if let Some((key, value)) = part.split_once("!=") {
            Requirement::NotIn(key.trim().to_owned(), vec![value.trim().to_owned()])
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            Requirement::In(key.trim().to_owned(), vec![value.trim().to_owned()])
        } else if let Some((key, value)) = part.split_once('>') {
            Requirement::Greater(key.trim().to_owned(), number(value)?)
        } else if let Some((key, value)) = part.split_once('<') {
            Requirement::Less(key.trim().to_owned(), number(value)?)
        } else {
            Requirement::Exists(part.to_owned())
        };
        let key = match &requirement {
            Requirement::In(key, values) | Requirement::NotIn(key, values) => {
                for value in values {
                    lotse_schema::names::label_value(value)
                        .map_err(|why| bad(&format!("invalid label value {value:?}: {why}")))?;
                }
                key
            }
            Requirement::Exists(key) | Requirement::Absent(key) => key,
            Requirement::Greater(key, _) | Requirement::Less(key, _) => key,
        };
        lotse_schema::names::qualified_name(key).map_err(|why| bad(&format!("invalid label key {key:?}: {why}")))?;
        requirements.push(requirement);
    }
    Ok(requirements)
}

fn split_outside_parentheses(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn split_word<'a>(part: &'a str, word: &str) -> Option<(String, &'a str)> {
    let (key, rest) = part.split_once(char::is_whitespace)?;
    let rest = rest.trim_start().strip_prefix(word)?;
    (rest.starts_with(['(', ' '])).then(|| (key.to_owned(), rest))
}

// === impl Selection ===

impl Selection {
    /// Reads `labelSelector` and `fieldSelector`; a field that the kind does not offer is refused.
    pub(crate) fn parse(labels: Option<&str>, fields: Option<&str>, resource: &Resource) -> Result<Self> {
        let labels = labels.map(parse_labels).transpose()?.unwrap_or_default();
        let mut requirements = Vec::new();
        for part in fields.unwrap_or_default().split(',').filter(|part| !part.trim().is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, true, value)
            } else {
                return Err(Error::bad_request(format!("invalid selector: {part:?}; can't understand it")));
            };
            let pointer = match field.trim() {
                "metadata.name" => "/metadata/name",
                "metadata.namespace" => "/metadata/namespace",
                field => resource
                    .kind
                    .selectable_fields
                    .iter()
                    .find(|(name, _)| name == field)
                    .map(|(_, pointer)| &**pointer)
                    .ok_or_else(|| Error::bad_request(format!("field label not supported: {field}")))?,
            };
            requirements.push(FieldRequirement { pointer: pointer.to_owned(), equal, value: value.trim().to_owned() });
        }
        Ok(Self { labels, fields: requirements })
    }

    /// Whether everything is selected.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that can match, if the selection says so.
    pub(crate) fn only_name(&self) -> Option<&str> {
        self.fields.iter().find(|r| r.equal && r.pointer == "/metadata/name").map(|r| r.value.as_str())
    }

    /// Whether a stored object is selected. Looks only at labels where no field is asked for.
    pub(crate) fn matches(&self, resource: &Resource, bytes: &[u8]) -> bool {
        if self.is_empty() {
            return true;
        }
        if !self.labels.is_empty() {
            let Ok(object) = serde_json::from_slice::<Labelled<'_>>(bytes) else { return false };
            let labels = object.metadata.labels.unwrap_or_default();
            if !self.labels.iter().all(|r| r.matches(|key| labels.get(key).map(|v| &**v))) {
                return false;
            }
        }
        if self.fields.is_empty() {
            return true;
        }
        let Ok(mut object) = serde_json::from_slice::<Value>(bytes) else { return false };
        let _ = resource.kind.from_stored(&mut object);
        self.fields.iter().all(|requirement| {
            let actual = match object.pointer(&requirement.pointer) {
                Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
                Some(Value::Null) | None => Cow::Borrowed(""),
                Some(other) => Cow::Owned(other.to_string()),
            };
            (actual == requirement.value) == requirement.equal
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn label_selectors_read_as_kubernetes_reads_them() {
        let labels: HashMap<&str, &str> = [("app", "web"), ("tier", "a"), ("n", "5")].into();
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=a", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (web, db)", true),
            ("app notin (web,db)", false),
            ("other notin (a)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("n>4,n<6", true),
            ("n>5", false),
        ] {
            let requirements = parse_labels(selector).unwrap();
            assert_eq!(requirements.iter().all(|r| r.matches(|k| labels.get(k).copied())), expected, "{selector}");
        }
        for bad in ["app in web", "n>x"] {
            assert!(parse_labels(bad).is_err(), "{bad}");
        }
    }
}
