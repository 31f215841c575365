//! Which pod has which address and which ports of the host, on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{Cidr, Error, HostPort};

const FILE: &str = "allocations.json";
const UID_MAX: usize = 128;

/// What one pod has.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Allocation {
    pub(crate) ip: Ipv4Addr,
    #[serde(default)]
    pub(crate) host_ports: Vec<HostPort>,
}

/// The contents of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
struct State {
    /// The address given out last: the next pod gets the lowest free one after it, so that an address rests as long
    /// as possible before another pod gets it.
    last: Option<Ipv4Addr>,
    pods: BTreeMap<String, Allocation>,
}

struct Shared {
    state: State,
    taken: BTreeSet<Ipv4Addr>,
    version: u64,
}

/// The allocations of a profile. Changes are visible at once and durable after [`Allocations::persist`].
pub(crate) struct Allocations {
    range: Cidr,
    path: PathBuf,
    shared: Mutex<Shared>,
    /// The version on disk. One writer at a time; those who wait meanwhile find their change already written.
    written: Mutex<u64>,
}

// === impl Allocations ===

impl Allocations {
    /// Reads the file in `directory`, or begins empty. Addresses outside `range` (which was different then) and
    /// addresses given twice are dropped.
    pub(crate) fn open(directory: &Path, range: Cidr) -> Result<Self, Error> {
        let path = directory.join(FILE);
        let mut state: State = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| Error::State { path: path.display().to_string(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(Error::io(format!("read {}", path.display()))(error)),
        };
        let mut taken = BTreeSet::new();
        state.pods.retain(|uid, pod| check_uid(uid).is_ok() && usable(range, pod.ip) && taken.insert(pod.ip));
        state.last = state.last.filter(|last| range.contains(*last));
        let shared = Mutex::new(Shared { state, taken, version: 0 });
        Ok(Self { range, path, shared, written: Mutex::new(0) })
    }

    /// The pod's address, the one it has or the next free one, and `host_ports` reserved for it.
    pub(crate) fn allocate(&self, uid: &str, host_ports: &[HostPort]) -> Result<Allocation, Error> {
        check_uid(uid)?;
        let host_ports: Vec<HostPort> = host_ports.iter().map(|port| normal(uid, port)).collect::<Result<_, _>>()?;
        let mut shared = self.lock();
        for port in &host_ports {
            let owner =
                shared.state.pods.iter().find(|(other, pod)| {
                    other.as_str() != uid && pod.host_ports.iter().any(|taken| collide(taken, port))
                });
            if let Some((owner, _)) = owner {
                return Err(Error::HostPortTaken {
                    uid: uid.into(),
                    owner: owner.clone(),
                    port: port.host_port,
                    protocol: port.protocol.name(),
                });
            }
        }
        if let Some(pod) = shared.state.pods.get(uid) {
            if pod.host_ports == host_ports {
                return Ok(pod.clone());
            }
            let allocation = Allocation { ip: pod.ip, host_ports };
            shared.state.pods.insert(uid.into(), allocation.clone());
            shared.version += 1;
            return Ok(allocation);
        }
        let ip =
            next_free(self.range, shared.state.last, &shared.taken).ok_or(Error::Exhausted { range: self.range })?;
        let allocation = Allocation { ip, host_ports };
        shared.taken.insert(ip);
        shared.state.last = Some(ip);
        shared.state.pods.insert(uid.into(), allocation.clone());
        shared.version += 1;
        Ok(allocation)
    }

    /// Gives up what the pod has.
    pub(crate) fn release(&self, uid: &str) {
        let mut shared = self.lock();
        if let Some(pod) = shared.state.pods.remove(uid) {
            shared.taken.remove(&pod.ip);
            shared.version += 1;
        }
    }

    pub(crate) fn get(&self, uid: &str) -> Option<Allocation> {
        self.lock().state.pods.get(uid).cloned()
    }

    pub(crate) fn all(&self) -> BTreeMap<String, Allocation> {
        self.lock().state.pods.clone()
    }

    /// Returns when everything that was true at the call is on disk.
    pub(crate) fn persist(&self) -> Result<(), Error> {
        let wanted = self.lock().version;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= wanted {
            return Ok(());
        }
        let (bytes, version) = {
            let shared = self.lock();
            let bytes = serde_json::to_vec(&shared.state)
                .map_err(|source| Error::State { path: self.path.display().to_string(), source })?;
            (bytes, shared.version)
        };
        replace(&self.path, &bytes).map_err(Error::io(format!("write {}", self.path.display())))?;
        *written = version;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts `bytes` in place of the file, atomically and durably.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_data(),
        None => Ok(()),
    }
}

/// A uid becomes a file name.
pub(crate) fn check_uid(uid: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if uid.is_empty() || uid.len() > UID_MAX || uid.starts_with('.') || !uid.bytes().all(allowed) {
        return Err(Error::InvalidUid { uid: uid.chars().take(UID_MAX).collect() });
    }
    Ok(())
}

/// The first address is the network's, the second the host's, the last the broadcast address.
fn usable(range: Cidr, ip: Ipv4Addr) -> bool {
    range.contains(ip) && ip.to_bits() - range.network().to_bits() >= 2 && ip != range.last()
}

/// The lowest free address after `last`, beginning again at the start of the range.
fn next_free(range: Cidr, last: Option<Ipv4Addr>, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let first = range.network().to_bits() + 2;
    let end = range.last().to_bits();
    let start = last.map_or(first, |last| last.to_bits() + 1).clamp(first, end);
    (start..end).chain(first..start).map(Ipv4Addr::from_bits).find(|ip| !taken.contains(ip))
}

/// `0.0.0.0` and `::` mean every address.
fn normal(uid: &str, port: &HostPort) -> Result<HostPort, Error> {
    let host_ip = match port.host_ip {
        Some(address) if address.is_unspecified() => None,
        Some(address @ IpAddr::V6(_)) => {
            return Err(Error::HostIpFamily { uid: uid.into(), port: port.host_port, address });
        }
        host_ip => host_ip,
    };
    Ok(HostPort { host_ip, ..port.clone() })
}

fn collide(one: &HostPort, other: &HostPort) -> bool {
    let same_address = one.host_ip.is_none() || other.host_ip.is_none() || one.host_ip == other.host_ip;
    one.host_port == other.host_port && one.protocol == other.protocol && same_address
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::Protocol;

    fn range(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn port(host_port: u16, host_ip: Option<&str>) -> HostPort {
        HostPort { host_ip: host_ip.map(|ip| ip.parse().unwrap()), host_port, pod_port: 80, protocol: Protocol::Tcp }
    }

    #[test]
    fn addresses_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let first = Allocations::open(directory.path(), range("10.222.0.0/16")).unwrap();
        let a = first.allocate("a", &[port(8080, None)]).unwrap();
        let b = first.allocate("b", &[]).unwrap();
        first.persist().unwrap();
        assert_ne!(a.ip, b.ip);
        let second = Allocations::open(directory.path(), range("10.222.0.0/16")).unwrap();
        assert_eq!(second.all(), first.all());
        assert_eq!(second.allocate("a", &a.host_ports).unwrap(), a);
        assert_eq!(second.allocate("c", &[]).unwrap().ip, Ipv4Addr::new(10, 222, 0, 4));
    }

    #[test]
    fn a_released_address_rests_until_the_range_is_through() {
        let directory = tempfile::tempdir().unwrap();
        let allocations = Allocations::open(directory.path(), range("10.222.0.0/29")).unwrap();
        let give = |uid: &str| allocations.allocate(uid, &[]).map(|pod| pod.ip.octets()[3]);
        assert_eq!(give("a").unwrap(), 2);
        allocations.release("a");
        assert_eq!(give("b").unwrap(), 3);
        assert_eq!((give("c").unwrap(), give("d").unwrap(), give("e").unwrap()), (4, 5, 6));
        assert_eq!(give("f").unwrap(), 2);
        assert!(matches!(give("g"), Err(Error::Exhausted { .. })));
    }

    #[test]
    fn uids_that_are_no_file_names_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let allocations = Allocations::open(directory.path(), range("10.222.0.0/16")).unwrap();
        for uid in ["", "..", "../x", "a/b", ".hidden", "a\0b", &"x".repeat(129)] {
            assert!(matches!(allocations.allocate(uid, &[]), Err(Error::InvalidUid { .. })), "{uid:?}");
        }
    }

