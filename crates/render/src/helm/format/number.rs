//! Prints numbers.

use super::printer::Printer;
use crate::{
    helm::{failure::Failure, quote, value::Value},
    strconv,
};

// === impl Printer ===

impl Printer {
    pub(super) fn integer(
        &mut self,
        value: &Value,
        number: u64,
        negative: bool,
        signed: bool,
        verb: char,
    ) -> Result<(), Failure> {
        match verb {
            'v' if self.flags.sharp_v && !signed => {
                let sharp = std::mem::replace(&mut self.flags.sharp, true);
                self.digits(number, negative, 16, verb);
                self.flags.sharp = sharp;
            }
            'v' | 'd' => self.digits(number, negative, 10, verb),
            'b' => self.digits(number, negative, 2, verb),
            'o' | 'O' => self.digits(number, negative, 8, verb),
            'x' | 'X' => self.digits(number, negative, 16, verb),
            'c' => self.pad(rune(number, negative).to_string().as_bytes()),
            'q' => {
                let character = rune(number, negative).to_string();
                let quoted = quote::quote_with(character.as_bytes(), '\'', self.flags.plus);
                self.pad(&quoted);
            }
            'U' => self.unicode(number, negative),
            _ => return self.bad_verb(value, verb),
        }
        Ok(())
    }

    fn digits(&mut self, number: u64, negative: bool, base: u32, verb: char) {
        let mut precision = 0;
        if let Some(wanted) = self.flags.precision {
            precision = wanted;
            if wanted == 0 && number == 0 {
                self.pad_with_spaces(b"");
                return;
            }
        } else if self.flags.zero
            && !self.flags.minus
            && let Some(width) = self.flags.width
        {
            precision = width;
            if negative || self.flags.plus || self.flags.space {
                precision = precision.saturating_sub(1);
            }
        }
        let mut text = match base {
            2 => format!("{number:b}"),
            8 => format!("{number:o}"),
            16 if verb == 'X' => format!("{number:X}"),
            16 => format!("{number:x}"),
            _ => number.to_string(),
        };
        if text.len() < precision {
            text.insert_str(0, &"0".repeat(precision - text.len()));
        }
        if self.flags.sharp {
            match base {
                2 => text.insert_str(0, "0b"),
                8 if !text.starts_with('0') => text.insert(0, '0'),
                16 => text.insert_str(0, if verb == 'X' { "0X" } else { "0x" }),
                _ => {}
            }
        }
        if verb == 'O' {
            text.insert_str(0, "0o");
        }
        if negative {
            text.insert(0, '-');
        } else if self.flags.plus {
            text.insert(0, '+');
        } else if self.flags.space {
            text.insert(0, ' ');
        }
        self.pad_with_spaces(text.as_bytes());
    }

    fn unicode(&mut self, number: u64, negative: bool) {
        let number = if negative { number.wrapping_neg() } else { number };
        let precision = self.flags.precision.unwrap_or(4).max(4);
        let digits = format!("{number:X}");
        let mut text = format!("U+{}{digits}", "0".repeat(precision.saturating_sub(digits.len())));
        if self.flags.sharp
            && let Some(character) = u32::try_from(number).ok().and_then(char::from_u32)
            && quote::is_printable(character)
        {
            text.push_str(&format!(" '{character}'"));
        }
        self.pad_with_spaces(text.as_bytes());
    }

