//! Amounts of resources, for comparisons.

use lotse_schema::quantity;
use serde_json::Value;

/// What a malformed quantity is told.
pub(crate) const SYNTAX: &str =
    "must be a number with an optional suffix: n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or a decimal exponent";

const NANOS: i128 = 1_000_000_000;

/// An amount in thousand-millionths: the finest that Kubernetes tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amount(i128);

/// Reads a quantity, written as text or as a number.
pub(crate) fn parse(value: &Value) -> Option<Amount> {
    quantity::parse_value(value).ok().map(|quantity| Amount(quantity.nanos()))
}

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
        self.0 % NANOS == 0
    }
}
