//! Splits a template into tokens, with Go's trim markers and terminators.

use super::parser::ParseError;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Eof,
    Text,
    LeftDelimiter,
    RightDelimiter,
    Space,
    Assign,
    Declare,
    Pipe,
    LeftParenthesis,
    RightParenthesis,
    Character,
    CharacterConstant,
    Complex,
    Number,
    String,
    RawString,
    Bool,
    Dot,
    Field,
    Variable,
    Identifier,
    Nil,
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

/// A piece of the template: `start..end`, which begins on `line` (from 1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) line: usize,
}

/// Texts of more tokens are refused: each takes many times the memory of the character that it may be written with.
pub(crate) const MAX_TOKENS: usize = 1 << 20;

/// The words that are not functions.
const KEYWORDS: [(&[u8], Kind); 14] = [
    (b"block", Kind::Block),
    (b"break", Kind::Break),
    (b"continue", Kind::Continue),
    (b"define", Kind::Define),
    (b"else", Kind::Else),
    (b"end", Kind::End),
    (b"if", Kind::If),
    (b"nil", Kind::Nil),
    (b"range", Kind::Range),
    (b"template", Kind::Template),
    (b"with", Kind::With),
    (b"true", Kind::Bool),
    (b"false", Kind::Bool),
    (b".", Kind::Dot),
];

struct Lexer<'a> {
    input: &'a [u8],
    position: usize,
    line: usize,
    parentheses: usize,
    tokens: Vec<Token>,
}

/// All tokens of a template, the last one `Eof`. A lexical error comes after the tokens before it, since the parser may
/// find another one earlier.
pub(super) fn tokens(input: &[u8]) -> (Vec<Token>, Option<ParseError>) {
    let mut lexer = Lexer { input, position: 0, line: 1, parentheses: 0, tokens: Vec::new() };
    let error = lexer.text().err();
    (lexer.tokens, error)
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn leading_spaces(input: &[u8]) -> usize {
    input.iter().take_while(|byte| is_space(**byte)).count()
}

/// The next character and its length; invalid UTF-8 is one byte of U+FFFD.
pub(crate) fn decode(input: &[u8]) -> Option<(char, usize)> {
    let first = *input.first()?;
    if first < 0x80 {
        return Some((char::from(first), 1));
    }
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Some((char::REPLACEMENT_CHARACTER, 1)),
    };
    match input.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(|text| text.chars().next()) {
        Some(character) => Some((character, length)),
        None => Some((char::REPLACEMENT_CHARACTER, 1)),
    }
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphabetic() || character.is_numeric()
}

// === impl Lexer ===

