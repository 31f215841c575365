//! Exact decimal arithmetic for `addf`, `mulf` and relatives.

use crate::strconv;

/// `digits * 10^exponent`
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal {
    digits: i128,
    exponent: i32,
}

// === impl Decimal ===

impl Decimal {
    /// The shortest decimal that reads back as this float.
    pub(super) fn from_float(value: f64) -> Option<Decimal> {
        if !value.is_finite() {
            return None;
        }
        let text = strconv::format_float(value, b'e', None);
        let (mantissa, exponent) = text.split_once('e')?;
        let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let digits: i128 = mantissa.replace('.', "").parse().ok()?;
        Some(Decimal { digits, exponent: exponent.parse::<i32>().ok()? - i32::try_from(fraction).ok()? })
    }

    pub(super) fn to_float(self) -> f64 {
        format!("{}e{}", self.digits, self.exponent).parse().unwrap_or(f64::NAN)
    }

    fn scaled(self, exponent: i32) -> Option<i128> {
        let shift = u32::try_from(self.exponent.checked_sub(exponent)?).ok()?;
        self.digits.checked_mul(10_i128.checked_pow(shift)?)
    }

    pub(super) fn add(self, other: Decimal) -> Option<Decimal> {
        let exponent = self.exponent.min(other.exponent);
        Some(Decimal { digits: self.scaled(exponent)?.checked_add(other.scaled(exponent)?)?, exponent })
    }

    pub(super) fn subtract(self, other: Decimal) -> Option<Decimal> {
        self.add(Decimal { digits: other.digits.checked_neg()?, exponent: other.exponent })
    }

    pub(super) fn multiply(self, other: Decimal) -> Option<Decimal> {
        Some(Decimal {
            digits: self.digits.checked_mul(other.digits)?,
            exponent: self.exponent.checked_add(other.exponent)?,
        })
    }

    /// With 16 digits after the point, half away from zero.
    pub(super) fn divide(self, other: Decimal) -> Option<Decimal> {
        const PLACES: i32 = 16;
        let shift = PLACES + self.exponent - other.exponent;
        let (mut numerator, mut denominator) = (self.digits, other.digits);
        let power = 10_i128.checked_pow(shift.unsigned_abs())?;
        if shift >= 0 {
            numerator = numerator.checked_mul(power)?;
        } else {
            denominator = denominator.checked_mul(power)?;
        }
        let quotient = numerator.checked_div(denominator)?;
        let rest = numerator.checked_rem(denominator)?;
        let round_up = rest.checked_abs()?.checked_mul(2)? >= denominator.checked_abs()?;
        let sign = if (numerator < 0) == (denominator < 0) { 1 } else { -1 };
        Some(Decimal { digits: quotient.checked_add(if round_up { sign } else { 0 })?, exponent: -PLACES })
    }
}
