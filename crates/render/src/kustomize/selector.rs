//! Which objects a patch is for.

use regex::Regex;

use super::{kustomization::Selector, resource::Resource};

/// A part of a selector.
enum Pattern<'a> {
    Any,
    /// Nothing in it has a meaning in regular expressions: compiling one costs as much as patching an object.
    Word(&'a str),
    Expression(Box<Regex>),
}

// === impl Pattern ===

impl<'a> Pattern<'a> {
    fn new(pattern: &'a str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Ok(Self::Any);
        }
        if pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/')) {
            return Ok(Self::Word(pattern));
        }
        Regex::new(&format!("^(?:{pattern})$"))
            .map(|expression| Self::Expression(Box::new(expression)))
            .map_err(|_| format!("target: {pattern:?} is no valid regular expression"))
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Word(word) => *word == text,
            Self::Expression(expression) => expression.is_match(text),
        }
    }
}

/// The objects that a selector means, as indices. Patterns are anchored regular expressions.
pub(super) fn select(resources: &[Resource], selector: &Selector) -> Result<Vec<usize>, String> {
    let (group, version, kind) =
        (Pattern::new(&selector.group)?, Pattern::new(&selector.version)?, Pattern::new(&selector.kind)?);
    let (name, namespace) = (Pattern::new(&selector.name)?, Pattern::new(&selector.namespace)?);
    let mut found = Vec::new();
    for (index, resource) in resources.iter().enumerate() {
        let (current, original) = (resource.id(), resource.original_id());
        let selected = kind.fits(current.gvk.kind)
            && group.fits(current.gvk.group)
            && version.fits(current.gvk.version)
            && (name.fits(original.name) || name.fits(current.name))
            && (matches!(namespace, Pattern::Any)
                || namespace.fits(original.effective_namespace())
                || namespace.fits(current.effective_namespace()))
            && (selector.label_selector.is_empty()
                || matches_labels(&resource.words("labels"), &selector.label_selector)?)
            && (selector.annotation_selector.is_empty()
                || matches_labels(&resource.words("annotations"), &selector.annotation_selector)?);
        if selected {
            found.push(index);
        }
    }
    Ok(found)
}

/// A label selector in its text form: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.
pub(super) fn matches_labels(labels: &[(String, String)], selector: &str) -> Result<bool, String> {
    for term in terms(selector) {
        if !term_matches(labels, term.trim())
            .ok_or_else(|| format!("selector {selector:?}: {term:?} cannot be read"))?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Splits at commas outside parentheses.
fn terms(selector: &str) -> Vec<&str> {
    let (mut found, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, letter) in selector.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                found.extend(selector.get(begin..at));
                begin = at + 1;
            }
            _ => {}
        }
    }
    found.extend(selector.get(begin..).filter(|rest| !rest.trim().is_empty()));
    found
}

fn term_matches(labels: &[(String, String)], term: &str) -> Option<bool> {
    let value = |key: &str| labels.iter().find(|(name, _)| name == key.trim()).map(|(_, value)| value.as_str());
    if let Some(open) = term.find('(') {
        let inner = term.get(open + 1..)?.strip_suffix(')')?;
        let mut words = term.get(..open)?.split_whitespace();
        let (key, operator) = (words.next()?, words.next()?);
        let listed = value(key).is_some_and(|value| inner.split(',').any(|item| item.trim() == value));
        return match operator {
            "in" => Some(listed),
            "notin" => Some(!listed),
            _ => None,
        };
    }
    if let Some((key, wanted)) = term.split_once("!=") {
        return Some(value(key) != Some(wanted.trim()));
    }
    if let Some((key, wanted)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Some(value(key) == Some(wanted.trim()));
    }
    for (sign, wanted) in [('>', std::cmp::Ordering::Greater), ('<', std::cmp::Ordering::Less)] {
        if let Some((key, limit)) = term.split_once(sign) {
            let limit: i64 = limit.trim().parse().ok()?;
            let number = value(key).and_then(|value| value.parse::<i64>().ok());
            return Some(number.is_some_and(|number| number.cmp(&limit) == wanted));
        }
    }
    if term.is_empty() || term.contains(char::is_whitespace) {
        return None;
    }
    Some(match term.strip_prefix('!') {
        Some(key) => value(key).is_none(),
        None => value(term).is_some(),
    })
}
