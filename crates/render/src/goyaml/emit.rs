//! From values to text, as go-yaml's emitter writes it.

use std::cmp::Ordering;

use super::{
    Value,
    scalar::{Context, Style, Text, is_break, is_printable},
    value::Bytes,
};
use crate::strconv;

/// Which of the writers to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitStyle {
    /// `sigs.k8s.io/yaml`, which is what `toYaml` and the output of Kustomize are: through JSON, then go-yaml 2. Two
    /// blanks per level, sequences not indented below their key, text folded at 80 columns, keys in natural order.
    V2,
    /// The encoder of go-yaml 3 with two blanks per level, as `toYamlPretty` uses it: sequences are indented, nothing is
    /// folded.
    V3,
}

/// Writes one document with a final line end.
pub fn emit(value: &Value, style: EmitStyle) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    emit_onto(&mut out, value, style);
    out
}

/// Writes one document with a final line end behind what is there, which ends with a line end or is empty.
pub fn emit_onto(out: &mut Vec<u8>, value: &Value, style: EmitStyle) {
    let mut emitter = Emitter { line_start: out.len(), out: std::mem::take(out), style };
    match value {
        Value::Map(map) if !map.is_empty() => emitter.map(map, 0, false),
        Value::List(items) if !items.is_empty() => emitter.list(items, 0, false),
        scalar => {
            emitter.scalar(scalar, 2, Context::Root);
            emitter.out.push(b'\n');
        }
    }
    *out = emitter.out;
}

/// Longer lines are folded where there is a blank.
const BEST_WIDTH: usize = 80;

/// Longer keys are written with `? `.
const SIMPLE_KEY_BYTES: usize = 128;

struct Emitter {
    out: Vec<u8>,
    /// Where the current line begins in `out`.
    line_start: usize,
    style: EmitStyle,
}

// === impl Emitter ===

impl Emitter {
    fn column(&self) -> usize {
        let line = self.out.get(self.line_start..).unwrap_or_default();
        line.iter().filter(|byte| !is_continuation(**byte)).count()
    }

    fn line_break(&mut self) {
        self.out.push(b'\n');
        self.line_start = self.out.len();
    }

    fn indent(&mut self, blanks: usize) {
        self.out.resize(self.out.len() + blanks, b' ');
    }

    /// A block mapping; `inline` when its first key goes on the current line (after `- `).
    fn map(&mut self, map: &super::Map, indent: usize, inline: bool) {
        let mut entries: Vec<(&Bytes, &Value)> = map.iter().collect();
        sort_natural(&mut entries, self.style);
        for (index, (key, value)) in entries.into_iter().enumerate() {
            if index > 0 || !inline {
                self.indent(indent);
            }
            let text = Text::analyze(key, self.style);
            let simple = !text.multiline && text.value.len() <= SIMPLE_KEY_BYTES;
            if simple {
                self.text(&text, indent, Context::Key);
                self.out.push(b':');
            } else {
                self.out.extend_from_slice(b"?");
                self.out.push(b' ');
                self.text(&text, indent + 2, Context::Value);
                self.line_break();
                self.indent(indent);
                self.out.push(b':');
            }
            self.child(value, indent, !simple);
        }
    }

    /// What follows `:`, up to and including the line end.
    fn child(&mut self, value: &Value, indent: usize, inline: bool) {
        match value {
            Value::Map(map) if !map.is_empty() => {
                if inline {
                    self.out.push(b' ');
                } else {
                    self.line_break();
                }
                self.map(map, indent + 2, inline);
            }
            Value::List(items) if !items.is_empty() => {
                let deeper = if self.style == EmitStyle::V3 || inline { 2 } else { 0 };
                if inline {
                    self.out.push(b' ');
                } else {
                    self.line_break();
                }
                self.list(items, indent + deeper, inline);
            }
            scalar => {
                self.out.push(b' ');
                self.scalar(scalar, indent + 2, Context::Value);
                self.line_break();
            }
        }
    }

