//! Makes a pod's surroundings: network, sandbox, volumes, managed files.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use lotse_network::{HostPort, Protocol};
use tokio::time::timeout;

use super::{
    Entry, Shared,
    backoff::after,
    observed::{Failure, Prepared},
    references::fingerprint,
};
use crate::{
    containers::{
        PodFiles,
        fields::Addresses,
        files::{self, Resolver},
        resources,
    },
    error::{Context, Error, Result, chain},
    events::WARNING,
    volumes::{self, Mounted},
};

/// The runtime and the network have deadlines of their own; this one holds whatever they do.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sysctls that are namespaced and harmless (`k8s.io/kubernetes/pkg/kubelet/sysctl`, safe list).
const SAFE_SYSCTLS: [&str; 9] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
];

// === impl Shared ===

impl Shared {
    /// Idempotent: adopts what is there already.
    pub(super) async fn prepare(&self, pod: &Pod, entry: &Entry) {
        let fingerprint = fingerprint(pod, &self.sources);
        match self.surroundings(pod, entry).await {
            Ok((pod_ip, volumes)) => {
                let mut memory = entry.memory();
                memory.prepared = Some(prepared(pod_ip, volumes, fingerprint));
                memory.prepare_failure = None;
                memory.prepare_backoff = Default::default();
            }
            Err(error) => {
                let message = chain(&error);
                let mount = matches!(error, Error::Volume { .. });
                let reason = if mount { "FailedMount" } else { "FailedCreatePodSandBox" };
                let mut memory = entry.memory();
                let repeated = memory.prepare_failure.as_ref().is_some_and(|old| old.message == message);
                let until = after(Timestamp::now(), memory.prepare_backoff.fail());
                memory.prepare_failure = Some(Failure { reason, message: message.clone(), until, fingerprint });
                drop(memory);
                if !repeated {
                    self.events.pod(pod, None, WARNING, reason, message);
                }
            }
        }
    }

    async fn surroundings(&self, pod: &Pod, entry: &Entry) -> Result<(Option<String>, BTreeMap<String, Mounted>)> {
        let spec = pod.spec.as_ref().ok_or_else(|| Error::config("the pod has no spec"))?;
        let host_network = spec.host_network == Some(true);
        let (pod_ip, namespace) = if host_network {
            (None, None)
        } else {
            let context = || format!("cannot connect pod {} to the network", entry.key);
            let ports = host_ports(spec);
            let attachment = limited(context, self.network.attach(&entry.uid, &ports)).await?.context(context)?;
            (Some(attachment.ip.to_string()), Some(attachment.namespace))
        };
        self.write_files(pod, entry, pod_ip.as_deref())?;
        let sandbox = lotse_runtime::PodSpec {
            uid: entry.uid.clone(),
            namespace: entry.key.namespace().to_owned(),
            name: entry.key.name.clone(),
            hostname: files::uts_hostname(pod, &self.config.cluster_domain),
            network_namespace: namespace,
            host_pid: spec.host_pid == Some(true),
            host_ipc: spec.host_ipc == Some(true),
            share_process_namespace: spec.share_process_namespace == Some(true),
            sysctls: sysctls(spec)?,
            qos: resources::qos_class(spec),
            resources: resources::of_pod(spec),
        };
        let context = || format!("cannot start the sandbox of pod {}", entry.key);
        let again = self.runtime.pod(&entry.uid).is_some();
        let start = limited(context, self.runtime.start_pod(&sandbox));
        let volumes = self.set_up_volumes(pod, entry, pod_ip.clone(), again);
        let (started, volumes) = tokio::join!(start, volumes);
        started?.context(context)?;
        Ok((pod_ip, volumes?))
    }

    async fn set_up_volumes(
        &self,
        pod: &Pod,
        entry: &Entry,
        pod_ip: Option<String>,
        again: bool,
    ) -> Result<BTreeMap<String, Mounted>> {
        let environment = volumes::Environment {
            pod_dir: self.config.pod_dir(&entry.uid),
            sources: &self.sources,
            mounts: self.mounts.as_ref(),
            tokens: &self.tokens,
            addresses: &self.addresses(pod, pod_ip),
            capacity: self.capacity,
            again,
        };
        limited(|| format!("cannot set up the volumes of pod {}", entry.key), volumes::set_up_all(pod, &environment))
            .await?
    }

