//! What the node needs to know from the outside.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

/// Settings of a [`crate::Node`].
#[derive(Clone, Debug)]
pub struct Config {
    /// `metadata.name` of the Node object; pods with this `spec.nodeName` are run here.
    pub node_name: String,
    /// Directory of the node's own state: `pods/<uid>/volumes/…`, `pods/<uid>/containers/…`. Only the node writes there.
    pub root: PathBuf,
    /// Where pod logs go: `<log_dir>/<namespace>_<pod>_<uid>/<container>/<attempt>.log`.
    pub log_dir: PathBuf,
    /// Address of the node as other machines see it (`InternalIP`); the network's host address when `None`.
    pub node_ip: Option<IpAddr>,
    /// DNS server for pods with `dnsPolicy: ClusterFirst`; the network's DNS address when `None`.
    pub cluster_dns: Option<IpAddr>,
    /// Cluster domain, normally `cluster.local`.
    pub cluster_domain: String,
    /// The host's resolver configuration for `dnsPolicy: Default`, normally `/etc/resolv.conf`.
    pub host_resolv_conf: PathBuf,
    /// Replaces measured `status.allocatable` (and capacity) entries, e.g. `cpu: 2`.
    pub allocatable: BTreeMap<String, String>,
    /// Most pods on this node.
    pub max_pods: usize,
    /// Extra labels of the Node object.
    pub labels: BTreeMap<String, String>,
    /// Reported as `kubeletVersion`, e.g. `v1.37.0+lotse-0.1.0`.
    pub version: String,
    /// Reported as `containerRuntimeVersion`, e.g. `lotse://0.1.0`.
    pub runtime_version: String,
    /// Port of the kubelet endpoint in `status.daemonEndpoints`; `None` when the routes are only served in-process.
    pub kubelet_port: Option<u16>,
    /// Unused images are removed when the file system of [`Config::root`] is fuller than this many per cent …
    pub image_gc_high_percent: u8,
    /// … until it is below this many.
    pub image_gc_low_percent: u8,
}

// === impl Config ===

impl Config {
    /// Kubernetes' defaults for a node called `node_name` with its state below `root`.
    pub fn new(node_name: impl Into<String>, root: impl Into<PathBuf>, log_dir: impl Into<PathBuf>) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self {
            node_name: node_name.into(),
            root: root.into(),
            log_dir: log_dir.into(),
            node_ip: None,
            cluster_dns: None,
            cluster_domain: "cluster.local".into(),
            host_resolv_conf: "/etc/resolv.conf".into(),
            allocatable: BTreeMap::new(),
            max_pods: 110,
            labels: BTreeMap::new(),
            version: format!("v1.37.0+lotse-{version}"),
            runtime_version: format!("lotse://{version}"),
            kubelet_port: None,
            image_gc_high_percent: 85,
            image_gc_low_percent: 80,
        }
    }

    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }
}
