//! Which capabilities a container gets.

use std::collections::BTreeSet;

use crate::{Error, Security};

/// Names in the order of their numbers (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has without asking, as with containerd.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities(u64);

impl Capabilities {
    /// Those of a bounding set in the form of `/proc/self/status`.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether one is in the set.
    pub(crate) fn contains(self, name: &str) -> bool {
        number(name).is_some_and(|number| self.0 & (1 << number) != 0)
    }

    /// `CAP_…` names, in the order of their numbers.
    pub(crate) fn names(self) -> Vec<String> {
        NAMES
            .iter()
            .enumerate()
            .filter(|(number, _)| self.0 & (1 << number) != 0)
            .map(|(_, name)| format!("CAP_{name}"))
            .collect()
    }
}

fn number(name: &str) -> Option<usize> {
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == name)
}

/// The set for a container: default plus `add` minus `drop`, never more than `bounding`, since asking for more makes the
/// kernel refuse the container. `ALL` in `drop` empties the default, what `add` names stays, as with the kubelet.
pub(crate) fn for_container(security: &Security, bounding: Capabilities) -> Result<Capabilities, Error> {
    if security.privileged {
        return Ok(bounding);
    }
    let parse = |list: &[String], field: &str| -> Result<(bool, BTreeSet<usize>), Error> {
        let mut all = false;
        let mut set = BTreeSet::new();
        for name in list {
            if name.eq_ignore_ascii_case("ALL") {
                all = true;
            } else {
                let number = number(name).ok_or_else(|| {
                    Error::start(format!("securityContext.capabilities.{field}: {name:?} is not a capability of Linux"))
                })?;
                set.insert(number);
            }
        }
        Ok((all, set))
    };
    let (add_all, add) = parse(&security.capabilities_add, "add")?;
    let (drop_all, drop) = parse(&security.capabilities_drop, "drop")?;
    let bits = |set: &BTreeSet<usize>| set.iter().fold(0_u64, |bits, number| bits | 1 << number);
    let default = DEFAULT.iter().filter_map(|name| number(name)).fold(0_u64, |bits, number| bits | 1 << number);
    let mut set = if add_all {
        u64::MAX
    } else if drop_all {
        0
    } else {
        default
    };
    set = (set | bits(&add)) & !bits(&drop);
    Ok(Capabilities(set & bounding.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(add: &[&str], drop: &[&str], bounding: u64) -> Vec<String> {
        let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let security = Security { capabilities_add: own(add), capabilities_drop: own(drop), ..Security::default() };
        for_container(&security, Capabilities(bounding)).unwrap().names()
    }

    #[test]
    fn adding_and_dropping_combine_like_in_kubernetes() {
        assert_eq!(of(&[], &[], u64::MAX).len(), DEFAULT.len());
        assert_eq!(of(&[], &["ALL"], u64::MAX), [""; 0]);
        assert_eq!(of(&["NET_BIND_SERVICE"], &["ALL"], u64::MAX), ["CAP_NET_BIND_SERVICE"]);
        assert_eq!(of(&["cap_net_admin"], &["all"], u64::MAX), ["CAP_NET_ADMIN"]);
        assert_eq!(of(&["ALL"], &["SYS_ADMIN"], u64::MAX).len(), NAMES.len() - 1);
    }

    #[test]
    fn nothing_beyond_the_bounding_set_is_asked_for() {
        assert_eq!(of(&["SYS_ADMIN"], &["ALL"], 1), [""; 0]);
        let privileged = Security { privileged: true, ..Security::default() };
        assert_eq!(for_container(&privileged, Capabilities(0b11)).unwrap().names(), ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let security = Security { capabilities_add: vec!["NET_ADMINN".into()], ..Security::default() };
        let error = for_container(&security, Capabilities(u64::MAX)).unwrap_err().to_string();
        assert!(error.contains("NET_ADMINN"), "{error}");
    }
}
