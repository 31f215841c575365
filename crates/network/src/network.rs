//! The pod network of one profile.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fs,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    net::TcpStream,
    sync::{Mutex, OwnedMutexGuard, watch},
    task::spawn_blocking,
};

use crate::{
    Attachment, BoxFuture, Config, Error, HostPort, PodNetwork,
    allocation::{Allocation, Allocations, check_uid},
    kernel::{Bridge, Kernel, Linux, PodLink},
    namespace, preflight,
    program::{LocalPorts, Program},
    ruleset::{Backends, Frame, Frontend},
};

/// Locks for pods: attach and detach of one pod wait for each other, different pods seldom do.
const STRIPES: usize = 64;

/// The pod network of one profile. See [`PodNetwork`] for what the node asks of it.
pub struct Network {
    inner: Arc<Inner>,
    stripes: Vec<Arc<Mutex<()>>>,
}

struct Inner {
    config: Config,
    kernel: Box<dyn Kernel>,
    allocations: Allocations,
    program: Program,
}

// === impl Network ===

impl Network {
    /// Prepares the machine: bridge with the host's and DNS' address, forwarding, rules. What an earlier process of
    /// the same profile left is taken over; connections and pods do not notice. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`Error::Config`] for unusable settings, [`Error::Missing`] if the machine lacks something, [`Error::State`]
    /// if the allocation file is damaged.
    pub fn open(config: Config) -> Result<Self, Error> {
        Self::open_with(config, Box::new(Linux)).map_err(|error| match error {
            Error::Netlink { .. } | Error::Io { .. } => {
                let missing = preflight::check();
                if missing.is_empty() { error } else { Error::Missing(missing) }
            }
            error => error,
        })
    }

    fn open_with(config: Config, kernel: Box<dyn Kernel>) -> Result<Self, Error> {
        config.validate()?;
        for directory in [&config.state_dir, &config.namespace_dir] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(Error::io(format!("make directory {}", directory.display())))?;
        }
        let allocations = Allocations::open(&config.state_dir, config.pod_cidr)?;
        let frame = Frame {
            bridge: config.bridge(),
            pod_cidr: config.pod_cidr,
            service_cidr: config.service_cidr,
            dns_ip: config.dns_ip,
        };
        let program = Program::new(config.table(), frame, config.host_ip());
        kernel.ensure_bridge(&Bridge {
            name: config.bridge(),
            host_ip: config.host_ip(),
            dns_ip: config.dns_ip,
            pod_cidr: config.pod_cidr,
            service_cidr: config.service_cidr,
        })?;
        kernel.enable_forwarding()?;
        program.start(kernel.as_ref(), host_port_frontends(&allocations.all()))?;
        let inner = Arc::new(Inner { config, kernel, allocations, program });
        Ok(Self { inner, stripes: (0..STRIPES).map(|_| Arc::default()).collect() })
    }

    /// Removes everything of the profile from the machine: rules, links, bridge, namespaces, and the allocations. No
    /// pod may run any more. `ip_forward` stays on, since others may rely on it by now. Blocks.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest is removed nevertheless.
    pub fn teardown(&self) -> Result<(), Error> {
        let Inner { config, kernel, allocations, program } = self.inner.as_ref();
        let mut results = vec![program.remove(kernel.as_ref())];
        for (uid, pod) in allocations.all() {
            results.push(kernel.detach(&config.namespace_dir.join(&uid), &config.link(pod.ip)));
            allocations.release(&uid);
        }
        // Namespaces that no allocation knows, from a lost state file.
        for entry in fs::read_dir(&config.namespace_dir).into_iter().flatten().flatten() {
            results.push(namespace::drop_kept(&entry.path()));
        }
        results.push(kernel.remove_bridge(&config.bridge()));
        results.push(allocations.persist());
        results.into_iter().collect()
    }

    /// Changes what services want and returns when the kernel has it. Blocks.
    pub(crate) fn set_services(&self, services: BTreeMap<Frontend, Backends>) -> Result<(), Error> {
        self.inner.program.set_services(self.inner.kernel.as_ref(), services)
    }

    /// Makes the rules again if they are gone. Blocks.
    pub(crate) fn repair(&self) -> Result<(), Error> {
        self.inner.program.repair(self.inner.kernel.as_ref())
    }

    pub(crate) fn local_ports(&self) -> watch::Receiver<LocalPorts> {
        self.inner.program.local_ports()
    }

    /// The settings it was opened with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Runs `work` where blocking is allowed, alone for the pod. It runs to its end even if the caller goes away.
    async fn alone<T: Send + 'static>(
        &self,
        uid: &str,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let guard = self.lock(uid).await;
        let inner = self.inner.clone();
        spawn_blocking(move || {
            let _guard = guard;
            work(&inner)
        })
        .await
        .map_err(|source| Error::Io { context: "work on the pod network".into(), source: source.into() })?
    }

    async fn lock(&self, uid: &str) -> Option<OwnedMutexGuard<()>> {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0);
        match self.stripes.get(index) {
            Some(stripe) => Some(stripe.clone().lock_owned().await),
            None => None,
        }
    }
}