    fn list(&mut self, items: &[Value], indent: usize, inline: bool) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 || !inline {
                self.indent(indent);
            }
            self.out.extend_from_slice(b"- ");
            match item {
                Value::Map(map) if !map.is_empty() => self.map(map, indent + 2, true),
                Value::List(items) if !items.is_empty() => self.list(items, indent + 2, true),
                scalar => {
                    self.scalar(scalar, indent + 2, Context::Value);
                    self.line_break();
                }
            }
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize, context: Context) {
        match value {
            Value::Null => self.out.extend_from_slice(b"null"),
            Value::Bool(value) => self.out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::Int(value) => self.out.extend_from_slice(value.to_string().as_bytes()),
            Value::Uint(value) => self.out.extend_from_slice(value.to_string().as_bytes()),
            Value::Float(value) => {
                let text = match self.style {
                    EmitStyle::V2 => float_through_json(*value),
                    EmitStyle::V3 => float(*value),
                };
                self.out.extend_from_slice(text.as_bytes());
            }
            Value::String(text) => {
                let text = Text::analyze(text, self.style);
                self.text(&text, indent, context);
            }
            Value::List(_) => self.out.extend_from_slice(b"[]"),
            Value::Map(_) => self.out.extend_from_slice(b"{}"),
        }
    }

    fn text(&mut self, text: &Text<'_>, indent: usize, context: Context) {
        let folds = context != Context::Key && self.style == EmitStyle::V2;
        match text.style(context) {
            Style::Plain => self.plain(&text.value, indent, folds),
            Style::Single => self.single_quoted(&text.value, indent, folds),
            Style::Double => self.double_quoted(&text.value, indent, folds),
            Style::Literal => self.literal(&text.value, indent),
        }
    }

    fn fold(&mut self, indent: usize) {
        self.line_break();
        self.indent(indent);
    }

    fn plain(&mut self, text: &str, indent: usize, folds: bool) {
        // Nothing to fold: the usual case.
        if !folds || self.column() + text.len() <= BEST_WIDTH {
            self.out.extend_from_slice(text.as_bytes());
            return;
        }
        self.words(
            text,
            indent,
            |emitter, letter| {
                emitter.out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            },
            |column, before, after| column > BEST_WIDTH && before != Some(' ') && after != Some(' '),
        );
    }

    /// Writes letter by letter, with a line end in the place of a blank where `breaks` says so.
    fn words(
        &mut self,
        text: &str,
        indent: usize,
        write: impl Fn(&mut Self, char),
        breaks: impl Fn(usize, Option<char>, Option<char>) -> bool,
    ) {
        let (mut before, mut column) = (None, self.column());
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter == ' ' && breaks(column, before, letters.peek().copied()) {
                self.fold(indent);
                column = indent;
            } else {
                write(self, letter);
                column += 1;
            }
            before = Some(letter);
        }
    }

    fn single_quoted(&mut self, text: &str, indent: usize, folds: bool) {
        self.out.push(b'\'');
        let mut before = None;
        let mut after_break = false;
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let next = letters.peek().copied();
            match letter {
                ' ' if folds
                    && before != Some(' ')
                    && before.is_some()
                    && next.is_some_and(|next| next != ' ')
                    && self.column() > BEST_WIDTH =>
                {
                    self.fold(indent);
                }
                '\n' => {
                    if !after_break {
                        self.line_break();
                    }
                    self.line_break();
                    after_break = true;
                    before = Some(letter);
                    continue;
                }
                _ if is_break(letter) => {
                    self.out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                    self.line_start = self.out.len();
                    after_break = true;
                    before = Some(letter);
                    continue;
                }
                _ => {
                    if after_break {
                        self.indent(indent);
                    }
                    if letter == '\'' {
                        self.out.push(b'\'');
                    }
                    self.out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            after_break = false;
            before = Some(letter);
        }
        self.out.push(b'\'');
    }

    fn double_quoted(&mut self, text: &str, indent: usize, folds: bool) {
        self.out.push(b'"');
        let mut column = self.column();
        let mut spaces = false;
        // go-yaml looks for the mark at the beginning of the text where it should look at the letter.
        let escapes_all = text.starts_with('\u{feff}');
        let mut letters = text.chars().enumerate().peekable();
        while let Some((index, letter)) = letters.next() {
            let next = letters.peek().map(|(_, next)| *next);
            if escapes_all || !is_printable(letter) || is_break(letter) || matches!(letter, '"' | '\\') {
                column += self.escape(letter);
                spaces = false;
            } else if letter == ' ' {
                if folds && !spaces && column > BEST_WIDTH && index > 0 && next.is_some() {
                    self.fold(indent);
                    column = indent;
                    if next == Some(' ') {
                        self.out.push(b'\\');
                        column += 1;
                    }
                } else {
                    self.out.push(b' ');
                    column += 1;
                }
                spaces = true;
            } else {
                self.out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                column += 1;
                spaces = false;
            }
        }
        self.out.push(b'"');
    }

    /// Writes an escape and returns its width.
    fn escape(&mut self, letter: char) -> usize {
        let short = match letter {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            _ => {
                let code = letter as u32;
                let text = match code {
                    0..=0xff => format!("\\x{code:02X}"),
                    0x100..=0xffff => format!("\\u{code:04X}"),
                    _ => format!("\\U{code:08X}"),
                };
                self.out.extend_from_slice(text.as_bytes());
                return text.len();
            }
        };
        self.out.push(b'\\');
        self.out.push(short as u8);
        2
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.out.push(b'|');
        if text.starts_with(|first| first == ' ' || is_break(first)) {
            self.out.push(b'2');
        }
        let mut last = text.chars().rev();
        match (last.next(), last.next()) {
            (Some(end), Some(before)) if is_break(end) && is_break(before) => self.out.push(b'+'),
            (Some(end), None) if is_break(end) => self.out.push(b'+'),
            (Some(end), _) if is_break(end) => {}
            _ => self.out.push(b'-'),
        }
        self.line_break();
        let mut breaks = true;
        let lines = text.strip_suffix('\n').unwrap_or(text);
        for letter in lines.chars() {
            if letter == '\n' {
                self.line_break();
                breaks = true;
            } else if is_break(letter) {
                self.out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                self.line_start = self.out.len();
                breaks = true;
            } else {
                if breaks {
                    self.indent(indent);
                }
                self.out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                breaks = false;
            }
        }
    }
}

