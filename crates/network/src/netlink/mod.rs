//! Netlink: writing and reading messages, the socket, and the three families that the network uses.

pub(crate) mod conntrack;
pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod nft;
pub(crate) mod socket;

/// `NLM_F_*` of linux/netlink.h.
pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;
pub(crate) const DUMP: u16 = 0x300;