// === impl Inner ===

impl Inner {
    fn namespace(&self, uid: &str) -> PathBuf {
        self.config.namespace_dir.join(uid)
    }

    fn link<'a>(&self, namespace: &'a Path, bridge: &'a str, ip: Ipv4Addr) -> PodLink<'a> {
        PodLink { namespace, bridge, name: self.config.link(ip), ip, host_ip: self.config.host_ip() }
    }

    fn attach(&self, uid: &str, host_ports: &[HostPort]) -> Result<Attachment, Error> {
        let had_ports = self.allocations.get(uid).is_some_and(|pod| !pod.host_ports.is_empty());
        let pod = self.allocations.allocate(uid, host_ports)?;
        let (namespace, bridge) = (self.namespace(uid), self.config.bridge());
        // The disk and the kernel work at the same time; the answer waits for both.
        let (persisted, linked) = std::thread::scope(|scope| {
            let disk = scope.spawn(|| self.allocations.persist());
            let link = self.link(&namespace, &bridge, pod.ip);
            let linked = if self.kernel.is_attached(&link) { Ok(()) } else { self.kernel.attach(&link) };
            let panicked = |_| Err(Error::io("write allocations")(std::io::Error::other("panic")));
            (disk.join().unwrap_or_else(panicked), linked)
        });
        persisted?;
        linked?;
        // Most pods have none and need not wait for the services' turn.
        if had_ports || !pod.host_ports.is_empty() {
            self.update_host_ports()?;
        }
        Ok(Attachment { uid: uid.into(), ip: pod.ip, namespace, host_ports: pod.host_ports })
    }

    fn update_host_ports(&self) -> Result<(), Error> {
        let read = || host_port_frontends(&self.allocations.all());
        self.program.set_host_ports(self.kernel.as_ref(), read)
    }

    fn detach(&self, uid: &str) -> Result<(), Error> {
        check_uid(uid)?;
        let Some(pod) = self.allocations.get(uid) else {
            return namespace::drop_kept(&self.namespace(uid));
        };
        if !pod.host_ports.is_empty() {
            self.allocations.allocate(uid, &[])?;
            self.update_host_ports()?;
        }
        self.kernel.detach(&self.namespace(uid), &self.config.link(pod.ip))?;
        // Last, so that nobody gets the address before the link is gone.
        self.allocations.release(uid);
        self.allocations.persist()
    }
}

fn host_port_frontends(pods: &BTreeMap<String, Allocation>) -> BTreeMap<Frontend, SocketAddrV4> {
    pods.values()
        .flat_map(|pod| {
            pod.host_ports.iter().filter_map(|port| {
                let address = match port.host_ip {
                    None => Ipv4Addr::UNSPECIFIED,
                    Some(IpAddr::V4(address)) => address,
                    Some(IpAddr::V6(_)) => return None,
                };
                let frontend = Frontend { address, protocol: port.protocol, port: port.host_port };
                Some((frontend, SocketAddrV4::new(pod.ip, port.pod_port)))
            })
        })
        .collect()
}

