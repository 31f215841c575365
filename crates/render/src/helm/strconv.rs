//! Go's `strconv`: numbers from and to text, quoting.

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
        let lower = text.to_ascii_lowercase();
        (base_found, digits) = match lower.get(..2) {
            Some("0x") => (16, text.get(2..)?),
            Some("0b") => (2, text.get(2..)?),
            Some("0o") => (8, text.get(2..)?),
            _ if text.len() > 1 && text.starts_with('0') => (8, text.get(1..)?),
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

/// How `encoding/json` writes a number.
pub(crate) fn json_float(value: f64) -> String {
    let absolute = value.abs();
    if absolute != 0.0 && !(1e-6..1e21).contains(&absolute) {
        // Go drops the zero of exponents such as e-09.
        let text = format_float(value, b'e', None);
        return match text.split_once("e-0") {
            Some((mantissa, digit)) => format!("{mantissa}e-{digit}"),
            None => text,
        };
    }
    format_float(value, b'f', None)
}

/// Whether Go prints the character as it is inside quotes.
pub(crate) fn is_printable(character: char) -> bool {
    match character {
        ' ' => true,
        character if character.is_ascii() => character.is_ascii_graphic(),
        '\u{ad}' | '\u{feff}' => false,
        character if character.is_control() || character.is_whitespace() => false,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff0}'..='\u{fffb}' => false,
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => false,
        '\u{e0001}'..='\u{e007f}' => false,
        character => !matches!(u32::from(character) & 0xffff, 0xfffe | 0xffff),
    }
}

/// `strconv.Quote` and relatives: `quote` is `"` or `'`, `ascii` escapes everything else.
pub(crate) fn quote_with(input: &[u8], quote: char, ascii: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() + 2);
    let mut buffer = [0; 4];
    out.extend_from_slice(quote.encode_utf8(&mut buffer).as_bytes());
    let mut rest = input;
    while let Some((character, length)) = super::template::decode(rest) {
        if length == 1 && character == char::REPLACEMENT_CHARACTER {
            out.extend_from_slice(format!("\\x{:02x}", rest.first().copied().unwrap_or_default()).as_bytes());
        } else {
            push_escaped(&mut out, character, quote, ascii);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(quote.encode_utf8(&mut buffer).as_bytes());
    out
}

fn push_escaped(out: &mut Vec<u8>, character: char, quote: char, ascii: bool) {
    let mut buffer = [0; 4];
    if character == quote || character == '\\' {
        out.push(b'\\');
        out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        return;
    }
    if is_printable(character) && (!ascii || character.is_ascii()) {
        out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        return;
    }
    let escape = match character {
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        other => match u32::from(other) {
            code @ (0..0x20 | 0x7f) => format!("\\x{code:02x}"),
            code @ 0..0x10000 => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        },
    };
    out.extend_from_slice(escape.as_bytes());
}

/// `strconv.Quote`
pub(crate) fn quote(input: &[u8]) -> Vec<u8> {
    quote_with(input, '"', false)
}

/// [`quote`] for messages.
pub(crate) fn quoted(input: &[u8]) -> String {
    String::from_utf8_lossy(&quote(input)).into_owned()
}
