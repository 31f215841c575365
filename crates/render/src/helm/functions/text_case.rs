//! Sprig's functions that change the case of words.

use super::{
    Function,
    Parameter::String,
    arguments, fixed,
    strings::{map_text, simple_lower, simple_upper},
};

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("title", &[String], |_, given| Ok(map_text(arguments::bytes(given, 0), title))),
    fixed("untitle", &[String], |_, given| Ok(map_text(arguments::bytes(given, 0), untitle))),
    fixed("swapcase", &[String], |_, given| Ok(map_text(arguments::bytes(given, 0), swap_case))),
    fixed("snakecase", &[String], |_, given| Ok(map_text(arguments::bytes(given, 0), |text| delimited(text, '_')))),
    fixed("kebabcase", &[String], |_, given| Ok(map_text(arguments::bytes(given, 0), |text| delimited(text, '-')))),
    fixed("camelcase", &[String], |_, given| Ok(map_text(arguments::bytes(given, 0), pascal))),
];

/// `strings.Title`: every letter that begins a word.
fn title(text: &str) -> std::string::String {
    let mut previous = ' ';
    let changed = text.chars().map(|character| {
        let starts = is_separator(previous);
        previous = character;
        if starts { simple_upper(character) } else { character }
    });
    changed.collect()
}

fn is_separator(character: char) -> bool {
    if character.is_ascii() {
        return !(character.is_ascii_alphanumeric() || character == '_');
    }
    !character.is_alphanumeric() && character.is_whitespace()
}

/// The first letter of every word in lower case.
fn untitle(text: &str) -> std::string::String {
    let mut starts = true;
    let changed = text.chars().map(|character| {
        let first = starts;
        starts = character.is_whitespace();
        if first && !starts { simple_lower(character) } else { character }
    });
    changed.collect()
}

/// Upper to lower, lower to upper.
fn swap_case(text: &str) -> std::string::String {
    let changed = text.chars().map(|character| {
        if character.is_uppercase() {
            simple_lower(character)
        } else if character.is_lowercase() {
            simple_upper(character)
        } else {
            character
        }
    });
    changed.collect()
}

fn is_connector(character: char) -> bool {
    matches!(character, '-' | '_') || character.is_whitespace()
}

/// Punctuation as Unicode has it, of ASCII and Latin 1; `-` and `_` are connectors where they begin a word.
fn is_punctuation(character: char) -> bool {
    let is_symbol = "$+<=>^`|~".contains(character);
    (character.is_ascii_punctuation() && !is_symbol) || "¡§«¶·»¿‐‑‒–—‘’“”„†‡•…‰′″‹›".contains(character)
}

/// A letter of a script that has words of letters.
fn is_letter(character: char) -> bool {
    let symbols = matches!(character, '\u{3034}'..='\u{30fe}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}');
    character.is_alphabetic() && !symbols
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Begins with a capital.
    Capital,
    Small,
    Number,
    /// Of spaces, `-` and `_`.
    Connector,
    /// Letters of other scripts, and signs such as `$` and `=`: a word like one of letters.
    Symbol,
    Punctuation,
}

/// The words of a text as `xstrings` cuts it: `HTTPStatus2xx` is `HTTP`, `Status`, `2`, `xx`.
struct Words<'t> {
    rest: &'t str,
}

impl<'t> Iterator for Words<'t> {
    type Item = (Kind, &'t str);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.chars().next()?;
        let from = |start: usize, goes: fn(char) -> bool| {
            let rest = self.rest.get(start..).unwrap_or_default();
            start + rest.find(|character| !goes(character)).unwrap_or(rest.len())
        };
        let small = |character: char| is_letter(character) && !character.is_uppercase();
        let (kind, length) = match first {
            _ if is_connector(first) => (Kind::Connector, from(0, is_connector)),
            _ if is_punctuation(first) => (Kind::Punctuation, from(0, is_punctuation)),
            _ if first.is_uppercase() => {
                let capitals = from(0, char::is_uppercase);
                let last =
                    self.rest.get(..capitals).and_then(|word| word.chars().next_back()).map_or(0, char::len_utf8);
                let next = self.rest.get(capitals..).and_then(|rest| rest.chars().next());
                let length = match next {
                    _ if capitals == first.len_utf8() => from(capitals, small),
                    // The last capital begins the next word.
                    Some(next) if is_letter(next) => capitals - last,
                    _ => capitals,
                };
                (Kind::Capital, length)
            }
            _ if is_letter(first) => (Kind::Small, from(0, small)),
            _ if first.is_numeric() => (Kind::Number, from(0, char::is_numeric)),
            _ => {
                let goes = |character: char| {
                    !(is_connector(character)
                        || is_letter(character)
                        || character.is_numeric()
                        || is_punctuation(character))
                };
                (Kind::Symbol, from(0, goes))
            }
        };
        let (word, rest) = self.rest.split_at_checked(length.max(first.len_utf8()))?;
        self.rest = rest;
        Some((kind, word))
    }
}

/// Words in lower case with a delimiter between them. A number belongs to the word before it, unless small letters follow it
/// at once: then it begins a word.
fn delimited(text: &str, delimiter: char) -> std::string::String {
    let mut out = std::string::String::with_capacity(text.len() + 8);
    let mut words = Words { rest: text }.peekable();
    let is_word = |next: Option<&(Kind, &str)>| {
        next.is_some_and(|(kind, _)| !matches!(kind, Kind::Connector | Kind::Punctuation))
    };
    while let Some((kind, word)) = words.next() {
        match kind {
            Kind::Connector => out.extend(word.chars().map(|_| delimiter)),
            Kind::Capital => out.extend(word.chars().map(simple_lower)),
            _ => out.push_str(word),
        }
        let mut ends_word = matches!(kind, Kind::Capital | Kind::Small | Kind::Symbol);
        let mut takes_all = kind == Kind::Number;
        if ends_word && let Some((_, number)) = words.next_if(|(next, _)| *next == Kind::Number) {
            if words.peek().is_some_and(|(next, _)| *next == Kind::Small) {
                out.push(delimiter);
                takes_all = true;
            }
            out.push_str(number);
        }
        if takes_all {
            ends_word = true;
            while let Some((_, more)) = words.next_if(|(next, _)| matches!(next, Kind::Small | Kind::Number)) {
                out.push_str(more);
            }
        }
        if ends_word && is_word(words.peek()) {
            out.push(delimiter);
        }
    }
    out
}

/// `xstrings.ToPascalCase`: a connector vanishes and the letter after it is a capital; leading ones stay, and one of several.
fn pascal(text: &str) -> std::string::String {
    let mut out = std::string::String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(connector) = characters.next_if(|character| is_connector(*character)) {
        out.push(connector);
    }
    // Where there is nothing else, the last one appears twice.
    let Some(first) = characters.next().or(out.chars().next_back()) else { return out };
    let mut after_capital = first.is_uppercase();
    let mut held = simple_upper(first);
    for character in characters {
        let mut current = character;
        if is_connector(held) && is_connector(current) {
            out.push(held);
            held = current;
            continue;
        }
        if is_connector(held) {
            after_capital = current.is_uppercase();
            current = simple_upper(current);
        } else {
            // The rest of a word in capitals is written small.
            if after_capital && current.is_uppercase() {
                current = simple_lower(current);
            } else {
                after_capital = false;
            }
            out.push(held);
        }
        held = current;
    }
    out.push(held);
    out
}
