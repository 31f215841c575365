//! Quantities (`500m`, `1.5Gi`, `1e3`), exactly: no floating point anywhere.
//!
//! Behaviour of `k8s.io/apimachinery/pkg/api/resource`: precision down to 10⁻⁹, finer values are rounded away from zero,
//! magnitudes above 2⁶³-1 are capped.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde_json::Value;

const NANO: i128 = 1_000_000_000;
const MOST: i128 = i64::MAX as i128 * NANO;
/// Longer text is no quantity anybody means.
const MAX_LENGTH: usize = 128;

/// An amount with the kind of suffix it was written with.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    notation: Notation,
}

/// The family of suffixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// `m`, `k`, `M`, …
    Decimal,
    /// `Ki`, `Mi`, …
    Binary,
    /// `e3`, `E-3`.
    Exponent,
}

/// Text that is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

/// Reads a quantity.
///
/// # Errors
/// When the text is malformed; the message is Kubernetes'.
pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
    if text.len() > MAX_LENGTH {
        return Err(QuantityError);
    }
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return Err(QuantityError);
    }
    let (scale, notation) = scale(suffix)?;
    let magnitude = nanos(whole, fraction, scale).min(MOST);
    Ok(Quantity { nanos: if negative { -magnitude } else { magnitude }, notation })
}

/// Reads a quantity as it stands in an object: a string, or a number.
///
/// # Errors
/// When it is neither, or malformed.
pub fn parse_value(value: &Value) -> Result<Quantity, QuantityError> {
    match value {
        Value::String(text) => parse(text),
        Value::Number(number) => parse(&number.to_string()),
        _ => Err(QuantityError),
    }
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale(suffix: &str) -> Result<(Scale, Notation), QuantityError> {
    let decimal = |exponent| Ok((Scale::Ten(exponent), Notation::Decimal));
    let binary = |exponent| Ok((Scale::Two(exponent), Notation::Binary));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError)?;
            let exponent: i32 = exponent.parse().map_err(|_| QuantityError)?;
            Ok((Scale::Ten(exponent), Notation::Exponent))
        }
    }
}

/// The magnitude in billionths, rounded up.
fn nanos(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let digits = || whole.bytes().chain(fraction.bytes()).map(|digit| i128::from(digit - b'0'));
    if digits().all(|digit| digit == 0) {
        return 0;
    }
    let (tens, twos) = match scale {
        Scale::Ten(exponent) => (i64::from(exponent), 0),
        Scale::Two(exponent) => (0, exponent),
    };
    // The position of the last digit, as a power of ten of a billionth.
    let mut shift = tens + 9 - fraction.len() as i64;
    let mut mantissa: i128 = 0;
    let mut lost = false;
    for digit in digits() {
        match mantissa.checked_mul(10).and_then(|value| value.checked_add(digit)).filter(|value| *value < 1 << 100) {
            Some(value) => mantissa = value,
            None => {
                // Too many digits to keep: the rest only decides about rounding.
                lost |= digit != 0;
                shift += 1;
            }
        }
    }
    let mut carry = 0;
    let mut value = mantissa;
    if twos > 0 {
        value = match value.checked_mul(1 << twos) {
            Some(value) => value,
            // Beyond the cap unless a long fraction is divided away again.
            None if shift >= 0 => return MOST,
            None => {
                let divided = value / 10_i128.pow(18);
                shift += 18;
                lost = true;
                divided.saturating_mul(1 << twos)
            }
        };
    }
    while shift > 0 {
        value = match value.checked_mul(10) {
            Some(value) => value,
            None => return MOST,
        };
        shift -= 1;
    }
    while shift < 0 && value > 0 {
        lost |= value % 10 != 0;
        value /= 10;
        shift += 1;
    }
    if lost {
        carry = 1;
    }
    value.saturating_add(carry)
}

// === impl Quantity ===

impl Quantity {
    /// From billionths, capped.
    pub fn from_nanos(nanos: i128, notation: Notation) -> Self {
        Self { nanos: nanos.clamp(-MOST, MOST), notation }
    }

