//! Reads a format: flags, widths, precisions, argument indexes.

use super::printer::{Flags, Printer};
use crate::helm::{failure::Failure, template::decode, value::Value};

/// Widths and precisions above are refused, as in Go.
const MAX_NUMBER: i64 = 1_000_000;

struct Reader<'a> {
    format: &'a [u8],
    position: usize,
    arguments: &'a [Value],
    argument: usize,
    /// An argument index was used: surplus arguments are then no error.
    reordered: bool,
    good_index: bool,
    after_index: bool,
}

pub(super) fn run(printer: &mut Printer, format: &[u8], arguments: &[Value]) -> Result<(), Failure> {
    let mut reader =
        Reader { format, position: 0, arguments, argument: 0, reordered: false, good_index: true, after_index: false };
    while reader.position < format.len() {
        let rest = format.get(reader.position..).unwrap_or_default();
        let plain = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
        printer.out.extend_from_slice(rest.get(..plain).unwrap_or_default());
        reader.position += plain;
        if reader.position >= format.len() {
            break;
        }
        reader.position += 1;
        reader.directive(printer)?;
        printer.check()?;
    }
    if !reader.reordered && reader.argument < arguments.len() {
        printer.flags = Flags::default();
        printer.out.extend_from_slice(b"%!(EXTRA ");
        for (index, argument) in arguments.get(reader.argument..).unwrap_or_default().iter().enumerate() {
            if index > 0 {
                printer.out.extend_from_slice(b", ");
            }
            if argument.is_nil() {
                printer.out.extend_from_slice(b"<nil>");
            } else {
                printer.out.extend_from_slice(argument.type_name().as_bytes());
                printer.out.push(b'=');
                printer.argument(argument, 'v')?;
            }
        }
        printer.out.push(b')');
    }
    Ok(())
}

// === impl Reader ===

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.format.get(self.position).copied()
    }

    fn directive(&mut self, printer: &mut Printer) -> Result<(), Failure> {
        printer.flags = Flags::default();
        self.good_index = true;
        self.after_index = false;
        let flags = &mut printer.flags;
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                _ => break,
            }
            self.position += 1;
        }
        self.index();
        if self.peek() == Some(b'*') {
            self.position += 1;
            let width = self.number_argument();
            match width {
                None => printer.out.extend_from_slice(b"%!(BADWIDTH)"),
                Some(width) => {
                    if width < 0 {
                        printer.flags.minus = true;
                        printer.flags.zero = false;
                    }
                    printer.flags.width = usize::try_from(width.unsigned_abs()).ok();
                }
            }
            self.after_index = false;
        } else {
            printer.flags.width = self.number();
            if self.after_index && printer.flags.width.is_some() {
                self.good_index = false;
            }
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            if self.after_index {
                self.good_index = false;
            }
            self.index();
            if self.peek() == Some(b'*') {
                self.position += 1;
                match self.number_argument() {
                    None => printer.out.extend_from_slice(b"%!(BADPREC)"),
                    Some(precision) if precision < 0 => printer.out.extend_from_slice(b"%!(BADPREC)"),
                    Some(precision) => printer.flags.precision = usize::try_from(precision).ok(),
                }
                self.after_index = false;
            } else {
                printer.flags.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !self.after_index {
            self.index();
        }
        let Some((verb, length)) = decode(self.format.get(self.position..).unwrap_or_default()) else {
            printer.out.extend_from_slice(b"%!(NOVERB)");
            return Ok(());
        };
        self.position += length;
        let mut buffer = [0; 4];
        let shown = verb.encode_utf8(&mut buffer).as_bytes();
        if verb == '%' {
            printer.out.push(b'%');
        } else if !self.good_index {
            printer.out.extend_from_slice(&[b"%!", shown, b"(BADINDEX)"].concat());
        } else if let Some(argument) = self.arguments.get(self.argument) {
            if verb == 'v' {
                printer.flags.sharp_v = std::mem::take(&mut printer.flags.sharp);
                printer.flags.plus_v = std::mem::take(&mut printer.flags.plus);
            }
            self.argument += 1;
            printer.argument(argument, verb)?;
        } else {
            printer.out.extend_from_slice(&[b"%!", shown, b"(MISSING)"].concat());
        }
        Ok(())
    }

    /// Digits at the position.
    fn number(&mut self) -> Option<usize> {
        let mut value = None;
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            let next = value.unwrap_or(0) * 10 + i64::from(byte - b'0');
            if next > MAX_NUMBER {
                self.position = self.format.len();
                return None;
            }
            value = Some(next);
            self.position += 1;
        }
        value.and_then(|value| usize::try_from(value).ok())
    }

    fn number_argument(&mut self) -> Option<i64> {
        let argument = self.arguments.get(self.argument)?;
        self.argument += 1;
        let number = i64::try_from(argument.as_integer()?).ok()?;
        (number.abs() <= MAX_NUMBER).then_some(number)
    }

    /// An explicit index such as `[2]`.
    fn index(&mut self) {
        self.after_index = false;
        if self.peek() != Some(b'[') {
            return;
        }
        self.reordered = true;
        let rest = self.format.get(self.position..).unwrap_or_default();
        let close = if rest.len() < 3 { None } else { rest.iter().position(|byte| *byte == b']') };
        let Some(close) = close else {
            self.good_index = false;
            self.position += 1;
            return;
        };
        let digits = std::str::from_utf8(rest.get(1..close).unwrap_or_default()).unwrap_or_default();
        self.position += close + 1;
        let number = if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse::<usize>().ok() } else { None };
        match number {
            Some(number) if number >= 1 && number <= self.arguments.len() => {
                self.argument = number - 1;
                self.after_index = true;
            }
            Some(_) => {
                self.good_index = false;
                self.after_index = true;
            }
            None => self.good_index = false,
        }
    }
}