    pub(super) fn float(&mut self, value: &Value, number: f64, verb: char) -> Result<(), Failure> {
        match verb {
            'v' => self.float_as(number, 'g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => self.float_as(number, verb, None),
            'f' | 'e' | 'E' => self.float_as(number, verb, Some(6)),
            'F' => self.float_as(number, 'f', Some(6)),
            _ => return self.bad_verb(value, verb),
        }
        Ok(())
    }

    fn float_as(&mut self, number: f64, verb: char, precision: Option<usize>) {
        let precision = self.flags.precision.or(precision);
        let mut text = match verb {
            'x' | 'X' => hexadecimal_float(number, precision, verb == 'X'),
            'b' => binary_float(number),
            _ => strconv::format_float(number, u8::try_from(verb).unwrap_or(b'g'), precision),
        };
        if !text.starts_with(['+', '-']) {
            text.insert(0, '+');
        }
        if self.flags.space && text.starts_with('+') && !self.flags.plus {
            text.replace_range(..1, " ");
        }
        if number.is_nan() || number.is_infinite() {
            let signless = number.is_nan() && !self.flags.space && !self.flags.plus;
            self.pad_with_spaces(text.get(usize::from(signless)..).unwrap_or_default().as_bytes());
            return;
        }
        if self.flags.sharp && verb != 'b' {
            text = with_point(&text, verb, precision);
        }
        if self.flags.plus || !text.starts_with('+') {
            let width = self.flags.width.unwrap_or(0);
            if self.flags.zero && !self.flags.minus && width > text.len() {
                let (sign, digits) = text.split_at(1);
                self.push(sign);
                self.padding(width - text.len());
                self.push(digits);
                return;
            }
            self.pad(text.as_bytes());
            return;
        }
        self.pad(text.get(1..).unwrap_or_default().as_bytes());
    }

    pub(super) fn complex(&mut self, value: &Value, real: f64, imaginary: f64, verb: char) -> Result<(), Failure> {
        if !matches!(verb, 'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E') {
            return self.bad_verb(value, verb);
        }
        let plus = self.flags.plus;
        self.push("(");
        self.float(value, real, verb)?;
        self.flags.plus = true;
        self.float(value, imaginary, verb)?;
        self.push("i)");
        self.flags.plus = plus;
        Ok(())
    }
}

fn rune(number: u64, negative: bool) -> char {
    if negative {
        char::REPLACEMENT_CHARACTER
    } else {
        u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

/// The `#` flag: a decimal point always, and for `%g` trailing zeros up to the precision.
fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
    let mut digits: i64 = match verb {
        'g' | 'G' | 'x' | 'X' => precision.map_or(6, |precision| i64::try_from(precision).unwrap_or(i64::MAX)),
        _ => 0,
    };
    let exponent = text.find(['e', 'E', 'p', 'P']).unwrap_or(text.len());
    let (number, tail) = text.split_at(exponent);
    let mut significant = false;
    for character in number.chars().skip(1).filter(|character| *character != '.') {
        significant |= character != '0';
        digits -= i64::from(significant);
    }
    let mut out = number.to_owned();
    if !number.contains('.') {
        if number.get(1..) == Some("0") {
            digits -= 1;
        }
        out.push('.');
    }
    (0..digits).for_each(|_| out.push('0'));
    out + tail
}

/// `%x` of a float: `-0x1.8p+01`.
fn hexadecimal_float(number: f64, precision: Option<usize>, upper: bool) -> String {
    if number.is_nan() || number.is_infinite() {
        return strconv::format_float(number, b'g', None);
    }
    let bits = number.to_bits();
    let mut mantissa = bits & ((1 << 52) - 1);
    let raw = i64::try_from((bits >> 52) & 0x7ff).unwrap_or(0);
    let mut exponent = raw - 1023;
    if raw == 0 {
        exponent = -1022;
        if mantissa == 0 {
            exponent = 0;
        } else {
            while mantissa & (1 << 52) == 0 {
                mantissa <<= 1;
                exponent -= 1;
            }
        }
    } else {
        mantissa |= 1 << 52;
    }
    if let Some(precision) = precision.filter(|precision| *precision < 13) {
        let drop = (13 - precision) * 4;
        let half = 1_u64 << (drop - 1);
        let rest = mantissa & ((1 << drop) - 1);
        mantissa >>= drop;
        if rest > half || (rest == half && mantissa & 1 == 1) {
            mantissa += 1;
        }
        mantissa <<= drop;
        if mantissa & (1 << 53) != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let whole = mantissa >> 52;
    let fraction = format!("{:013x}", mantissa & ((1 << 52) - 1));
    let fraction = match precision {
        None => fraction.trim_end_matches('0').to_owned(),
        Some(precision) if precision <= 13 => fraction.get(..precision).unwrap_or_default().to_owned(),
        Some(precision) => format!("{fraction}{}", "0".repeat(precision.saturating_sub(fraction.len()))),
    };
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    let text = format!("{sign}0x{whole}{point}{fraction}p{exponent_sign}{:02}", exponent.abs());
    if upper { text.to_uppercase() } else { text }
}

/// `%b` of a float: the mantissa and the power of two.
fn binary_float(number: f64) -> String {
    if number.is_nan() || number.is_infinite() {
        return strconv::format_float(number, b'g', None);
    }
    let bits = number.to_bits();
    let raw = i64::try_from((bits >> 52) & 0x7ff).unwrap_or(0);
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = if raw == 0 { (fraction, -1074) } else { (fraction | 1 << 52, raw - 1075) };
    let sign = if number.is_sign_negative() { "-" } else { "" };
    format!("{sign}{mantissa}p{exponent:+}")
}
