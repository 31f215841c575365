//! Resource quantities (`100m`, `1.5Gi`, `2e3`), as numbers that can be compared and added.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A quantity in billionths of its unit, which is as fine as Kubernetes is.
pub(crate) type Nano = i128;

#[cfg(test)]
const NANO: Nano = 1_000_000_000;

/// Reads a quantity; `None` if it is not one. Digits below a billionth are rounded up, as Kubernetes does.
pub(crate) fn parse(text: &str) -> Option<Nano> {
    let text = text.trim();
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 20 || fraction.len() > 20 || fraction.contains('.') {
        return None;
    }
    let mut digits: Nano = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        digits = digits.checked_mul(10)?.checked_add(Nano::from(digit - b'0'))?;
    }
    let (factor, mut exponent) = scale(suffix)?;
    exponent += 9 - i32::try_from(fraction.len()).ok()?;
    let scaled = digits.checked_mul(factor)?;
    let power = Nano::checked_pow(10, exponent.unsigned_abs())?;
    let value =
        if exponent >= 0 { scaled.checked_mul(power)? } else { scaled / power + Nano::from(scaled % power != 0) };
    Some(sign * value)
}

/// [`parse`] of a typed quantity; what cannot be read counts as zero (the API server refuses such values).
pub(crate) fn value(quantity: &Quantity) -> Nano {
    parse(&quantity.0).unwrap_or(0)
}

/// Whole units (bytes, pieces, cores).
#[cfg(test)]
pub(crate) fn units(amount: i128) -> Nano {
    amount * NANO
}

/// Factor and power of ten of a suffix.
fn scale(suffix: &str) -> Option<(Nano, i32)> {
    let binary = |power: u32| Some((Nano::from(1024).pow(power), 0));
    match suffix {
        "" => Some((1, 0)),
        "n" => Some((1, -9)),
        "u" => Some((1, -6)),
        "m" => Some((1, -3)),
        "k" => Some((1, 3)),
        "M" => Some((1, 6)),
        "G" => Some((1, 9)),
        "T" => Some((1, 12)),
        "P" => Some((1, 15)),
        "E" => Some((1, 18)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-18..=18).contains(&exponent).then_some((1, exponent))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let table = [
            ("100m", Some(NANO / 10)),
            ("0.1", Some(NANO / 10)),
            (".5", Some(NANO / 2)),
            ("1", Some(NANO)),
            ("1k", Some(units(1000))),
            ("1Ki", Some(units(1024))),
            ("1.5Gi", Some(units(1_610_612_736))),
            ("2e3", Some(units(2000))),
            ("1E", Some(units(1_000_000_000_000_000_000))),
            ("-1", Some(-NANO)),
            ("1n", Some(1)),
            ("0.1n", Some(1)),
            ("", None),
            ("Gi", None),
            ("1.2.3", None),
            ("1X", None),
            ("1e999", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
