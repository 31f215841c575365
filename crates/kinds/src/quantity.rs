//! Amounts of resources (`500m`, `10Gi`, `1e3`), exact to a thousand-millionth, for comparisons.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use serde_json::Value;

/// An amount in thousand-millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amount(i128);

/// What a malformed quantity is told.
pub(crate) const SYNTAX: &str =
    "must be a number with an optional suffix: n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or a decimal exponent";

const NANO: i128 = 1_000_000_000;
/// More digits than any amount that fits 64 bits needs.
const DIGIT_LIMIT: usize = 28;

// === impl Amount ===

impl Amount {
    pub(crate) const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether the amount is a whole number.
    pub(crate) const fn is_whole(self) -> bool {
        self.0 % NANO == 0
    }
}

/// Reads a quantity, written as text or as a number.
pub(crate) fn parse(value: &Value) -> Option<Amount> {
    match value {
        Value::String(text) => parse_text(text),
        Value::Number(number) => parse_text(&number.to_string()),
        _ => None,
    }
}

/// Parts smaller than a thousand-millionth round away from zero, as in Kubernetes.
fn parse_text(text: &str) -> Option<Amount> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = whole.len() + fraction.len();
    if digits == 0 || digits > DIGIT_LIMIT || fraction.contains('.') {
        return None;
    }
    let (base, exponent) = scale(suffix)?;
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = exponent.checked_add(9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let binary = mantissa.checked_mul(base)?;
    let amount = if places >= 0 {
        binary.checked_mul(10_i128.checked_pow(places.unsigned_abs())?)?
    } else {
        let divisor = 10_i128.checked_pow(places.unsigned_abs())?;
        binary / divisor + i128::from(binary % divisor != 0)
    };
    Some(Amount(if negative { -amount } else { amount }))
}

/// The suffix as a factor and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|name| *name == suffix);
    if let Some(power) = binary {
        return Some((1 << (10 * (power + 1)), 0));
    }
    let decimal = match suffix {
        "" => Some(0),
        "n" => Some(-9),
        "u" => Some(-6),
        "m" => Some(-3),
        "k" => Some(3),
        "M" => Some(6),
        "G" => Some(9),
        "T" => Some(12),
        "P" => Some(15),
        "E" => Some(18),
        _ => None,
    };
    let exponent = decimal.or_else(|| suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|power: &i32| power.abs() <= 30))?;
    Some((1, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_compare_across_suffixes() {
        for (one, other) in [("1", "1000m"), ("1Gi", "1024Mi"), ("0.5", "500m"), ("1k", "1e3"), ("1E", "1e18"), ("100u", "100000n"), ("+2", "2")] {
            assert!(parse_text(one).is_some(), "{one}");
            assert_eq!(parse_text(one), parse_text(other), "{one} {other}");
        }
        assert!(parse_text("512Mi") < parse_text("1Gi"));
        assert!(parse_text("-1").is_some_and(Amount::is_negative));
        assert!(parse_text("1500m").is_some_and(|amount| !amount.is_whole()));
    }

    #[test]
    fn malformed_amounts_are_none() {
        for text in ["", "Gi", "1gi", "1 Gi", "one", "1.2.3", "--1", "1e99", "9999999999999999999999999999999", "."] {
            assert_eq!(parse_text(text), None, "{text}");
        }
    }
}
