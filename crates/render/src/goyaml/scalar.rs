//! What a text looks like, and so in which styles it can be written.

use std::borrow::Cow;

use super::{Dialect, EmitStyle, ScalarStyle, resolve::is_string};

/// Where a scalar stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    Root,
    Key,
    Value,
}

/// How a scalar is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// A string and which styles it allows.
pub(super) struct Text<'a> {
    pub(super) value: Cow<'a, str>,
    pub(super) multiline: bool,
    has_newline: bool,
    /// It would not be read as something else.
    reads_as_string: bool,
    plain_allowed: bool,
    single_allowed: bool,
    block_allowed: bool,
}

// === impl Text ===

impl<'a> Text<'a> {
    /// Through JSON, bytes that are no UTF-8 become the replacement character.
    pub(super) fn analyze(bytes: &'a [u8], style: EmitStyle) -> Self {
        if let Some(word) = plain_word(bytes, style) {
            return Self {
                value: Cow::Borrowed(word),
                multiline: false,
                has_newline: false,
                reads_as_string: true,
                plain_allowed: true,
                single_allowed: true,
                block_allowed: true,
            };
        }
        let value = String::from_utf8_lossy(bytes);
        let reads_as_string = match style {
            EmitStyle::V2 => is_string(&value, Dialect::V2) && !is_base_60(&value) && !is_short_date(&value),
            EmitStyle::V3 => is_string(&value, Dialect::V3) && !is_base_60(&value) && !is_old_bool(&value),
        };
        let block_allowed = !value.is_empty();
        let mut text = Self {
            value,
            multiline: false,
            has_newline: false,
            reads_as_string,
            plain_allowed: true,
            single_allowed: true,
            block_allowed,
        };
        text.scan(style);
        text
    }

    fn scan(&mut self, style: EmitStyle) {
        let value = &self.value;
        let (mut indicators, mut special, mut tabs) =
            (value.starts_with("---") || value.starts_with("..."), false, false);
        let (mut edge_blank, mut trailing_space, mut break_space, mut space_break) = (false, false, false, false);
        let (mut previous_space, mut previous_break, mut after_blank) = (false, false, true);
        let mut letters = value.char_indices().peekable();
        while let Some((index, letter)) = letters.next() {
            let next = letters.peek().map(|(_, next)| *next);
            let before_blank = next.is_none_or(|next| matches!(next, ' ' | '\t'));
            if index == 0 {
                match letter {
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                        indicators = true;
                    }
                    '?' | ':' | '-' if before_blank => indicators = true,
                    _ => {}
                }
            } else {
                match letter {
                    ':' if before_blank => indicators = true,
                    '#' if after_blank => indicators = true,
                    _ => {}
                }
            }
            if letter == '\t' && style == EmitStyle::V3 {
                tabs = true;
            } else if !is_printable(letter) {
                special = true;
            }
            let (first, last) = (index == 0, next.is_none());
            if letter == ' ' {
                edge_blank |= first || last;
                trailing_space |= last;
                break_space |= previous_break;
                (previous_space, previous_break) = (true, false);
            } else if is_break(letter) {
                self.multiline = true;
                self.has_newline |= letter == '\n';
                edge_blank |= first || last;
                space_break |= previous_space;
                (previous_space, previous_break) = (false, true);
            } else {
                (previous_space, previous_break) = (false, false);
            }
            after_blank = matches!(letter, ' ' | '\t' | '\0') || is_break(letter);
        }
        self.plain_allowed =
            !(indicators || edge_blank || break_space || space_break || special || tabs || self.multiline);
        self.single_allowed = !(break_space || space_break || special || tabs);
        self.block_allowed &= !(trailing_space || space_break || special);
    }

    pub(super) fn style(&self, context: Context) -> Style {
        let mut style = if self.has_newline {
            Style::Literal
        } else if self.reads_as_string {
            Style::Plain
        } else {
            Style::Double
        };
        if context == Context::Key && self.multiline {
            style = Style::Double;
        }
        if style == Style::Plain && (!self.plain_allowed || self.value.is_empty() && context == Context::Key) {
            style = Style::Single;
        }
        if style == Style::Single && !self.single_allowed {
            style = Style::Double;
        }
        if style == Style::Literal && (!self.block_allowed || context == Context::Key) {
            style = Style::Double;
        }
        style
    }
}

/// How go-yaml 3 writes a text as a value.
pub fn style_of(text: &str) -> ScalarStyle {
    match Text::analyze(text.as_bytes(), EmitStyle::V3).style(Context::Value) {
        Style::Plain => ScalarStyle::Plain,
        Style::Single => ScalarStyle::SingleQuoted,
        Style::Double => ScalarStyle::DoubleQuoted,
        Style::Literal => ScalarStyle::Literal,
    }
}

/// A word that needs no quotes in any place: what most keys and values are.
fn plain_word(bytes: &[u8], style: EmitStyle) -> Option<&str> {
    let (first, last) = (bytes.first()?, bytes.last()?);
    let simple = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b':' | b'@');
    if !first.is_ascii_alphabetic() || *last == b':' || !bytes.iter().all(simple) {
        return None;
    }
    let word = std::str::from_utf8(bytes).ok()?;
    let reads_as_string = match style {
        EmitStyle::V2 => is_string(word, Dialect::V2),
        EmitStyle::V3 => is_string(word, Dialect::V3) && !is_old_bool(word),
    };
    reads_as_string.then_some(word)
}

/// `2001-1-1`, a date for go-yaml 2.
fn is_short_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let digits =
        |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let within = |part: &str, most: u8| part.parse().is_ok_and(|number: u8| (1..=most).contains(&number));
    match parts.as_slice() {
        [year, month, day] => {
            year.len() == 4
                && digits(year, 4)
                && digits(month, 2)
                && digits(day, 2)
                && within(month, 12)
                && within(day, 31)
        }
        _ => false,
    }
}

/// Base 60 numbers of YAML 1.1 are quoted for other readers, though go-yaml reads them as text.
fn is_base_60(text: &str) -> bool {
    let first = text.as_bytes().first().copied().unwrap_or_default();
    if !(matches!(first, b'+' | b'-') || first.is_ascii_digit()) || !text.contains(':') {
        return false;
    }
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = rest.split(':');
    let head = parts.next().unwrap_or_default();
    let head_fits = head.starts_with(|first: char| first.is_ascii_digit())
        && head.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut parts: Vec<&str> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    let (last, fraction) = last.split_once('.').unwrap_or((last, ""));
    let sixty = |part: &str| match part.as_bytes() {
        [unit] => unit.is_ascii_digit(),
        [ten, unit] => (b'0'..=b'5').contains(ten) && unit.is_ascii_digit(),
        _ => false,
    };
    head_fits
        && sixty(last)
        && parts.iter().all(|part| sixty(part))
        && fraction.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
}

/// Booleans of YAML 1.1 that go-yaml 3 reads as text.
fn is_old_bool(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF"
    )
}

pub(super) fn is_break(letter: char) -> bool {
    matches!(letter, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Printable for go-yaml: the basic plane without controls, tab and the byte order mark.
pub(super) fn is_printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}
