//! The Node object and its lease.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{
            ContainerImage, DaemonEndpoint, Namespace, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
            NodeStatus, NodeSystemInfo,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time},
    },
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use lotse_runtime::ContainerRuntime;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    Config,
    error::{Context, Result, chain},
    events::{Events, NORMAL},
    machine::{self, Disk, Memory},
};

const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;
const RENEW: Duration = Duration::from_secs(10);
/// Unchanged status is written again after this time, as the kubelet's `nodeStatusReportFrequency`.
const REPORT: Duration = Duration::from_secs(300);
/// The API lists at most this many images per node.
const MAX_IMAGES: usize = 50;

/// Below this much available memory (bytes) the node is under memory pressure; the kubelet's `memory.available<100Mi`.
const MEMORY_PRESSURE: u64 = 100 << 20;
/// As the kubelet's `nodefs.available<5%` (its own default is 10 %): on a large disk a tenth is far from full.
const DISK_PRESSURE_PERCENT: u64 = 95;

/// Keeps the Node object and its lease.
pub(crate) struct Registration {
    pub(crate) client: Client,
    pub(crate) config: Config,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) host_ip: String,
    pub(crate) events: Events,
}

// === impl Registration ===

impl Registration {
    /// Registers, then renews for ever. Errors are retried: a node without an API server is not broken.
    pub(crate) async fn run(self) {
        let mut delay = Duration::from_millis(50);
        let mut status = loop {
            match self.register().await {
                Ok(status) => break status,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot register the node, retrying");
                    sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(5));
                }
            }
        };
        self.events.node(&self.config.node_name, NORMAL, "Starting", "Starting kubelet.");
        self.events.node(
            &self.config.node_name,
            NORMAL,
            "NodeReady",
            format!("Node {} status is now: NodeReady", self.config.node_name),
        );
        let mut reported = tokio::time::Instant::now();
        let mut ticks = interval(RENEW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.renew().await {
                tracing::warn!(error = %chain(&error), "cannot renew the node's lease");
            }
            let fresh = self.status(&status);
            if meaningful(&fresh) == meaningful(&status) && reported.elapsed() < REPORT {
                continue;
            }
            match self.write(&fresh).await {
                Ok(()) => (status, reported) = (fresh, tokio::time::Instant::now()),
                // The object was removed: a node that runs registers again.
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot write the node's status, registering again");
                    if let Ok(fresh) = self.register().await {
                        status = fresh;
                    }
                }
            }
        }
    }

    async fn register(&self) -> Result<NodeStatus> {
        let api: Api<Node> = Api::all(self.client.clone());
        let name = &self.config.node_name;
        let labels = self.labels();
        let context = || format!("cannot register node {name}");
        let previous = match api.get_opt(name).await.context(context)? {
            Some(node) => {
                let patch = json!({"metadata": {"labels": labels}});
                api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.context(context)?;
                node.status.unwrap_or_default()
            }
            None => {
                let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() };
                let node = Node { metadata, spec: Some(NodeSpec::default()), status: None };
                api.create(&PostParams::default(), &node).await.context(context)?;
                NodeStatus::default()
            }
        };
        let status = self.status(&previous);
        self.write(&status).await?;
        Ok(status)
    }

    async fn write(&self, status: &NodeStatus) -> Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let name = &self.config.node_name;
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(name, &PatchParams::default(), &patch)
            .await
            .context(|| format!("cannot write the status of node {name}"))?;
        Ok(())
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.config.labels.clone();
        let arch = arch();
        for (key, value) in [
            ("kubernetes.io/hostname", self.config.node_name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", arch),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", arch),
            ("node-role.kubernetes.io/control-plane", ""),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }

    fn status(&self, previous: &NodeStatus) -> NodeStatus {
        let (memory, disk) = (machine::memory(), machine::disk(&self.config.root));
        let mut capacity: BTreeMap<String, Quantity> = [
            ("cpu", machine::processors().to_string()),
            ("memory", format!("{}Ki", memory.total / 1024)),
            ("pods", self.config.max_pods.to_string()),
            ("ephemeral-storage", format!("{}Ki", disk.total / 1024)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Quantity(value)))
        .collect();
        for (name, value) in &self.config.allocatable {
            capacity.insert(name.clone(), Quantity(value.clone()));
        }
        let mut images: Vec<_> = self.runtime.images();
        images.sort_by_key(|image| std::cmp::Reverse(image.size_bytes));
        images.truncate(MAX_IMAGES);
        let images = images.into_iter().map(|image| ContainerImage {
            names: Some(image.digests.into_iter().chain(image.names).take(5).collect()),
            size_bytes: i64::try_from(image.size_bytes).ok(),
        });
        let address = |kind: &str, address: &str| NodeAddress { type_: kind.into(), address: address.into() };
        NodeStatus {
            addresses: Some(vec![address("InternalIP", &self.host_ip), address("Hostname", &self.config.node_name)]),
            allocatable: Some(capacity.clone()),
            capacity: Some(capacity),
            conditions: Some(conditions(previous, memory, disk, machine::processes(), Timestamp::now())),
            daemon_endpoints: self
                .config
                .kubelet_port
                .map(|port| NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(port) }) }),
            images: Some(images.collect()),
            node_info: Some(self.info()),
            ..NodeStatus::default()
        }
    }

    fn info(&self) -> NodeSystemInfo {
        let machine_id = machine::read("/etc/machine-id");
        let uuid = machine::read("/sys/class/dmi/id/product_uuid");
        NodeSystemInfo {
            architecture: arch().into(),
            boot_id: machine::read("/proc/sys/kernel/random/boot_id"),
            container_runtime_version: self.config.runtime_version.clone(),
            kernel_version: machine::read("/proc/sys/kernel/osrelease"),
            kube_proxy_version: self.config.version.clone(),
            kubelet_version: self.config.version.clone(),
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
            machine_id,
            operating_system: "linux".into(),
            os_image: machine::os_image(),
            ..NodeSystemInfo::default()
        }
    }

    async fn renew(&self) -> Result<()> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), LEASE_NAMESPACE);
        let name = &self.config.node_name;
        let now = MicroTime(Timestamp::now());
        let context = || format!("cannot renew lease {LEASE_NAMESPACE}/{name}");
        let patch = Patch::Merge(
            json!({"spec": {"holderIdentity": name, "renewTime": now, "leaseDurationSeconds": LEASE_SECONDS}}),
        );
        match api.patch(name, &PatchParams::default(), &patch).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).context(context),
        }
        let node = Api::<Node>::all(self.client.clone()).get_opt(name).await.context(context)?;
        let owner = node.and_then(|node| node.metadata.uid).map(|uid| OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.clone(),
            uid,
            ..OwnerReference::default()
        });
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(LEASE_NAMESPACE.into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(name.clone()),
                lease_duration_seconds: Some(LEASE_SECONDS),
                renew_time: Some(now.clone()),
                acquire_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        match api.create(&PostParams::default(), &lease).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                // The namespace belongs to the control plane; a node that comes first makes it.
                let metadata = ObjectMeta { name: Some(LEASE_NAMESPACE.into()), ..ObjectMeta::default() };
                let namespace = Namespace { metadata, ..Namespace::default() };
                match Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    Err(error) => return Err(error).context(context),
                }
                api.create(&PostParams::default(), &lease).await.context(context).map(drop)
            }
            Err(error) => Err(error).context(context),
        }
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What makes a status different for its readers: not the times.
fn meaningful(status: &NodeStatus) -> NodeStatus {
    let mut result = status.clone();
    for condition in result.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
    }
    result
}