    /// A whole number.
    pub fn from_value(value: i64, notation: Notation) -> Self {
        Self { nanos: i128::from(value) * NANO, notation }
    }

    /// From thousandths.
    pub fn from_millis(millis: i64) -> Self {
        Self::from_nanos(i128::from(millis) * 1_000_000, Notation::Decimal)
    }

    /// In billionths.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// In thousandths, rounded away from zero, capped.
    pub fn millis(&self) -> i64 {
        away_from_zero(self.nanos, 1_000_000)
    }

    /// Rounded away from zero.
    pub fn value(&self) -> i64 {
        away_from_zero(self.nanos, NANO)
    }

    /// How it was written.
    pub fn notation(&self) -> Notation {
        self.notation
    }

    /// The sum, capped, in the notation of `self`.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let notation = if self.nanos == 0 { other.notation } else { self.notation };
        Self::from_nanos(self.nanos + other.nanos, notation)
    }

    /// The difference, capped, in the notation of `self`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let notation = if self.nanos == 0 { other.notation } else { self.notation };
        Self::from_nanos(self.nanos - other.nanos, notation)
    }
}

fn away_from_zero(nanos: i128, unit: i128) -> i64 {
    let mut whole = nanos / unit;
    if nanos % unit != 0 {
        whole += nanos.signum();
    }
    whole.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text)
    }
}

/// The canonical form: no fraction, and the greatest suffix that loses nothing.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Small or fractional amounts have no binary form.
        if self.notation == Notation::Binary && self.nanos.abs() >= 1024 * NANO && self.nanos % NANO == 0 {
            let (mut value, mut step) = (self.nanos / NANO, 0);
            while value % 1024 == 0 && step < 6 {
                value /= 1024;
                step += 1;
            }
            return write!(f, "{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        let (mut value, mut step) = (self.nanos, 0);
        while value % 1000 == 0 && step < 9 {
            value /= 1000;
            step += 1;
        }
        if self.notation == Notation::Exponent {
            return match step as i32 * 3 - 9 {
                0 => write!(f, "{value}"),
                exponent => write!(f, "{value}e{exponent}"),
            };
        }
        write!(f, "{value}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][step])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_have_the_canonical_form_of_kubernetes() {
        for (written, canonical) in [
            ("0", "0"),
            ("500m", "500m"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1000", "1k"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("100Ki", "100Ki"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12E6", "12e6"),
            ("1E", "1E"),
            ("-5", "-5"),
            ("+5", "5"),
            (".5", "500m"),
            ("5.", "5"),
            ("0.1n", "1n"),
            ("100e-1", "10"),
            ("1e99", "9223372036854775807"),
            ("99999999999999999999999999999999999999999999Ei", "9223372036854775807"),
        ] {
            assert_eq!(parse(written).unwrap().to_string(), canonical, "{written}");
        }
    }

    #[test]
    fn malformed_quantities_are_refused() {
        for bad in [
            "", "m", "-", "1 Gi", "1gi", "1KI", "0x10", "1..2", "1.2.3", "1e", "1ee3", "1mm", "∞", "1Gi1", "--1", "NaN",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rounding_is_away_from_zero() {
        assert_eq!(parse("1.2").unwrap().value(), 2);
        assert_eq!(parse("-1.2").unwrap().value(), -2);
        assert_eq!(parse("0.0001").unwrap().millis(), 1);
        assert!(parse("1Gi").unwrap() > parse("1G").unwrap());
        assert_eq!(parse("1000m").unwrap(), parse("1").unwrap());
    }

    proptest! {
        #[test]
        fn canonical_form_means_the_same(text in "[+-]?[0-9]{0,30}\\.?[0-9]{0,30}(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[+-]?[0-9]{1,4})?") {
            if let Ok(quantity) = parse(&text) {
                prop_assert_eq!(parse(&quantity.to_string()).unwrap(), quantity);
            }
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
