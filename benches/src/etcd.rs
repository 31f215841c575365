//! The peer of the store: one etcd with its own defaults, on the same disk as ours, asked by gRPC.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes};
use tempfile::TempDir;

use crate::{Result, client::Grpc};

/// A running etcd; killed and removed when dropped.
pub(crate) struct Etcd {
    child: Child,
    address: SocketAddr,
    _data: TempDir,
}

impl Etcd {
    /// Starts one on an empty directory and waits until it answers a linearizable read; how long that took.
    pub(crate) async fn start() -> Result<(Self, Duration)> {
        let data = TempDir::with_prefix("lotse-bench-etcd-")?;
        let [client, peer] = free_ports()?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let started = Instant::now();
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(data.path().join("data"))
            .args(["--name", "bench", "--log-level", "error"])
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &format!("bench={}", url(peer))])
            .args(["--quota-backend-bytes", "8589934592"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("etcd cannot be started ({error}); scripts/setup.sh bench installs it"))?;
        let etcd = Self { child, address: (Ipv4Addr::LOCALHOST, client).into(), _data: data };
        loop {
            if let Ok(mut grpc) = Grpc::connect(etcd.address).await
                && grpc.call(RANGE, &range(b"ready", false)).await.is_ok()
            {
                return Ok((etcd, started.elapsed()));
            }
            if started.elapsed() > Duration::from_secs(30) {
                return Err("etcd does not get ready".into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes one key.
pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
/// Reads keys.
pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";
/// Removes keys.
pub(crate) const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";

/// `PutRequest`.
pub(crate) fn put(key: &[u8], value: &[u8]) -> Bytes {
    message(&[(1, key), (2, value)])
}

/// `RangeRequest` or `DeleteRangeRequest` for one key or, as a prefix, all that begin with it.
pub(crate) fn range(key: &[u8], prefix: bool) -> Bytes {
    let mut end = key.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    if prefix { message(&[(1, key), (2, &end)]) } else { message(&[(1, key)]) }
}

/// A protobuf message of byte fields.
fn message(fields: &[(u8, &[u8])]) -> Bytes {
    let mut bytes = Vec::new();
    for (number, content) in fields {
        bytes.put_u8(number << 3 | 2);
        let mut length = content.len();
        while length >= 0x80 {
            bytes.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.put_u8(length as u8);
        bytes.put_slice(content);
    }
    bytes.into()
}

/// Ports on which nobody listens now.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until all are known, so that they differ.
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_protobuf() {
        assert_eq!(&put(b"k", b"v")[..], b"\x0a\x01k\x12\x01v");
        let long = put(b"k", &[b'x'; 300]);
        assert_eq!(&long[3..6], b"\x12\xac\x02");
        assert_eq!(&range(b"/a", true)[..], b"\x0a\x02/a\x12\x02/b");
    }
}