fn float(value: f64) -> String {
    match strconv::shortest_float(value).as_str() {
        "+Inf" => ".inf".to_owned(),
        "-Inf" => "-.inf".to_owned(),
        "NaN" => ".nan".to_owned(),
        text => text.to_owned(),
    }
}

/// JSON has only one kind of number; read back, whole ones are integers.
fn float_through_json(value: f64) -> String {
    let Some(text) = strconv::json_float(value) else { return float(value) };
    if strconv::parse_int(&text, 0).is_some() || strconv::parse_uint(&text, 0).is_some() {
        return text;
    }
    strconv::parse_float(&text).map_or(text, strconv::shortest_float)
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// go-yaml's order of keys: runs of digits by their number, letters after everything else.
pub fn natural_order(a: &[u8], b: &[u8], style: EmitStyle) -> Ordering {
    if let Some(index) = a.iter().zip(b).position(|(a, b)| a != b) {
        // The usual case, without decoding.
        if let (Some(a), Some(b)) = (a.get(index), b.get(index))
            && a.is_ascii_alphabetic()
            && b.is_ascii_alphabetic()
        {
            return a.cmp(b);
        }
    } else {
        return a.len().cmp(&b.len());
    }
    let letters = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().collect::<Vec<_>>();
    natural_order_of_letters(&letters(a), &letters(b), style)
}

fn natural_order_of_letters(a: &[char], b: &[char], style: EmitStyle) -> Ordering {
    let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    let (Some(&first), Some(&second)) = (a.get(at), b.get(at)) else { return Ordering::Equal };
    match (first.is_alphabetic(), second.is_alphabetic()) {
        (true, true) => return first.cmp(&second),
        (false, false) => {}
        (first_is_letter, _) => {
            let after_digit =
                style == EmitStyle::V3 && at > 0 && a.get(at - 1).is_some_and(|letter| letter.is_numeric());
            return if first_is_letter == after_digit { Ordering::Less } else { Ordering::Greater };
        }
    }
    let (mut number_a, mut number_b) = (0_i64, 0_i64);
    if first == '0' || second == '0' {
        let digits_before = a.iter().take(at).rev().take_while(|letter| letter.is_numeric());
        if digits_before.into_iter().any(|digit| *digit != '0') {
            (number_a, number_b) = (1, 1);
        }
    }
    let run = |letters: &[char], number: &mut i64| {
        let digits = letters.iter().skip(at).take_while(|letter| letter.is_numeric());
        let mut count = 0;
        for digit in digits {
            *number = number.wrapping_mul(10).wrapping_add(i64::from(*digit as u32) - i64::from(b'0'));
            count += 1;
        }
        count
    };
    let (run_a, run_b): (usize, usize) = (run(a, &mut number_a), run(b, &mut number_b));
    number_a.cmp(&number_b).then(run_a.cmp(&run_b)).then(first.cmp(&second))
}

/// Sorts by [`natural_order`], which is no total order: the standard library's sort may panic on it, this one never does.
fn sort_natural(entries: &mut Vec<(&Bytes, &Value)>, style: EmitStyle) {
    let ordered = |a: &(&Bytes, &Value), b: &(&Bytes, &Value)| natural_order(a.0, b.0, style) != Ordering::Greater;
    if entries.windows(2).all(|pair| matches!(pair, [a, b] if ordered(a, b))) {
        return;
    }
    let mut width = 1;
    while width < entries.len() {
        let mut merged = Vec::with_capacity(entries.len());
        for chunk in entries.chunks(width * 2) {
            let (mut left, mut right) = chunk.split_at(width.min(chunk.len()));
            while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
                if ordered(a, b) {
                    merged.push(*a);
                    left = left_rest;
                } else {
                    merged.push(*b);
                    right = right_rest;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        *entries = merged;
        width *= 2;
    }
}
