//! Profiles: clusters that run side by side on one machine, each with its own directory, ports and network range.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::exit::{Failure, Kind};

/// The profile of those who do not name one.
pub(crate) const DEFAULT: &str = "default";

/// Most profiles on one machine; each takes two /16 networks out of 10.0.0.0/8, from 10.42 on.
const MAX_PROFILES: u8 = 64;

/// A profile's place on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) name: String,
    /// 0 for the default profile; ports and networks derive from it.
    pub(crate) index: u8,
    /// Everything that must survive a reboot.
    pub(crate) data_dir: PathBuf,
    /// Sockets and the like.
    pub(crate) run_dir: PathBuf,
}

/// What the machine remembers of its profiles.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Registry {
    profiles: BTreeMap<String, Registered>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Registered {
    index: u8,
    data_dir: PathBuf,
}

/// `/var/lib/lotse`, unless `LOTSE_STATE_DIR` says otherwise.
fn state_dir() -> PathBuf {
    std::env::var_os("LOTSE_STATE_DIR").map_or_else(|| PathBuf::from("/var/lib/lotse"), PathBuf::from)
}

/// `/run/lotse`, unless `LOTSE_RUN_DIR` says otherwise.
fn run_dir() -> PathBuf {
    std::env::var_os("LOTSE_RUN_DIR").map_or_else(|| PathBuf::from("/run/lotse"), PathBuf::from)
}

// === impl Profile ===

impl Profile {
    /// The profile `name`, which gets its place on first use.
    pub(crate) fn create(name: &str, data_dir: Option<&Path>) -> Result<Self, Failure> {
        check_name(name)?;
        create_dir(&state_dir())?;
        let _lock = lock(&state_dir().join("profiles.lock"))?;
        let mut registry = Registry::load()?;
        let data_dir = data_dir.map(absolute).transpose()?;
        if let Some(known) = registry.profiles.get(name) {
            if let Some(wanted) = data_dir.filter(|wanted| *wanted != known.data_dir) {
                let message =
                    format!("profile {name} has its data in {}, not in {}", known.data_dir.display(), wanted.display());
                return Err(Failure::new(Kind::Usage, message).with_hint(format!(
                    "choose another profile, or give it up with `lotse reset --profile {name} --yes`"
                )));
            }
            return Ok(Self::at(name, known));
        }
        let used: Vec<u8> = registry.profiles.values().map(|profile| profile.index).collect();
        let first = u8::from(name != DEFAULT);
        let index = free_index(first, &used, &local_addresses()).ok_or_else(|| {
            Failure::new(Kind::Environment, "no network out of 10.42.0.0-10.169.0.0 is free".to_owned())
        })?;
        let registered = Registered { index, data_dir: data_dir.unwrap_or_else(|| state_dir().join(name)) };
        registry.profiles.insert(name.to_owned(), registered.clone());
        registry.save()?;
        Ok(Self::at(name, &registered))
    }

    /// The profile `name`, which must exist.
    pub(crate) fn find(name: &str) -> Result<Self, Failure> {
        check_name(name)?;
        let registry = Registry::load()?;
        let known = registry.profiles.get(name).ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("there is no profile {name}")).with_hint(format!(
                "`lotse up{}` creates it",
                if name == DEFAULT { String::new() } else { format!(" --profile {name}") }
            ))
        })?;
        Ok(Self::at(name, known))
    }

    fn at(name: &str, registered: &Registered) -> Self {
        Self {
            name: name.to_owned(),
            index: registered.index,
            data_dir: registered.data_dir.clone(),
            run_dir: run_dir().join(name),
        }
    }

    /// Forgets the profile.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        let _lock = lock(&state_dir().join("profiles.lock"))?;
        let mut registry = Registry::load()?;
        registry.profiles.remove(&self.name);
        registry.save()
    }

    /// Makes the directories, readable by their owner alone.
    pub(crate) fn create_dirs(&self) -> Result<(), Failure> {
        create_dir(&self.data_dir)?;
        create_dir(&self.run_dir)
    }

    /// 10.42.0.0 for the first profile, then every second /16.
    pub(crate) fn pod_network(&self) -> Ipv4Addr {
        pod_network(self.index)
    }

    /// 10.43.0.0 for the first profile, then every second /16.
    pub(crate) fn service_network(&self) -> Ipv4Addr {
        service_network(self.index)
    }

    /// Address of cluster DNS.
    pub(crate) fn dns_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 43 + 2 * self.index, 0, 10)
    }

    /// Credentials of the administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("kubeconfig")
    }

    /// What the daemon says.
    pub(crate) fn log(&self) -> PathBuf {
        self.data_dir.join("daemon.log")
    }

    /// Held by the daemon as long as it runs; its content is the process id.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.data_dir.join("daemon.lock")
    }

    /// The daemon's process id, if one runs.
    pub(crate) fn daemon(&self) -> Option<i32> {
        let file = fs::OpenOptions::new().read(true).write(true).open(self.lock_file()).ok()?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) => None,
            Err(_) => fs::read_to_string(self.lock_file()).ok()?.trim().parse().ok(),
        }
    }
}

