//! Numbers from and to text as Go's `strconv` and `encoding/json` have them: what YAML, Kustomize and Helm read and print.

/// `strconv.ParseInt(text, base, 64)`; base 0 reads prefixes and underscores.
pub(crate) fn parse_int(text: &str, base: u32) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let value = parse_uint(digits, base)?;
    if negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// `strconv.ParseUint(text, base, 64)`
pub(crate) fn parse_uint(text: &str, base: u32) -> Option<u64> {
    let mut base_found = base;
    let mut digits = text;
    let mut underscores = false;
    if base == 0 {
        (base_found, digits) = match text.as_bytes() {
            [b'0', b'x' | b'X', ..] => (16, text.get(2..)?),
            [b'0', b'b' | b'B', ..] => (2, text.get(2..)?),
            [b'0', b'o' | b'O', ..] => (8, text.get(2..)?),
            [b'0', _, ..] => (8, text.get(1..)?),
            _ => (10, text),
        };
        underscores = digits.contains('_');
    }
    if digits.is_empty() {
        return None;
    }
    if underscores && !underscores_are_good(text) {
        return None;
    }
    let mut value = 0_u64;
    let mut any = false;
    for character in digits.chars() {
        if character == '_' && underscores {
            continue;
        }
        let digit = character.to_digit(base_found)?;
        any = true;
        value = value.checked_mul(base_found.into())?.checked_add(digit.into())?;
    }
    any.then_some(value)
}

/// Underscores only between digits, or between the prefix and a digit.
fn underscores_are_good(text: &str) -> bool {
    let text = text.trim_start_matches(['-', '+']);
    let lower = text.to_ascii_lowercase();
    let prefixed = ["0x", "0b", "0o"].iter().any(|prefix| lower.starts_with(prefix));
    let hexadecimal = lower.starts_with("0x");
    let digits = if prefixed { lower.get(2..).unwrap_or_default() } else { lower.as_str() };
    let mut previous = if prefixed { b'0' } else { b'^' };
    for byte in digits.bytes() {
        let kind = match byte {
            b'0'..=b'9' => b'0',
            b'a'..=b'f' if hexadecimal => b'0',
            b'_' => b'_',
            _ => b'!',
        };
        if (kind == b'_' && previous != b'0') || (kind != b'0' && previous == b'_') {
            return false;
        }
        previous = kind;
    }
    previous != b'_'
}

/// `strconv.ParseFloat(text, 64)`; an overflow is `None`.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    let negative = text.starts_with('-');
    let sign = if negative { -1.0 } else { 1.0 };
    match unsigned.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => return Some(sign * f64::INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    if unsigned.starts_with("0x") || unsigned.starts_with("0X") {
        return Some(sign * hexadecimal_float(unsigned.get(2..)?)?);
    }
    // Underscores stand between digits only.
    let between = |index: usize| {
        let digit = |index: Option<usize>| {
            index.and_then(|index| unsigned.as_bytes().get(index)).is_some_and(u8::is_ascii_digit)
        };
        digit(index.checked_sub(1)) && digit(index.checked_add(1))
    };
    if unsigned.bytes().enumerate().any(|(index, byte)| byte == b'_' && !between(index)) {
        return None;
    }
    let without = unsigned.replace('_', "");
    let plain = without.as_str();
    if !plain.bytes().next()?.is_ascii_digit() && !plain.starts_with('.') {
        return None;
    }
    if !plain.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    let value: f64 = plain.parse().ok()?;
    value.is_finite().then_some(sign * value)
}

fn hexadecimal_float(text: &str) -> Option<f64> {
    let text = text.replace('_', "");
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0_f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let exponent: i32 = exponent.parse().ok()?;
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?.checked_mul(4)?)?;
    let result = value * 2.0_f64.powi(shift);
    result.is_finite().then_some(result)
}

/// After so many digits, a double has only zeros. The formatting of the standard library panics far above.
const EXACT_DIGITS: usize = 1100;

/// Shortest or rounded decimal digits of a finite, non-negative number, and the exponent of the first one.
struct Decimal {
    digits: Vec<u8>,
    exponent: i32,
}

