//! The crate's error type.

use std::{io, net::Ipv4Addr};

use crate::{Cidr, Missing};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call, file or stream failed.
    #[error("{context}")]
    Io {
        /// What was attempted, on what.
        context: String,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// The kernel refused a netlink request.
    #[error("{context}")]
    Netlink {
        /// What was asked for.
        context: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },

    /// The kernel sent something that cannot be understood.
    #[error("malformed netlink message while {context}")]
    Malformed {
        /// What was asked for.
        context: String,
    },

    /// A setting cannot work.
    #[error("network configuration: {field}: {problem}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },

    /// The machine lacks something that the network needs.
    #[error("the pod network cannot work on this machine: {}", list(.0))]
    Missing(Vec<Missing>),

    /// A pod's uid cannot be a file name.
    #[error("pod uid {uid:?} is not usable: letters, digits, `-`, `_` and `.` only, at most 128 characters")]
    InvalidUid {
        /// The uid as given.
        uid: String,
    },

    /// Every address of the pod network is taken.
    #[error("no free address in the pod network {range}: delete pods or choose a larger range")]
    Exhausted {
        /// The pod network.
        range: Cidr,
    },

    /// The pod has no attachment.
    #[error("pod {uid} is not attached to the pod network")]
    NotAttached {
        /// `metadata.uid` of the pod.
        uid: String,
    },

    /// A host port belongs to another pod.
    #[error("hostPort {port}/{protocol} of pod {uid} is taken by pod {owner}")]
    HostPortTaken {
        /// The pod that asked.
        uid: String,
        /// The pod that has it.
        owner: String,
        /// The port.
        port: u16,
        /// `TCP` or `UDP`.
        protocol: &'static str,
    },

    /// A host port on an IPv6 address.
    #[error(
        "hostPort {port} of pod {uid}: hostIP {address} is IPv6, which the pod network does not have; leave it out"
    )]
    HostIpFamily {
        /// The pod.
        uid: String,
        /// The port.
        port: u16,
        /// The address.
        address: std::net::IpAddr,
    },

    /// The state file cannot be understood.
    #[error("{path} is damaged; move it away and restart, pods then get new addresses")]
    State {
        /// The file.
        path: String,
        /// Where.
        #[source]
        source: serde_json::Error,
    },

    /// DNS could not listen.
    #[error("cluster DNS cannot listen on {address}:{port}")]
    DnsListen {
        /// The address.
        address: Ipv4Addr,
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

// === impl Error ===

impl Error {
    /// For `map_err`: a failed system call with what it was about.
    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }

    /// The same for `nix`.
    pub(crate) fn errno(context: impl Into<String>) -> impl FnOnce(nix::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source: source.into() }
    }

    /// The kernel's error number, if this is one.
    pub(crate) fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } | Self::Netlink { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the kernel said that the thing does not exist.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ENODEV))
    }
}
