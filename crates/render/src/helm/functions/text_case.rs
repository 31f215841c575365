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

/// Upper to lower, lower to upper, and to title case after white space.
fn swap_case(text: &str) -> std::string::String {
    let mut after_space = true;
    let changed = text.chars().map(|character| {
        let out = if character.is_uppercase() {
            simple_lower(character)
        } else if character.is_lowercase() {
            simple_upper(character)
        } else {
            character
        };
        after_space = character.is_whitespace();
        out
    });
    changed.collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Upper,
    Lower,
    Digit,
    /// A space, `-` or `_`.
    Connector,
    Other,
}

fn class(character: char) -> Class {
    match character {
        '-' | '_' => Class::Connector,
        space if space.is_whitespace() => Class::Connector,
        upper if upper.is_uppercase() => Class::Upper,
        digit if digit.is_numeric() => Class::Digit,
        letter if letter.is_alphabetic() => Class::Lower,
        _ => Class::Other,
    }
}

/// Words in lower case with a delimiter: before a capital that follows a small letter or begins a word after capitals,
/// and around runs of digits that follow a letter.
fn delimited(text: &str, delimiter: char) -> std::string::String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = std::string::String::with_capacity(text.len() + 8);
    for (index, character) in characters.iter().enumerate() {
        let current = class(*character);
        let previous = index.checked_sub(1).and_then(|index| characters.get(index)).map(|character| class(*character));
        let next = characters.get(index + 1).map(|character| class(*character));
        if current == Class::Connector {
            out.push(delimiter);
            continue;
        }
        let boundary = match (previous, current) {
            (None | Some(Class::Connector | Class::Other), _) | (_, Class::Other) => false,
            (Some(Class::Lower), Class::Upper) => true,
            (Some(Class::Digit), Class::Upper) => true,
            (Some(Class::Upper), Class::Upper) => next == Some(Class::Lower),
            (Some(Class::Upper | Class::Lower), Class::Digit) => next == Some(Class::Digit) || next.is_none() && false,
            _ => false,
        };
        if boundary && !out.ends_with(delimiter) {
            out.push(delimiter);
        }
        out.push(simple_lower(*character));
    }
    out
}

/// `xstrings.ToPascalCase`: a connector vanishes and the letter after it is a capital; leading ones stay, and one of several.
fn pascal(text: &str) -> std::string::String {
    let is_connector = |character: char| class(character) == Class::Connector;
    let mut out = std::string::String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(connector) = characters.next_if(|character| is_connector(*character)) {
        out.push(connector);
    }
    let Some(first) = characters.next() else { return out };
    let mut after_capital = first.is_uppercase();
    let mut held = simple_upper(first);
    for character in characters {
        let mut current = character;
        if is_connector(held) && is_connector(current) {
            out.push(held);
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
