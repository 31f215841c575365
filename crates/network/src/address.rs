//! IPv4 ranges.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::{Deserialize, Serialize};

/// A range of IPv4 addresses, as `10.42.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: Ipv4Addr,
    prefix: u8,
}

/// Why a text is not a range.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an IPv4 range such as 10.42.0.0/16, with no bit set after the prefix")]
pub struct InvalidCidr {
    text: String,
}

// === impl Cidr ===

impl Cidr {
    /// A range; `None` if the prefix is over 32 or the address has bits after it.
    pub fn new(network: Ipv4Addr, prefix: u8) -> Option<Self> {
        let range = Self { network, prefix };
        (prefix <= 32 && network.to_bits() & !range.mask_bits() == 0).then_some(range)
    }

    /// The first address.
    pub fn network(&self) -> Ipv4Addr {
        self.network
    }

    /// The number of leading bits that all addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The last address.
    pub fn last(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !self.mask_bits())
    }

    /// Whether `address` lies within.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask_bits() == self.network.to_bits()
    }

    /// Whether the ranges share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The `index`th address, if there is one.
    pub fn address(&self, index: u32) -> Option<Ipv4Addr> {
        let address = Ipv4Addr::from_bits(self.network.to_bits().checked_add(index)?);
        self.contains(address).then_some(address)
    }

    pub(crate) fn mask(&self) -> [u8; 4] {
        self.mask_bits().to_be_bytes()
    }

    fn mask_bits(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        text.split_once('/')
            .and_then(|(network, prefix)| Self::new(network.parse().ok()?, prefix.parse().ok()?))
            .ok_or_else(|| InvalidCidr { text: text.chars().take(64).collect() })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl TryFrom<String> for Cidr {
    type Error = InvalidCidr;

    fn try_from(text: String) -> Result<Self, InvalidCidr> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(range: Cidr) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn ranges_know_their_bounds() {
        let range: Cidr = "10.42.0.0/16".parse().unwrap();
        assert!(range.contains("10.42.255.255".parse().unwrap()));
        assert!(!range.contains("10.43.0.0".parse().unwrap()));
        assert_eq!(range.last(), "10.42.255.255".parse::<Ipv4Addr>().unwrap());
        assert_eq!(range.address(1), Some("10.42.0.1".parse().unwrap()));
        assert_eq!(range.address(1 << 16), None);
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("200.1.1.1".parse().unwrap()));
        assert_eq!("1.2.3.4/32".parse::<Cidr>().unwrap().last(), "1.2.3.4".parse::<Ipv4Addr>().unwrap());
    }

    #[test]
    fn bits_after_the_prefix_and_nonsense_are_refused() {
        for text in ["10.42.0.1/16", "10.42.0.0/33", "10.42.0.0", "", "/", "fd00::/8", "10.42.0.0/-1"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
