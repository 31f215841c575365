//! Node ports and host ports on 127.0.0.1.
//!
//! The kernel does not translate packets to the loopback unless `route_localnet` is on, which would open the
//! machine's own services to its neighbours (CVE-2020-8558). So TCP connections to `localhost:30080` are accepted
//! here and copied.

use std::{
    collections::{BTreeSet, HashMap},
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::program::LocalPorts;

/// Connections at once over all ports; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 512;
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long until a port that another program holds is tried again.
const RETRY: Duration = Duration::from_secs(15);

struct Open {
    target: SocketAddrV4,
    task: AbortHandle,
}

/// Offers the ports until the future is dropped or the sender is gone. Connections outlive their port, as they do in
/// the kernel.
pub(super) async fn run(mut ports: watch::Receiver<LocalPorts>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let mut listeners = JoinSet::new();
    let mut open: HashMap<u16, Open> = HashMap::new();
    let mut taken: BTreeSet<u16> = BTreeSet::new();
    loop {
        let wanted = ports.borrow_and_update().clone();
        open.retain(|port, open| {
            let keep = wanted.get(port) == Some(&open.target);
            if !keep {
                open.task.abort();
            }
            keep
        });
        // An aborted listener gives its port back when its task has ended.
        while listeners.len() > open.len() {
            listeners.join_next().await;
        }
        let mut failed = BTreeSet::new();
        for (port, target) in wanted {
            if open.contains_key(&port) {
                continue;
            }
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Ok(listener) => {
                    let task = listeners.spawn(serve(listener, target, connections.clone()));
                    open.insert(port, Open { target, task });
                }
                Err(error) => {
                    if !taken.contains(&port) {
                        tracing::warn!(port, %error, "port is not offered on 127.0.0.1, other addresses work");
                    }
                    failed.insert(port);
                }
            }
        }
        taken = failed;
        tokio::select! {
            changed = ports.changed() => if changed.is_err() { return },
            () = sleep(RETRY), if !taken.is_empty() => {}
        }
    }
}

async fn serve(listener: TcpListener, target: SocketAddrV4, connections: Arc<Semaphore>) {
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(async move {
                    let _permit = permit;
                    forward(client, target).await;
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: give others time to close theirs.
                tracing::warn!(%error, "connection to 127.0.0.1 not accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn forward(mut client: TcpStream, target: SocketAddrV4) {
    let mut server = match timeout(CONNECT_DEADLINE, TcpStream::connect(target)).await {
        Ok(Ok(server)) => server,
        Ok(Err(error)) => {
            tracing::debug!(%target, %error, "no connection for a client of 127.0.0.1");
            return;
        }
        Err(_) => return,
    };
    for stream in [&client, &server] {
        // A peer that vanished without a word is noticed, so that idle connections do not pile up for ever.
        let _ = setsockopt(stream, sockopt::KeepAlive, &true);
        let _ = stream.set_nodelay(true);
    }
    if let Err(error) = copy_bidirectional(&mut client, &mut server).await {
        tracing::trace!(%target, %error, "connection through 127.0.0.1 ended");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_port_follows_its_target_and_closes_when_it_goes() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let std::net::SocketAddr::V4(target) = server.local_addr().unwrap() else { unreachable!() };
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = server.accept().await.unwrap();
                stream.write_all(b"hello").await.unwrap();
            }
        });
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let (sender, receiver) = watch::channel(LocalPorts::from([(free, target)]));
        let task = tokio::spawn(run(receiver));
        let mut client = loop {
            match TcpStream::connect(("127.0.0.1", free)).await {
                Ok(client) => break client,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        };
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
        sender.send_replace(LocalPorts::new());
        while TcpStream::connect(("127.0.0.1", free)).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
        task.abort();
    }
}