    /// Brings the content of the volumes up to date; the pod goes on with the old content when that fails.
    pub(super) async fn refresh_volumes(&self, pod: &Pod, entry: &Entry) {
        let fingerprint = fingerprint(pod, &self.sources);
        let Some(old) = entry.memory().prepared.clone() else { return };
        let fresh = match self.set_up_volumes(pod, entry, old.pod_ip.clone(), true).await {
            Ok(volumes) => prepared(old.pod_ip, volumes, fingerprint),
            Err(error) => {
                self.events.pod(pod, None, WARNING, "FailedMount", chain(&error));
                let renew_at = Some(after(Timestamp::now(), Duration::from_secs(30)));
                Prepared { fingerprint, renew_at, ..old }
            }
        };
        entry.memory().prepared = Some(fresh);
    }

    pub(super) fn addresses(&self, pod: &Pod, pod_ip: Option<String>) -> Addresses {
        let host_ip = self.host_ip.to_string();
        let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        Addresses { pod_ip: if host_network { Some(host_ip.clone()) } else { pod_ip }, host_ip }
    }

    pub(super) fn pod_files(&self, uid: &str) -> PodFiles {
        let dir = self.config.pod_dir(uid);
        PodFiles {
            hosts: dir.join("etc-hosts"),
            hostname: dir.join("etc-hostname"),
            resolv_conf: dir.join("etc-resolv.conf"),
        }
    }

    fn write_files(&self, pod: &Pod, entry: &Entry, pod_ip: Option<&str>) -> Result<()> {
        volumes::create_dir(&self.config.pod_dir(&entry.uid))?;
        let Some(spec) = &pod.spec else { return Ok(()) };
        let own = self.pod_files(&entry.uid);
        let hosts = match spec.host_network == Some(true) {
            true => std::fs::read_to_string("/etc/hosts").unwrap_or_default() + &files::aliases(pod),
            false => files::hosts(pod, pod_ip, &self.config.cluster_domain),
        };
        let host = Resolver::parse(&std::fs::read_to_string(&self.config.host_resolv_conf).unwrap_or_default());
        let dns = self.config.cluster_dns.unwrap_or_else(|| IpAddr::V4(self.network.dns_ip()));
        let resolver = files::resolver(spec, entry.key.namespace(), dns, &self.config.cluster_domain, &host);
        write_if_different(&own.hosts, &hosts)?;
        write_if_different(&own.hostname, &(files::hostname(pod) + "\n"))?;
        write_if_different(&own.resolv_conf, &resolver.render())
    }
}

/// Files that are bound into containers keep their inode: they are written in place.
fn write_if_different(path: &Path, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text).context(|| format!("cannot write {}", path.display()))
}

fn prepared(pod_ip: Option<String>, volumes: BTreeMap<String, Mounted>, fingerprint: u64) -> Prepared {
    let renew = volumes.values().filter_map(|volume| volume.renew).min();
    let renew_at = renew.map(|delay| after(Timestamp::now(), delay));
    Prepared { pod_ip, volumes, fingerprint, renew_at }
}

/// `future` with the deadline of every step.
pub(super) async fn limited<T>(context: impl Fn() -> String, future: impl Future<Output = T>) -> Result<T> {
    let outcome = timeout(DEADLINE, future).await;
    outcome.map_err(|_| Error::Deadline { context: context(), seconds: DEADLINE.as_secs() })
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let containers = crate::containers::all_containers(spec);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_port = u16::try_from(port.host_port?).ok().filter(|port| *port > 0)?;
            let host_ip = port.host_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
            Some(HostPort {
                host_ip: host_ip.filter(|ip| *ip != IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                host_port,
                pod_port: u16::try_from(port.container_port).ok()?,
                protocol: match port.protocol.as_deref() {
                    Some("UDP") => Protocol::Udp,
                    None | Some("" | "TCP") => Protocol::Tcp,
                    Some(_) => return None,
                },
            })
        })
        .collect()
}

fn sysctls(spec: &PodSpec) -> Result<BTreeMap<String, String>> {
    let mut result = BTreeMap::new();
    for sysctl in spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten()) {
        if !SAFE_SYSCTLS.contains(&sysctl.name.as_str()) {
            let name = &sysctl.name;
            return Err(Error::config(format!(
                "securityContext.sysctls: {name} is not on the list of allowed sysctls"
            )));
        }
        result.insert(sysctl.name.clone(), sysctl.value.clone());
    }
    Ok(result)
}