fn decimal(value: f64, digits_after_first: Option<usize>) -> Decimal {
    let text = match digits_after_first.map(|precision| precision.min(EXACT_DIGITS)) {
        None => format!("{value:e}"),
        Some(precision) => format!("{value:.precision$e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    if let Some(precision) = digits_after_first {
        digits.resize(digits.len().max(precision.saturating_add(1)), b'0');
    }
    Decimal { digits, exponent: exponent.parse().unwrap_or(0) }
}

/// `strconv.FormatFloat(value, format, precision, 64)`; no precision is the shortest text that reads back the same.
/// `format` is one of `e`, `E`, `f`, `F`, `g`, `G`.
pub(crate) fn format_float(value: f64, format: u8, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-Inf" } else { "+Inf" }.to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let absolute = value.abs();
    let body = match format {
        b'e' | b'E' => exponent_form(&decimal(absolute, precision), format),
        b'f' | b'F' => match precision {
            Some(precision) => {
                let exact = precision.min(EXACT_DIGITS);
                format!("{absolute:.exact$}") + &"0".repeat(precision - exact)
            }
            None => format!("{absolute}"),
        },
        _ => general_form(absolute, format, precision),
    };
    format!("{sign}{body}")
}

/// `%g`: exponents from the precision (6 when the text is the shortest one) on, and those below -4, are written out.
fn general_form(absolute: f64, format: u8, precision: Option<usize>) -> String {
    let (number, threshold) = match precision {
        None => (decimal(absolute, None), 6),
        Some(precision) => {
            let precision = precision.max(1);
            let mut number = decimal(absolute, Some(precision - 1));
            while number.digits.len() > 1 && number.digits.last() == Some(&b'0') {
                number.digits.pop();
            }
            let count = i32::try_from(number.digits.len()).unwrap_or(i32::MAX);
            let wanted = i32::try_from(precision).unwrap_or(i32::MAX);
            let precision = if wanted > count && count > number.exponent { count } else { wanted };
            (number, precision)
        }
    };
    if number.exponent < -4 || number.exponent >= threshold {
        exponent_form(&number, if format == b'G' { b'E' } else { b'e' })
    } else {
        positional(&number)
    }
}

fn exponent_form(number: &Decimal, letter: u8) -> String {
    let mut out = String::new();
    for (index, digit) in number.digits.iter().enumerate() {
        if index == 1 {
            out.push('.');
        }
        out.push(char::from(*digit));
    }
    let sign = if number.exponent < 0 { '-' } else { '+' };
    out.push_str(&format!("{}{sign}{:02}", char::from(letter), number.exponent.abs()));
    out
}

fn positional(number: &Decimal) -> String {
    let mut out = String::new();
    let digit = |index: i32| {
        usize::try_from(index).ok().and_then(|index| number.digits.get(index)).map_or('0', |byte| char::from(*byte))
    };
    if number.exponent < 0 {
        out.push('0');
    } else {
        (0..=number.exponent).for_each(|index| out.push(digit(index)));
    }
    let count = i32::try_from(number.digits.len()).unwrap_or(i32::MAX);
    if count > number.exponent + 1 {
        out.push('.');
        (number.exponent + 1..count).for_each(|index| out.push(digit(index)));
    }
    out
}

/// `strconv.FormatFloat(value, 'g', -1, 64)`
pub(crate) fn shortest_float(value: f64) -> String {
    format_float(value, b'g', None)
}

/// How `encoding/json` writes a number; infinities and not-a-number have no form there.
pub(crate) fn json_float(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let absolute = value.abs();
    if absolute != 0.0 && !(1e-6..1e21).contains(&absolute) {
        // Go drops the zero of exponents such as e-09.
        let text = format_float(value, b'e', None);
        return Some(match text.split_once("e-0") {
            Some((mantissa, digit)) => format!("{mantissa}e-{digit}"),
            None => text,
        });
    }
    Some(format_float(value, b'f', None))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn numbers_print_as_go_prints_them() {
        for (value, general, json) in [
            (1e6, "1e+06", "1000000"),
            (100000.0, "100000", "100000"),
            (1234567.5, "1.2345675e+06", "1234567.5"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "0.00001"),
            (1e-7, "1e-07", "1e-7"),
            (1e21, "1e+21", "1e+21"),
            (-2.5, "-2.5", "-2.5"),
            (0.0, "0", "0"),
            (3.0, "3", "3"),
        ] {
            assert_eq!(shortest_float(value), general);
            assert_eq!(json_float(value).unwrap(), json);
        }
        assert_eq!(json_float(f64::NAN), None);
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, float) in [
            (".5", Some(0.5)),
            (".1_0", Some(0.1)),
            ("1_0.5_5e1_0", Some(10.55e10)),
            ("0x1p-2", Some(0.25)),
            ("+Inf", Some(f64::INFINITY)),
            ("._1", None),
            (".1__0", None),
            ("1_", None),
            ("_1", None),
            ("1e400", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(parse_float(text), float, "{text}");
        }
        for (text, integer) in [
            ("0x1_0", Some(16)),
            ("0b11", Some(3)),
            ("0o17", Some(15)),
            ("017", Some(15)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("08", None),
            ("1__0", None),
            ("0x", None),
            ("-", None),
        ] {
            assert_eq!(parse_int(text, 0), integer, "{text}");
        }
    }
}
