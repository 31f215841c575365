//! Prints one value with one verb.

use crate::helm::{
    failure::Failure,
    quote,
    template::decode,
    value::{Kind, MAX_VALUE_DEPTH, Text, Value},
};

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) sharp: bool,
    pub(super) zero: bool,
    pub(super) plus: bool,
    pub(super) minus: bool,
    pub(super) space: bool,
    pub(super) sharp_v: bool,
    pub(super) plus_v: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

pub(super) struct Printer {
    pub(super) out: Vec<u8>,
    pub(super) flags: Flags,
    limit: usize,
}

// === impl Printer ===

impl Printer {
    pub(super) fn new(limit: usize) -> Printer {
        Printer { out: Vec::new(), flags: Flags::default(), limit }
    }

    /// Refuses to go on above the limit.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.out.len() > self.limit {
            return Err(Failure::limit(format!("a text exceeds the limit of {} bytes", self.limit)));
        }
        Ok(())
    }

    /// An operand of `printf` and relatives.
    pub(super) fn argument(&mut self, value: &Value, verb: char) -> Result<(), Failure> {
        if value.is_nil() {
            match verb {
                'T' | 'v' => self.pad(b"<nil>"),
                _ => self.push(&format!("%!{verb}(<nil>)")),
            }
            return Ok(());
        }
        match verb {
            'T' => {
                self.string(value.type_name().as_bytes());
                Ok(())
            }
            'p' => self.bad_verb(value, verb),
            _ => self.value(value, verb, 0),
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    pub(super) fn bad_verb(&mut self, value: &Value, verb: char) -> Result<(), Failure> {
        self.push(&format!("%!{verb}("));
        if value.is_nil() {
            self.push("<nil>");
        } else {
            self.push(&value.type_name());
            self.push("=");
            self.argument(value, 'v')?;
        }
        self.push(")");
        Ok(())
    }

    fn value(&mut self, value: &Value, verb: char, depth: usize) -> Result<(), Failure> {
        self.check()?;
        if depth > MAX_VALUE_DEPTH {
            return Err(Failure::limit("a value is nested too deep to be printed"));
        }
        match value {
            Value::Invalid | Value::Nil => {
                self.push(if self.flags.sharp_v { "interface {}(nil)" } else { "<nil>" });
                Ok(())
            }
            Value::Bool(flag) => match verb {
                't' | 'v' => {
                    self.pad(if *flag { b"true" } else { b"false" });
                    Ok(())
                }
                _ => self.bad_verb(value, verb),
            },
            Value::Duration(nanoseconds) if self.is_text_verb(verb) => {
                self.text(value, crate::helm::functions::dates::duration_text(*nanoseconds).as_bytes(), verb)
            }
            Value::Int(number) | Value::Int64(number) | Value::Duration(number) => {
                self.integer(value, number.unsigned_abs(), *number < 0, true, verb)
            }
            Value::Uint8(number) => self.integer(value, (*number).into(), false, false, verb),
            Value::Uint64(number) => self.integer(value, *number, false, false, verb),
            Value::Float(number) => self.float(value, *number, verb),
            Value::Complex(real, imaginary) => self.complex(value, *real, *imaginary, verb),
            Value::String(content) => self.text(value, content, verb),
            Value::Bytes(content) => self.bytes(value, content, verb),
            Value::List(list) => self.sequence(&value.type_name(), list.items.iter(), verb, depth),
            Value::Map(map) => {
                if self.flags.sharp_v && map.is_nil() {
                    self.push(&format!("{}(nil)", value.type_name()));
                    return Ok(());
                }
                let entries: Vec<(Text, Value)> =
                    map.entries().iter().map(|(key, value)| (Text::clone(key), value.clone())).collect();
                self.mapping(&value.type_name(), entries, verb, depth)
            }
            Value::Time(time) if self.is_text_verb(verb) => self.text(value, time.to_go_string().as_bytes(), verb),
            Value::Time(_) => self.bad_verb(value, verb),
            Value::Object(object) => {
                if self.is_text_verb(verb)
                    && let Some(content) = object.string()
                {
                    return self.text(value, &content, verb);
                }
                match object.kind() {
                    Kind::Map => {
                        let entries = object.members().into_iter().map(|(key, _, value)| (key, value)).collect();
                        self.mapping(object.type_name(), entries, verb, depth)
                    }
                    Kind::Slice => {
                        let items = object.items().unwrap_or_default();
                        self.sequence(object.type_name(), items.iter(), verb, depth)
                    }
                    kind => {
                        if kind == Kind::Pointer {
                            self.push("&");
                        }
                        self.fields(object.type_name(), &object.members(), verb, depth)
                    }
                }
            }
        }
    }

    /// Whether a `String` method is asked for with this verb.
    fn is_text_verb(&self, verb: char) -> bool {
        !self.flags.sharp_v && matches!(verb, 'v' | 's' | 'x' | 'X' | 'q')
    }

    fn sequence<'v>(
        &mut self,
        type_name: &str,
        items: impl Iterator<Item = &'v Value>,
        verb: char,
        depth: usize,
    ) -> Result<(), Failure> {
        let sharp = self.flags.sharp_v;
        if sharp {
            self.push(type_name);
        }
        self.push(if sharp { "{" } else { "[" });
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.push(if sharp { ", " } else { " " });
            }
            self.value(item, verb, depth + 1)?;
        }
        self.push(if sharp { "}" } else { "]" });
        Ok(())
    }

    fn mapping(
        &mut self,
        type_name: &str,
        entries: Vec<(Text, Value)>,
        verb: char,
        depth: usize,
    ) -> Result<(), Failure> {
        let sharp = self.flags.sharp_v;
        if sharp {
            self.push(&format!("{type_name}{{"));
        } else {
            self.push("map[");
        }
        for (index, (key, item)) in entries.into_iter().enumerate() {
            if index > 0 {
                self.push(if sharp { ", " } else { " " });
            }
            self.value(&Value::String(key), verb, depth + 1)?;
            self.push(":");
            self.value(&item, verb, depth + 1)?;
        }
        self.push(if sharp { "}" } else { "]" });
        Ok(())
    }

    fn fields(
        &mut self,
        type_name: &str,
        members: &[(Text, Text, Value)],
        verb: char,
        depth: usize,
    ) -> Result<(), Failure> {
        let sharp = self.flags.sharp_v;
        if sharp {
            self.push(type_name);
        }
        self.push("{");
        for (index, (name, _, item)) in members.iter().enumerate() {
            if index > 0 {
                self.push(if sharp { ", " } else { " " });
            }
            if sharp || self.flags.plus_v {
                self.out.extend_from_slice(name);
                self.push(":");
            }
            self.value(item, verb, depth + 1)?;
        }
        self.push("}");
        Ok(())
    }

    fn text(&mut self, value: &Value, content: &[u8], verb: char) -> Result<(), Failure> {
        match verb {
            'v' if self.flags.sharp_v => self.quoted(content),
            'v' | 's' => self.string(content),
            'x' | 'X' => self.hexadecimal(content, verb == 'X'),
            'q' => self.quoted(content),
            _ => return self.bad_verb(value, verb),
        }
        Ok(())
    }

    fn bytes(&mut self, value: &Value, content: &[u8], verb: char) -> Result<(), Failure> {
        match verb {
            'v' | 'd' => {
                let sharp = self.flags.sharp_v;
                self.push(if sharp { "[]byte{" } else { "[" });
                for (index, byte) in content.iter().enumerate() {
                    if index > 0 {
                        self.push(if sharp { ", " } else { " " });
                    }
                    if sharp {
                        self.push(&format!("0x{byte:x}"));
                    } else {
                        self.integer(value, (*byte).into(), false, false, 'd')?;
                    }
                    self.check()?;
                }
                self.push(if sharp { "}" } else { "]" });
                Ok(())
            }
            's' | 'x' | 'X' | 'q' => self.text(value, content, verb),
            _ => {
                let items: Vec<Value> = content.iter().map(|byte| Value::Uint8(*byte)).collect();
                self.sequence("[]uint8", items.iter(), verb, 0)
            }
        }
    }

    // --- padding

    pub(super) fn padding(&mut self, count: usize) {
        let byte = if self.flags.zero && !self.flags.minus { b'0' } else { b' ' };
        self.out.resize(self.out.len() + count, byte);
    }

    /// Writes with the width, which counts characters.
    pub(super) fn pad(&mut self, content: &[u8]) {
        let missing = self.flags.width.unwrap_or(0).saturating_sub(rune_count(content));
        if !self.flags.minus {
            self.padding(missing);
        }
        self.out.extend_from_slice(content);
        if self.flags.minus {
            self.padding(missing);
        }
    }

    /// Writes with the width, but never with zeros.
    pub(super) fn pad_with_spaces(&mut self, content: &[u8]) {
        let zero = std::mem::take(&mut self.flags.zero);
        self.pad(content);
        self.flags.zero = zero;
    }

    fn truncated<'c>(&self, content: &'c [u8]) -> &'c [u8] {
        let Some(precision) = self.flags.precision else { return content };
        let mut end = 0;
        for _ in 0..precision {
            match decode(content.get(end..).unwrap_or_default()) {
                Some((_, length)) => end += length,
                None => break,
            }
        }
        content.get(..end).unwrap_or(content)
    }

    fn string(&mut self, content: &[u8]) {
        let content = self.truncated(content);
        self.pad(content);
    }

    fn quoted(&mut self, content: &[u8]) {
        let content = self.truncated(content);
        let raw = self.flags.sharp && can_backquote(content);
        let quoted =
            if raw { [b"`", content, b"`"].concat() } else { quote::quote_with(content, '"', self.flags.plus) };
        self.pad(&quoted);
    }

    fn hexadecimal(&mut self, content: &[u8], upper: bool) {
        let content = content.get(..self.flags.precision.unwrap_or(content.len())).unwrap_or(content);
        let prefix = if upper { "0X" } else { "0x" };
        let mut text = String::new();
        for (index, byte) in content.iter().enumerate() {
            if self.flags.space && index > 0 {
                text.push(' ');
            }
            if self.flags.sharp && (index == 0 || self.flags.space) {
                text.push_str(prefix);
            }
            text.push_str(&if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
        }
        self.pad(text.as_bytes());
    }
}

pub(super) fn rune_count(content: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = content;
    while let Some((_, length)) = decode(rest) {
        count += 1;
        rest = rest.get(length..).unwrap_or_default();
    }
    count
}

/// Whether a text may be written between back quotes.
fn can_backquote(content: &[u8]) -> bool {
    std::str::from_utf8(content).is_ok_and(|text| {
        text.chars().all(|character| {
            !matches!(character, '`' | '\u{7f}' | '\u{feff}') && (character >= ' ' || character == '\t')
        })
    })
}
