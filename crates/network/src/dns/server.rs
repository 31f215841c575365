//! The sockets of cluster DNS, with their limits.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::RecordType,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    forward::Forwarder,
    message::{QUERY_MAX, Received, Request, Transport, failure, receive},
    zone::{Answer, Zone},
};
use crate::{Error, catalog::Catalog};

/// UDP queries that wait for another server; further ones get SERVFAIL.
const WAITING: usize = 1024;
/// TCP connections at once, queries on each, and how long a client may be silent.
const CONNECTIONS: usize = 128;
const QUERIES: usize = 128;
const IDLE: Duration = Duration::from_secs(10);

pub(super) struct Server {
    pub(super) zone: Zone,
    /// `None` until the caches are filled.
    pub(super) catalog: RwLock<Option<Catalog>>,
    pub(super) forwarder: Arc<Forwarder>,
}

/// Where the answer comes from.
enum Source {
    Here(Message),
    /// Another server, in front of whose answer these aliases stand.
    Ask(Query, Message),
}

// === impl Server ===

impl Server {
    pub(super) fn set_catalog(&self, catalog: Catalog) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Some(catalog);
    }

    pub(super) fn with_catalog(&self, change: impl FnOnce(&mut Catalog)) {
        if let Some(catalog) = self.catalog.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            change(catalog);
        }
    }

    /// What can be said without waiting.
    fn source(&self, request: &Request) -> Source {
        let answer = {
            let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
            self.zone.answer(catalog.as_ref(), &request.query, request.id().into())
        };
        let (query, aliases) = match answer {
            Answer::Here(message) => return Source::Here(message),
            Answer::Elsewhere => (request.query.clone(), failure(ResponseCode::NoError)),
            Answer::Alias { answers, target } => {
                let mut aliases = failure(ResponseCode::NoError);
                aliases.answers = answers;
                (Query::query(target, request.query.query_type()), aliases)
            }
        };
        // Transfers and other meta queries are for nobody (RFC 8482 is for ANY).
        if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            return Source::Here(failure(ResponseCode::Refused));
        }
        match self.forwarder.remembered(&query, request.dnssec_ok()) {
            Some(answer) => Source::Here(join(aliases, answer)),
            None => Source::Ask(query, aliases),
        }
    }

    async fn ask(&self, request: &Request, query: &Query, aliases: Message) -> Message {
        let answer = self.forwarder.ask(query, request.dnssec_ok()).await;
        join(aliases, Arc::unwrap_or_clone(answer))
    }
}

fn join(aliases: Message, mut answer: Message) -> Message {
    answer.answers.splice(0..0, aliases.answers);
    answer.metadata.authoritative = false;
    answer.edns = None;
    answer
}

/// Binds both sockets.
pub(super) async fn listen(address: Ipv4Addr, port: u16) -> Result<(UdpSocket, TcpListener), Error> {
    let failed = |source| Error::DnsListen { address, port, source };
    let udp = UdpSocket::bind((address, port)).await.map_err(failed)?;
    let tcp = TcpListener::bind((address, udp.local_addr().map_err(failed)?.port())).await.map_err(failed)?;
    Ok((udp, tcp))
}

pub(super) async fn serve_udp(server: Arc<Server>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut buffer = vec![0; QUERY_MAX + 1];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // A client that closed its port shows up here (ICMP); it concerns nobody else.
                tracing::debug!(%error, "DNS query not received");
                sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        let request = match receive(buffer.get(..length).unwrap_or_default(), Transport::Udp) {
            Received::Request(request) => request,
            Received::Error(bytes) => {
                reply(&socket, client, Some(bytes)).await;
                continue;
            }
            Received::Ignore => continue,
        };
        match server.source(&request) {
            Source::Here(message) => reply(&socket, client, request.respond(message)).await,
            Source::Ask(query, aliases) => match waiting.clone().try_acquire_owned() {
                Ok(permit) => {
                    let (server, socket) = (server.clone(), socket.clone());
                    tokio::spawn(async move {
                        let answer = server.ask(&request, &query, aliases).await;
                        reply(&socket, client, request.respond(answer)).await;
                        drop(permit);
                    });
                }
                Err(_) => reply(&socket, client, request.respond(failure(ResponseCode::ServFail))).await,
            },
        }
    }
}

async fn reply(socket: &UdpSocket, client: SocketAddr, bytes: Option<Vec<u8>>) {
    if let Some(bytes) = bytes
        && let Err(error) = socket.send_to(&bytes, client).await
    {
        tracing::debug!(%client, %error, "DNS answer not sent");
    }
}

pub(super) async fn serve_tcp(server: Arc<Server>, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(&server, stream).await {
                        tracing::trace!(%client, %error, "DNS connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "DNS connection not accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Queries on one connection, one after the other (RFC 7766).
async fn converse(server: &Server, mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; QUERY_MAX];
    for _ in 0..QUERIES {
        let query = timeout(IDLE, async {
            let length = usize::from(stream.read_u16().await?);
            let Some(query) = buffer.get_mut(..length) else {
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "query too long"));
            };
            stream.read_exact(query).await?;
            Ok(length)
        });
        let length = query.await??;
        let bytes = match receive(buffer.get(..length).unwrap_or_default(), Transport::Tcp) {
            Received::Request(request) => {
                let answer = match server.source(&request) {
                    Source::Here(message) => message,
                    Source::Ask(query, aliases) => server.ask(&request, &query, aliases).await,
                };
                request.respond(answer)
            }
            Received::Error(bytes) => Some(bytes),
            Received::Ignore => return Ok(()),
        };
        let Some(bytes) = bytes else { return Ok(()) };
        let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
        let mut message = length.to_be_bytes().to_vec();
        message.extend(bytes);
        timeout(IDLE, stream.write_all(&message)).await??;
    }
    Ok(())
}