// === impl Registry ===

impl Registry {
    fn path() -> PathBuf {
        state_dir().join("profiles.json")
    }

    fn load() -> Result<Self, Failure> {
        match fs::read(Self::path()) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| Failure::from_error(Self::path().display(), &error))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::from_error(Self::path().display(), &error)),
        }
    }

    fn save(&self) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Failure::from_error("profiles", &error))?;
        write_atomically(&Self::path(), text.as_bytes())
    }
}

/// The first place that no profile has and whose networks the machine is not in already, be it by another registry's
/// profile (`LOTSE_STATE_DIR`), a VPN or another Kubernetes.
fn free_index(first: u8, used: &[u8], taken: &[Ipv4Addr]) -> Option<u8> {
    let is_taken = |network: Ipv4Addr| taken.iter().any(|address| address.octets()[..2] == network.octets()[..2]);
    (first..MAX_PROFILES)
        .find(|index| !used.contains(index) && !is_taken(pod_network(*index)) && !is_taken(service_network(*index)))
}

fn pod_network(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 42 + 2 * index, 0, 0)
}

fn service_network(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 43 + 2 * index, 0, 0)
}

/// Addresses of the machine's interfaces; none if the kernel does not tell.
fn local_addresses() -> Vec<Ipv4Addr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip())).collect()
}

fn check_name(name: &str) -> Result<(), Failure> {
    let allowed = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(allowed) || name.starts_with('-') || name.ends_with('-')
    {
        let message = format!("{name:?} is not a name for a profile: use up to 32 lower-case letters, digits and '-'");
        return Err(Failure::new(Kind::Usage, message));
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::from_error(path.display(), &error))
}

fn create_dir(path: &Path) -> Result<(), Failure> {
    let hint = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Some("Lotse runs containers and needs root: try sudo"),
        _ => None,
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        let failure = Failure::new(Kind::Environment, format!("cannot make the directory {}: {error}", path.display()));
        match hint(&error) {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    })
}

/// Replaces a file so that a crash leaves either the old or the new content.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let failure = |error: std::io::Error| Failure::from_error(path.display(), &error);
    let temporary = path.with_extension("tmp");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(failure)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failure)?;
    fs::rename(&temporary, path).map_err(failure)
}

fn lock(path: &Path) -> Result<Flock<fs::File>, Failure> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| Failure::from_error(path.display(), &error))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| Failure::from_error(path.display(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_never_share_networks() {
        let profile = |index| Profile { name: String::new(), index, data_dir: PathBuf::new(), run_dir: PathBuf::new() };
        let mut networks: Vec<_> = (0..MAX_PROFILES)
            .flat_map(|index| [profile(index).pod_network(), profile(index).service_network()])
            .collect();
        networks.sort_unstable();
        networks.dedup();
        assert_eq!(networks.len(), 2 * usize::from(MAX_PROFILES));
    }

    #[test]
    fn networks_that_the_machine_is_in_already_are_left_alone() {
        let taken = [Ipv4Addr::new(10, 44, 0, 1), Ipv4Addr::new(10, 47, 0, 10), Ipv4Addr::new(192, 168, 1, 1)];
        assert_eq!(free_index(1, &[], &taken), Some(3));
        assert_eq!(free_index(1, &[3], &taken), Some(4));
        assert_eq!(free_index(0, &[], &taken), Some(0));
    }

    #[test]
    fn names_are_safe_in_paths_and_device_names() {
        for name in ["", "..", "a/b", "A", "-a", "a-", "a b", &"a".repeat(33)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("ci-7").is_ok());
    }
}
