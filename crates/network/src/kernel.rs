//! What the network does to the kernel, as a trait: the real one here, a recording and failing one for tests below.

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, TcpStream},
    os::fd::AsFd,
    path::Path,
};

use nix::libc;

use crate::{
    Cidr, Error, namespace,
    netlink::{
        conntrack::{self, Flow},
        link::{self, Requests, Route, mac_of},
        nft::{self, Command, KeyAndData},
        socket::Socket,
    },
};

/// The bridge of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bridge {
    pub(crate) name: String,
    pub(crate) host_ip: Ipv4Addr,
    pub(crate) dns_ip: Ipv4Addr,
    pub(crate) pod_cidr: Cidr,
    pub(crate) service_cidr: Cidr,
}

/// A pod's namespace and its link to the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodLink<'a> {
    pub(crate) namespace: &'a Path,
    pub(crate) bridge: &'a str,
    /// Name of the host's end.
    pub(crate) name: String,
    pub(crate) ip: Ipv4Addr,
    pub(crate) host_ip: Ipv4Addr,
}

/// Everything is idempotent and blocks for milliseconds; absent things are removed with success.
pub(crate) trait Kernel: Send + Sync + 'static {
    fn ensure_bridge(&self, bridge: &Bridge) -> Result<(), Error>;
    fn enable_forwarding(&self) -> Result<(), Error>;
    /// Whether namespace and link of the pod are there.
    fn is_attached(&self, pod: &PodLink<'_>) -> bool;
    /// Makes namespace and link, in place of whatever is left of them.
    fn attach(&self, pod: &PodLink<'_>) -> Result<(), Error>;
    fn detach(&self, namespace: &Path, link: &str) -> Result<(), Error>;
    /// Removes the bridge with all links on it.
    fn remove_bridge(&self, name: &str) -> Result<(), Error>;
    fn transaction(&self, table: &str, commands: &[Command]) -> Result<(), Error>;
    fn table_exists(&self, table: &str) -> Result<bool, Error>;
    fn elements(&self, table: &str, set: &str) -> Result<Vec<KeyAndData>, Error>;
    fn forget_flows(&self, flows: &HashSet<Flow>) -> Result<usize, Error>;
    fn connect(&self, namespace: &Path, port: u16) -> Result<TcpStream, Error>;
}

/// Linux.
pub(crate) struct Linux;

/// Large enough for any path of the machine; path MTU discovery does the rest.
const MTU: u32 = 1500;
const POD_INTERFACE: &str = "eth0";
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Settings inside a pod's namespace, tried and not required.
///
/// Redirects are refused because all traffic between pods goes through the host on purpose: see `ruleset.rs`. The
/// others are what container runtimes give every pod, so that programs without privileges can use ports below 1024
/// and send pings.
const POD_SETTINGS: [(&str, &str); 5] = [
    ("/proc/sys/net/ipv4/conf/all/accept_redirects", "0"),
    ("/proc/sys/net/ipv4/conf/default/accept_redirects", "0"),
    ("/proc/sys/net/ipv4/conf/eth0/accept_redirects", "0"),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

// === impl Linux ===

impl Linux {
    fn delete_link(name: &str) -> Result<(), Error> {
        let Ok(index) = link::index_of(name) else { return Ok(()) };
        let mut requests = Requests::default();
        requests.delete_link(index);
        match requests.execute(&Socket::route()?, &format!("delete link {name}")) {
            Err(error) if error.is_absent() => Ok(()),
            result => result,
        }
    }
}

impl Kernel for Linux {
    fn ensure_bridge(&self, bridge: &Bridge) -> Result<(), Error> {
        let name = &bridge.name;
        let mut requests = Requests::default();
        requests.add_bridge(name, mac_of(bridge.host_ip));
        match requests.execute(&Socket::route()?, &format!("make bridge {name}")) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            result => result?,
        }
        let index = link::index_of(name)?;
        let mut requests = Requests::default();
        requests.set_up(index);
        let settle = |requests: Requests, step: &str| match requests.execute(&Socket::route()?, step) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result,
        };
        settle(requests, &format!("set bridge {name} up"))?;
        for address in [bridge.host_ip, bridge.dns_ip] {
            let mut requests = Requests::default();
            requests.add_address(index, address);
            settle(requests, &format!("give address {address} to bridge {name}"))?;
        }
        // The route for Services makes connections from the host possible on a machine without a default route, and
        // lets the rules refuse Services that do not exist instead of sending their packets to the internet.
        for range in [bridge.pod_cidr, bridge.service_cidr] {
            let mut requests = Requests::default();
            requests.add_route(&Route {
                destination: range.network(),
                prefix: range.prefix(),
                gateway: None,
                source: Some(bridge.host_ip),
                link: index,
            });
            settle(requests, &format!("route {range} to bridge {name}"))?;
        }
        Ok(())
    }

    fn enable_forwarding(&self) -> Result<(), Error> {
        let context = || format!("switch {IP_FORWARD} on");
        // Writing resets other settings of the machine, so only when needed.
        if fs::read_to_string(IP_FORWARD).map_err(Error::io(context()))?.trim() == "0" {
            fs::write(IP_FORWARD, "1").map_err(Error::io(context()))?;
        }
        Ok(())
    }

    fn is_attached(&self, pod: &PodLink<'_>) -> bool {
        namespace::is_kept(pod.namespace) && link::index_of(&pod.name).is_ok()
    }

    fn attach(&self, pod: &PodLink<'_>) -> Result<(), Error> {
        self.detach(pod.namespace, &pod.name)?;
        let bridge = link::index_of(pod.bridge)?;
        let host = Socket::route()?;
        let made = namespace::in_new(|own| {
            namespace::keep(pod.namespace)?;
            let mut requests = Requests::default();
            requests.add_veth(&pod.name, bridge, POD_INTERFACE, mac_of(pod.ip), Some(own.as_fd()), MTU);
            requests.execute(&host, &format!("make link {}", pod.name))?;
            let eth0 = link::index_of(POD_INTERFACE)?;
            let loopback = link::index_of("lo")?;
            let mut requests = Requests::default();
            requests.set_up(loopback);
            requests.add_address(eth0, pod.ip);
            requests.set_up(eth0);
            let route = Route { destination: pod.host_ip, prefix: 32, gateway: None, source: None, link: eth0 };
            requests.add_route(&route);
            requests.add_route(&Route {
                destination: Ipv4Addr::UNSPECIFIED,
                prefix: 0,
                gateway: Some(pod.host_ip),
                source: None,
                link: eth0,
            });
            requests.execute(&Socket::route()?, &format!("set up {POD_INTERFACE} with address {}", pod.ip))?;
            for (setting, value) in POD_SETTINGS {
                if let Err(error) = fs::write(setting, value) {
                    tracing::debug!(setting, %error, "setting of a pod's namespace not changed");
                }
            }
            Ok(())
        })
        .and_then(|()| {
            // Where br_netfilter is loaded (Docker loads it), translated packets between pods are bridged and not
            // routed; a pod then reaches itself through its own port.
            let mut requests = Requests::default();
            requests.hairpin(link::index_of(&pod.name)?);
            requests.execute(&Socket::route()?, &format!("let link {} reach itself", pod.name))
        });
        if made.is_err()
            && let Err(error) = self.detach(pod.namespace, &pod.name)
        {
            tracing::warn!(%error, link = pod.name, "half-made pod network not removed");
        }
        made
    }

    fn detach(&self, path: &Path, link: &str) -> Result<(), Error> {
        Self::delete_link(link)?;
        namespace::drop_kept(path)
    }

    fn remove_bridge(&self, name: &str) -> Result<(), Error> {
        let Ok(index) = link::index_of(name) else { return Ok(()) };
        for port in link::links(&Socket::route()?)?.into_iter().filter(|link| link.master == Some(index)) {
            Self::delete_link(&port.name)?;
        }
        Self::delete_link(name)
    }

    fn transaction(&self, table: &str, commands: &[Command]) -> Result<(), Error> {
        nft::transaction(&Socket::netfilter()?, table, commands)
    }

    fn table_exists(&self, table: &str) -> Result<bool, Error> {
        nft::table_exists(&Socket::netfilter()?, table)
    }

    fn elements(&self, table: &str, set: &str) -> Result<Vec<KeyAndData>, Error> {
        nft::elements(&Socket::netfilter()?, table, set)
    }

    fn forget_flows(&self, flows: &HashSet<Flow>) -> Result<usize, Error> {
        conntrack::forget(&Socket::netfilter()?, flows)
    }

    fn connect(&self, namespace: &Path, port: u16) -> Result<TcpStream, Error> {
        namespace::connect(namespace, port)
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! A kernel that remembers what it was told and fails where it is told to.

    use std::{
        collections::BTreeSet,
        io,
        path::PathBuf,
        sync::{Mutex, MutexGuard, PoisonError},
    };

    use super::*;

    #[derive(Default)]
    pub(crate) struct State {
        pub(crate) bridge: Option<Bridge>,
        pub(crate) forwarding: bool,
        pub(crate) attached: BTreeSet<(PathBuf, String)>,
        pub(crate) transactions: Vec<Vec<Command>>,
        pub(crate) table: bool,
        pub(crate) forgotten: Vec<HashSet<Flow>>,
        /// Operations that fail once, by name.
        pub(crate) fail: Vec<&'static str>,
    }

    #[derive(Default)]
    pub(crate) struct Fake(Mutex<State>);

    impl Fake {
        pub(crate) fn state(&self) -> MutexGuard<'_, State> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn enter(&self, operation: &'static str) -> Result<MutexGuard<'_, State>, Error> {
            let mut state = self.state();
            if let Some(at) = state.fail.iter().position(|failing| *failing == operation) {
                state.fail.remove(at);
                return Err(Error::Netlink {
                    context: operation.into(),
                    source: io::Error::from_raw_os_error(libc::EPERM),
                });
            }
            Ok(state)
        }
    }

    impl Kernel for std::sync::Arc<Fake> {
        fn ensure_bridge(&self, bridge: &Bridge) -> Result<(), Error> {
            self.enter("ensure_bridge")?.bridge = Some(bridge.clone());
            Ok(())
        }

        fn enable_forwarding(&self) -> Result<(), Error> {
            self.enter("enable_forwarding")?.forwarding = true;
            Ok(())
        }

        fn is_attached(&self, pod: &PodLink<'_>) -> bool {
            self.state().attached.contains(&(pod.namespace.to_owned(), pod.name.clone()))
        }

        fn attach(&self, pod: &PodLink<'_>) -> Result<(), Error> {
            self.enter("attach")?.attached.insert((pod.namespace.to_owned(), pod.name.clone()));
            Ok(())
        }

        fn detach(&self, namespace: &Path, link: &str) -> Result<(), Error> {
            self.enter("detach")?.attached.remove(&(namespace.to_owned(), link.to_owned()));
            Ok(())
        }

        fn remove_bridge(&self, _: &str) -> Result<(), Error> {
            self.enter("remove_bridge")?.bridge = None;
            Ok(())
        }

        fn transaction(&self, _: &str, commands: &[Command]) -> Result<(), Error> {
            let mut state = self.enter("transaction")?;
            for command in commands {
                match command {
                    Command::AddTable => state.table = true,
                    Command::DeleteTable => state.table = false,
                    _ => {}
                }
            }
            state.transactions.push(commands.to_vec());
            Ok(())
        }

        fn table_exists(&self, _: &str) -> Result<bool, Error> {
            Ok(self.enter("table_exists")?.table)
        }

        fn elements(&self, _: &str, _: &str) -> Result<Vec<KeyAndData>, Error> {
            self.enter("elements").map(|_| Vec::new())
        }

        fn forget_flows(&self, flows: &HashSet<Flow>) -> Result<usize, Error> {
            self.enter("forget_flows")?.forgotten.push(flows.clone());
            Ok(flows.len())
        }

        fn connect(&self, _: &Path, _: u16) -> Result<TcpStream, Error> {
            Err(Error::Io { context: "connect".into(), source: io::ErrorKind::ConnectionRefused.into() })
        }
    }
}