impl Lexer<'_> {
    fn rest(&self) -> &[u8] {
        self.input.get(self.position..).unwrap_or_default()
    }

    fn at(&self, offset: usize) -> Option<u8> {
        self.input.get(self.position + offset).copied()
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError { line: self.line, message: message.into() })
    }

    /// Refuses to go on with a text of too many tokens.
    fn check(&self) -> Result<(), ParseError> {
        if self.tokens.len() > MAX_TOKENS { self.error(format!("more than {MAX_TOKENS} words")) } else { Ok(()) }
    }

    fn emit(&mut self, kind: Kind, start: usize) {
        let end = self.position;
        self.tokens.push(Token { kind, start, end, line: self.line });
        self.count_lines(start, end);
    }

    fn count_lines(&mut self, start: usize, end: usize) {
        self.line += self.input.get(start..end).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
    }

    fn text(&mut self) -> Result<(), ParseError> {
        loop {
            self.check()?;
            let start = self.position;
            let Some(found) = find(self.rest(), b"{{") else {
                self.position = self.input.len();
                if self.position > start {
                    self.emit(Kind::Text, start);
                }
                self.emit(Kind::Eof, self.position);
                return Ok(());
            };
            let delimiter = start + found;
            let trims = self.left_trim_at(delimiter + 2);
            let text = self.input.get(start..delimiter).unwrap_or_default();
            let trimmed = if trims { text.iter().rev().take_while(|byte| is_space(**byte)).count() } else { 0 };
            self.position = delimiter - trimmed;
            if self.position > start {
                self.emit(Kind::Text, start);
            }
            self.count_lines(self.position, delimiter);
            self.position = delimiter;
            let marker = if trims { 2 } else { 0 };
            if self.input.get(delimiter + 2 + marker..).is_some_and(|rest| rest.starts_with(b"/*")) {
                self.position = delimiter + 2 + marker;
                self.comment()?;
            } else {
                self.position = delimiter + 2;
                self.emit(Kind::LeftDelimiter, delimiter);
                self.count_lines(self.position, self.position + marker);
                self.position += marker;
                self.parentheses = 0;
                self.action()?;
            }
        }
    }

    fn left_trim_at(&self, position: usize) -> bool {
        self.input.get(position) == Some(&b'-') && self.input.get(position + 1).is_some_and(|byte| is_space(*byte))
    }

    /// Whether here is a right delimiter, and whether it trims.
    fn right_delimiter(&self) -> Option<bool> {
        if self.at(0).is_some_and(is_space) && self.rest().get(1..).is_some_and(|rest| rest.starts_with(b"-}}")) {
            return Some(true);
        }
        self.rest().starts_with(b"}}").then_some(false)
    }

    /// Steps over a right delimiter and what it trims.
    fn close(&mut self, trims: bool) {
        let start = self.position;
        self.position += if trims { 4 } else { 2 };
        if trims {
            self.position += leading_spaces(self.rest());
        }
        self.count_lines(start, self.position);
    }

    fn comment(&mut self) -> Result<(), ParseError> {
        let start = self.position;
        let Some(length) = self.input.get(start + 2..).and_then(|rest| find(rest, b"*/")) else {
            return self.error("unclosed comment");
        };
        self.position = start + 2 + length + 2;
        let Some(trims) = self.right_delimiter() else {
            return self.error("comment ends before closing delimiter");
        };
        self.count_lines(start, self.position);
        self.close(trims);
        Ok(())
    }

    fn action(&mut self) -> Result<(), ParseError> {
        loop {
            self.check()?;
            let start = self.position;
            if let Some(trims) = self.right_delimiter() {
                if self.parentheses > 0 {
                    return self.error("unclosed left paren");
                }
                let mark = self.position + if trims { 2 } else { 0 };
                self.tokens.push(Token { kind: Kind::RightDelimiter, start: mark, end: mark + 2, line: self.line });
                self.close(trims);
                return Ok(());
            }
            let Some((character, length)) = decode(self.rest()) else {
                return self.error("unclosed action");
            };
            match character {
                ' ' | '\t' | '\r' | '\n' => self.spaces(),
                '=' => self.single(Kind::Assign, 1),
                ':' if self.at(1) == Some(b'=') => self.single(Kind::Declare, 2),
                ':' => return self.error("expected :="),
                '|' => self.single(Kind::Pipe, 1),
                '"' => self.quoted(b'"', Kind::String, "unterminated quoted string")?,
                '\'' => self.quoted(b'\'', Kind::CharacterConstant, "unterminated character constant")?,
                '`' => {
                    let Some(length) = self.rest().get(1..).and_then(|rest| find(rest, b"`")) else {
                        return self.error("unterminated raw quoted string");
                    };
                    self.position += length + 2;
                    self.emit(Kind::RawString, start);
                }
                '$' => {
                    self.position += 1;
                    self.word(start, Kind::Variable)?;
                }
                '.' if !self.at(1).is_some_and(|byte| byte.is_ascii_digit()) && self.at(1).is_some() => {
                    self.position += 1;
                    self.word(start, Kind::Field)?;
                }
                '.' | '+' | '-' | '0'..='9' => self.number()?,
                '(' => {
                    self.parentheses += 1;
                    self.single(Kind::LeftParenthesis, 1);
                }
                ')' => {
                    if self.parentheses == 0 {
                        return self.error("unexpected right paren");
                    }
                    self.parentheses -= 1;
                    self.single(Kind::RightParenthesis, 1);
                }
                word if is_word(word) => {
                    self.position += length;
                    self.word(start, Kind::Identifier)?;
                }
                printable if printable.is_ascii_graphic() => self.single(Kind::Character, 1),
                other => return self.error(format!("unrecognized character in action: U+{:04X}", u32::from(other))),
            }
        }
    }

    fn single(&mut self, kind: Kind, length: usize) {
        let start = self.position;
        self.position += length;
        self.emit(kind, start);
    }

    /// Spaces, but not the one that belongs to a trimming right delimiter.
    fn spaces(&mut self) {
        let start = self.position;
        let count = leading_spaces(self.rest());
        self.position += count;
        if self.rest().starts_with(b"-}}") {
            self.position -= 1;
        }
        if self.position > start {
            self.emit(Kind::Space, start);
        }
    }

    fn quoted(&mut self, quote: u8, kind: Kind, unterminated: &str) -> Result<(), ParseError> {
        let start = self.position;
        self.position += 1;
        loop {
            match self.at(0) {
                Some(b'\\') if self.at(1).is_some_and(|byte| byte != b'\n') => self.position += 2,
                None | Some(b'\n' | b'\\') => return self.error(unterminated),
                Some(byte) => {
                    self.position += 1;
                    if byte == quote {
                        self.emit(kind, start);
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The rest of a field, variable or identifier.
    fn word(&mut self, start: usize, kind: Kind) -> Result<(), ParseError> {
        while let Some((character, length)) = decode(self.rest()) {
            if !is_word(character) {
                break;
            }
            self.position += length;
        }
        if !self.at_terminator() {
            let found = decode(self.rest()).map_or(0, |(character, _)| u32::from(character));
            return self.error(format!("bad character U+{found:04X}"));
        }
        let word = self.input.get(start..self.position).unwrap_or_default();
        let kind = match kind {
            Kind::Field if word.len() == 1 => Kind::Dot,
            Kind::Identifier => {
                KEYWORDS.iter().find(|(keyword, _)| *keyword == word).map_or(kind, |(_, keyword)| *keyword)
            }
            other => other,
        };
        self.emit(kind, start);
        Ok(())
    }

    fn at_terminator(&self) -> bool {
        match self.at(0) {
            None | Some(b'.' | b',' | b'|' | b':' | b')' | b'(' | b' ' | b'\t' | b'\r' | b'\n') => true,
            Some(_) => self.rest().starts_with(b"}}"),
        }
    }

    fn number(&mut self) -> Result<(), ParseError> {
        let start = self.position;
        let mut kind = Kind::Number;
        let mut good = self.scan_number();
        if good && matches!(self.at(0), Some(b'+' | b'-')) {
            kind = Kind::Complex;
            good = self.scan_number() && self.input.get(self.position - 1) == Some(&b'i');
        }
        if !good {
            let text = String::from_utf8_lossy(self.input.get(start..self.position).unwrap_or_default()).into_owned();
            return self.error(format!("bad number syntax: {text:?}"));
        }
        self.emit(kind, start);
        Ok(())
    }

    fn accept(&mut self, set: &[u8]) -> bool {
        let found = self.at(0).is_some_and(|byte| set.contains(&byte));
        self.position += usize::from(found);
        found
    }

    fn scan_number(&mut self) -> bool {
        const DECIMAL: &[u8] = b"0123456789_";
        const HEXADECIMAL: &[u8] = b"0123456789abcdefABCDEF_";
        self.accept(b"+-");
        let mut digits = DECIMAL;
        if self.accept(b"0") {
            if self.accept(b"xX") {
                digits = HEXADECIMAL;
            } else if self.accept(b"oO") {
                digits = b"01234567_";
            } else if self.accept(b"bB") {
                digits = b"01_";
            }
        }
        while self.accept(digits) {}
        if self.accept(b".") {
            while self.accept(digits) {}
        }
        if (digits == DECIMAL && self.accept(b"eE")) || (digits == HEXADECIMAL && self.accept(b"pP")) {
            self.accept(b"+-");
            while self.accept(DECIMAL) {}
        }
        self.accept(b"i");
        if let Some((character, length)) = decode(self.rest())
            && is_word(character)
        {
            self.position += length;
            return false;
        }
        true
    }
}

/// Where `needle` begins in `input`.
pub(crate) fn find(input: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(input, needle)
}