impl PodNetwork for Network {
    fn attach<'a>(&'a self, uid: &'a str, host_ports: &'a [HostPort]) -> BoxFuture<'a, Result<Attachment, Error>> {
        let (owned, host_ports) = (uid.to_owned(), host_ports.to_vec());
        Box::pin(self.alone(uid, move |inner| inner.attach(&owned, &host_ports)))
    }

    fn detach<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        let owned = uid.to_owned();
        Box::pin(self.alone(uid, move |inner| inner.detach(&owned)))
    }

    fn attachments(&self) -> Vec<Attachment> {
        let pods = self.inner.allocations.all().into_iter();
        pods.map(|(uid, pod)| Attachment {
            namespace: self.inner.namespace(&uid),
            uid,
            ip: pod.ip,
            host_ports: pod.host_ports,
        })
        .collect()
    }

    fn connect_loopback<'a>(&'a self, uid: &'a str, port: u16) -> BoxFuture<'a, Result<TcpStream, Error>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            if inner.allocations.get(uid).is_none() {
                return Err(Error::NotAttached { uid: uid.into() });
            }
            let namespace = inner.namespace(uid);
            let stream = spawn_blocking(move || inner.kernel.connect(&namespace, port))
                .await
                .map_err(|source| Error::Io { context: "connect to a pod".into(), source: source.into() })??;
            let context = "take over a connection to a pod";
            stream.set_nonblocking(true).map_err(Error::io(context))?;
            TcpStream::from_std(stream).map_err(Error::io(context))
        })
    }

    fn host_ip(&self) -> Ipv4Addr {
        self.inner.config.host_ip()
    }

    fn dns_ip(&self) -> Ipv4Addr {
        self.inner.config.dns_ip
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::{Protocol, config::tests::config, kernel::fake::Fake};

    fn open(directory: &Path, kernel: &Arc<Fake>) -> Network {
        Network::open_with(config(directory), Box::new(kernel.clone())).unwrap()
    }

    fn port(host_port: u16) -> HostPort {
        HostPort { host_ip: None, host_port, pod_port: 80, protocol: Protocol::Tcp }
    }

    #[tokio::test]
    async fn attach_is_idempotent_and_survives_a_restart_and_a_reboot() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = Arc::new(Fake::default());
        let network = open(directory.path(), &kernel);
        let first = network.attach("a", &[port(8080)]).await.unwrap();
        assert_eq!(network.attach("a", &[port(8080)]).await.unwrap(), first);
        assert_eq!(kernel.state().attached.len(), 1);
        drop(network);
        kernel.state().attached.clear();
        kernel.state().table = false;
        let network = open(directory.path(), &kernel);
        assert_eq!(network.attachments(), std::slice::from_ref(&first));
        assert_eq!(network.attach("a", &[port(8080)]).await.unwrap(), first);
        assert_eq!(kernel.state().attached.len(), 1);
    }

    #[tokio::test]
    async fn detach_frees_everything_and_succeeds_for_unknown_pods() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = Arc::new(Fake::default());
        let network = open(directory.path(), &kernel);
        network.attach("a", &[port(8080)]).await.unwrap();
        network.detach("a").await.unwrap();
        network.detach("a").await.unwrap();
        network.detach("never-seen").await.unwrap();
        assert!(matches!(network.detach("../../etc").await, Err(Error::InvalidUid { .. })));
        assert!(network.attachments().is_empty() && kernel.state().attached.is_empty());
        network.attach("b", &[port(8080)]).await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_attach_keeps_the_address_for_the_next_try() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = Arc::new(Fake::default());
        let network = open(directory.path(), &kernel);
        kernel.state().fail.push("attach");
        network.attach("a", &[]).await.unwrap_err();
        let attachment = network.attach("a", &[]).await.unwrap();
        assert_eq!(attachment.ip, Ipv4Addr::new(10, 222, 0, 2));
    }

    #[tokio::test]
    async fn a_failed_detach_keeps_the_pod_so_that_it_can_be_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = Arc::new(Fake::default());
        let network = open(directory.path(), &kernel);
        network.attach("a", &[]).await.unwrap();
        kernel.state().fail.push("detach");
        network.detach("a").await.unwrap_err();
        assert_eq!(network.attachments().len(), 1);
        network.detach("a").await.unwrap();
        assert!(network.attachments().is_empty());
    }

    #[test]
    fn open_says_what_failed_and_teardown_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = Arc::new(Fake::default());
        kernel.state().fail.push("ensure_bridge");
        assert!(Network::open_with(config(directory.path()), Box::new(kernel.clone())).is_err());
        let network = open(directory.path(), &kernel);
        assert!(kernel.state().forwarding && kernel.state().bridge.is_some() && kernel.state().table);
        network.teardown().unwrap();
        assert!(kernel.state().bridge.is_none() && !kernel.state().table);
    }
}