fn conditions(
    previous: &NodeStatus,
    memory: Memory,
    disk: Disk,
    pids: (u64, u64),
    now: Timestamp,
) -> Vec<NodeCondition> {
    let disk_full =
        disk.used_percent() >= DISK_PRESSURE_PERCENT || (disk.inodes > 0 && disk.inodes_free * 20 < disk.inodes);
    let rows = [
        (
            "MemoryPressure",
            memory.available < MEMORY_PRESSURE,
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            disk_full,
            "KubeletHasDiskPressure",
            "kubelet has disk pressure",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            pids.0.saturating_mul(100) > pids.1.saturating_mul(90),
            "KubeletHasInsufficientPID",
            "kubelet has insufficient PID available",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
        ("Ready", true, "KubeletReady", "kubelet is posting ready status", "", ""),
    ];
    let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
    rows.into_iter()
        .map(|(kind, holds, reason, message, other_reason, other_message)| {
            let status = if holds { "True" } else { "False" };
            let old = previous.conditions.iter().flatten().find(|condition| condition.type_ == kind);
            let since = old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
            NodeCondition {
                type_: kind.into(),
                status: status.into(),
                reason: Some(if holds { reason } else { other_reason }.into()),
                message: Some(if holds { message } else { other_message }.into()),
                last_heartbeat_time: Some(Time(second)),
                last_transition_time: Some(since.unwrap_or(Time(second))),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn pressure_follows_the_readings_and_transitions_are_kept() {
        let good = (
            Memory { total: 4 << 30, available: 1 << 30 },
            Disk { total: 100, available: 50, inodes: 100, inodes_free: 90 },
        );
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = conditions(&NodeStatus::default(), good.0, good.1, (10, 1000), at(100));
        let status = |list: &[NodeCondition], kind: &str| list.iter().find(|one| one.type_ == kind).unwrap().clone();
        for kind in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
            assert_eq!(status(&first, kind).status, "False", "{kind}");
        }
        assert_eq!(status(&first, "Ready").status, "True");
        let previous = NodeStatus { conditions: Some(first), ..NodeStatus::default() };
        let low = Memory { total: 4 << 30, available: 1 << 20 };
        let second = conditions(&previous, low, Disk { available: 5, ..good.1 }, (950, 1000), at(200));
        for kind in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
            let condition = status(&second, kind);
            assert_eq!(
                (condition.status.as_str(), condition.last_transition_time.unwrap().0),
                ("True", at(200)),
                "{kind}"
            );
        }
        assert_eq!(status(&second, "Ready").last_transition_time.unwrap().0, at(100));
    }
}