    #[test]
    fn a_host_port_has_one_owner_per_address() {
        let directory = tempfile::tempdir().unwrap();
        let allocations = Allocations::open(directory.path(), range("10.222.0.0/16")).unwrap();
        allocations.allocate("a", &[port(80, Some("192.0.2.1"))]).unwrap();
        allocations.allocate("b", &[port(80, Some("192.0.2.2"))]).unwrap();
        let taken = allocations.allocate("c", &[port(80, Some("0.0.0.0"))]);
        assert!(matches!(taken, Err(Error::HostPortTaken { owner, .. }) if owner == "a"));
        let family = allocations.allocate("d", &[port(81, Some("2001:db8::1"))]);
        assert!(matches!(family, Err(Error::HostIpFamily { .. })));
        allocations.release("a");
        allocations.release("b");
        allocations.allocate("c", &[port(80, None)]).unwrap();
    }

    #[test]
    fn a_damaged_file_is_an_error_and_a_changed_range_drops_old_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let first = Allocations::open(directory.path(), range("10.222.0.0/16")).unwrap();
        first.allocate("a", &[]).unwrap();
        first.persist().unwrap();
        assert!(Allocations::open(directory.path(), range("10.224.0.0/16")).unwrap().all().is_empty());
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(matches!(Allocations::open(directory.path(), range("10.222.0.0/16")), Err(Error::State { .. })));
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice_and_none_is_reserved(steps in proptest::collection::vec((any::<bool>(), 0u8..20), 1..200)) {
            let directory = tempfile::tempdir().unwrap();
            let range = range("10.222.0.16/28");
            let allocations = Allocations::open(directory.path(), range).unwrap();
            for (give, number) in steps {
                let uid = format!("pod-{number}");
                if give {
                    let _ = allocations.allocate(&uid, &[]);
                } else {
                    allocations.release(&uid);
                }
                let all = allocations.all();
                let distinct: BTreeSet<_> = all.values().map(|pod| pod.ip).collect();
                prop_assert_eq!(distinct.len(), all.len());
                prop_assert!(distinct.iter().all(|ip| usable(range, *ip)));
            }
        }
    }
}
