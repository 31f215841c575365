//! Numbers as Go's `strconv` reads and prints them.

/// `strconv.ParseInt(text, 0, 64)` without underscores.
pub fn parse_go_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_go_uint(digits)?;
    if negative {
        // One more fits below zero than above.
        if magnitude == 1 << 63 { Some(i64::MIN) } else { i64::try_from(magnitude).ok().map(|value| -value) }
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// `strconv.ParseUint(text, 0, 64)` without underscores.
pub fn parse_go_uint(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let (radix, digits) = match bytes {
        [b'0', b'x' | b'X', ..] => (16, &text[2..]),
        [b'0', b'o' | b'O', ..] => (8, &text[2..]),
        [b'0', b'b' | b'B', ..] => (2, &text[2..]),
        [b'0', _, ..] => (8, &text[1..]),
        _ => (10, text),
    };
    // Rust's own parser would take a sign.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// `strconv.ParseFloat(text, 64)` for decimal numbers; what overflows is an error as in Go.
pub fn parse_go_float(text: &str) -> Option<f64> {
    let plausible = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if !plausible || !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// The shortest digits that read back as the same number, and the decimal exponent of the first of them.
fn shortest(value: f64) -> (String, i32) {
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

fn exponential(digits: &str, exponent: i32, least: usize) -> String {
    let (first, rest) = digits.split_at(digits.len().min(1));
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:0least$}", exponent.abs())
}

/// `strconv.FormatFloat(value, 'g', -1, 64)`.
pub fn format_float_g(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let (digits, exponent) = shortest(value);
    // Whenever it prints the shortest form, Go decides between the two with a precision of six digits.
    if !(-4..6).contains(&exponent) {
        format!("{sign}{}", exponential(&digits, exponent, 2))
    } else {
        format!("{sign}{}", value.abs())
    }
}

/// A number as `encoding/json` prints it. Infinities and not-a-number have no form.
pub fn format_float_json(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let sign = if value < 0.0 { "-" } else { "" };
        let (digits, exponent) = shortest(value);
        // encoding/json shortens e-09 to e-9 and leaves e+21 alone.
        let least = if exponent < 0 { 1 } else { 2 };
        return Some(format!("{sign}{}", exponential(&digits, exponent, least)));
    }
    Some(format!("{value}"))
}
