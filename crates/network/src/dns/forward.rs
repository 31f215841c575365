//! Queries for names that are not the cluster's: asked of the machine's servers, remembered for a short time.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::{Semaphore, watch},
    time::{Instant, timeout, timeout_at},
};

use super::{message::failure, resolv_conf};

/// Questions under way; further ones fail at once instead of piling up.
const IN_FLIGHT: usize = 512;
/// Answers remembered, each of at most this many records, for at most this many seconds.
const CACHE_ENTRIES: usize = 4096;
const CACHE_RECORDS: usize = 32;
const CACHE_SECONDS: u32 = 30;
/// One server's time to answer, and all of them together. The C library gives up after five seconds.
const ATTEMPT: Duration = Duration::from_millis(1500);
const DEADLINE: Duration = Duration::from_millis(4500);
const ROUNDS: usize = 2;
const RESOLV_CONF: &str = "/etc/resolv.conf";
const RELOAD: Duration = Duration::from_secs(5);
const UDP_PAYLOAD: u16 = 1232;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    name: Name,
    kind: RecordType,
    dnssec_ok: bool,
}

struct Remembered {
    answer: Message,
    at: Instant,
    until: Instant,
}

type Pending = watch::Receiver<Option<Arc<Message>>>;

/// Asks other servers. Equal questions at the same time are asked once, which also ends loops: a question that comes
/// back to us waits for itself until its deadline instead of going around.
pub(super) struct Forwarder {
    configured: Option<Vec<SocketAddr>>,
    own: SocketAddr,
    servers: Mutex<Servers>,
    cache: Mutex<HashMap<Question, Remembered>>,
    pending: Mutex<HashMap<Question, Pending>>,
    permits: Arc<Semaphore>,
}

#[derive(Default)]
struct Servers {
    addresses: Vec<SocketAddr>,
    checked: Option<Instant>,
    modified: Option<SystemTime>,
}

// === impl Forwarder ===

impl Forwarder {
    pub(super) fn new(configured: Option<Vec<SocketAddr>>, own: SocketAddr) -> Self {
        Self {
            configured: configured.map(|servers| servers.into_iter().filter(|server| *server != own).collect()),
            own,
            servers: Mutex::default(),
            cache: Mutex::default(),
            pending: Mutex::default(),
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
        }
    }

    /// A remembered answer, at once.
    pub(super) fn remembered(&self, query: &Query, dnssec_ok: bool) -> Option<Message> {
        let cache = lock(&self.cache);
        let found = cache.get(&Question::new(query, dnssec_ok))?;
        let now = Instant::now();
        if found.until <= now {
            return None;
        }
        let age = u32::try_from(now.duration_since(found.at).as_secs()).unwrap_or(u32::MAX);
        let mut answer = found.answer.clone();
        for record in answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals) {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(answer)
    }

    /// The answer to `query`: SERVFAIL if no server gives one in time or too many questions are under way.
    pub(super) async fn ask(self: &Arc<Self>, query: &Query, dnssec_ok: bool) -> Arc<Message> {
        let unknown = || Arc::new(failure(ResponseCode::ServFail));
        let question = Question::new(query, dnssec_ok);
        let mut pending = {
            let mut all = lock(&self.pending);
            match all.get(&question) {
                Some(pending) => pending.clone(),
                None => {
                    let Ok(permit) = self.permits.clone().try_acquire_owned() else { return unknown() };
                    let (sender, receiver) = watch::channel(None);
                    all.insert(question.clone(), receiver.clone());
                    let (this, question) = (self.clone(), question.clone());
                    tokio::spawn(async move {
                        let answer = this.resolve(&question).await;
                        this.remember(&question, &answer);
                        lock(&this.pending).remove(&question);
                        sender.send_replace(Some(Arc::new(answer)));
                        drop(permit);
                    });
                    receiver
                }
            }
        };
        match timeout(DEADLINE + ATTEMPT, pending.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or_else(unknown),
            _ => unknown(),
        }
    }

    async fn resolve(&self, question: &Question) -> Message {
        let deadline = Instant::now() + DEADLINE;
        let servers = self.servers();
        for server in std::iter::repeat_n(&servers, ROUNDS).flatten() {
            let attempt = (Instant::now() + ATTEMPT).min(deadline);
            match timeout_at(attempt, exchange(question, *server)).await {
                Ok(Ok(answer)) => match answer.metadata.response_code {
                    // Another server may know.
                    ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp => {}
                    _ => return answer,
                },
                Ok(Err(error)) => tracing::debug!(%server, %error, "DNS server did not answer"),
                Err(_) => tracing::debug!(%server, "DNS server did not answer in time"),
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        failure(ResponseCode::ServFail)
    }

    fn remember(&self, question: &Question, answer: &Message) {
        let Some(seconds) = lifetime(answer) else { return };
        let records = answer.answers.len() + answer.authorities.len() + answer.additionals.len();
        if records > CACHE_RECORDS {
            return;
        }
        let now = Instant::now();
        let mut cache = lock(&self.cache);
        if cache.len() >= CACHE_ENTRIES {
            cache.retain(|_, found| found.until > now);
        }
        if cache.len() >= CACHE_ENTRIES {
            // Thousands of names in half a minute are no longer a working set: begin anew rather than search.
            cache.clear();
        }
        let until = now + Duration::from_secs(seconds.into());
        cache.insert(question.clone(), Remembered { answer: answer.clone(), at: now, until });
    }

    fn servers(&self) -> Vec<SocketAddr> {
        if let Some(configured) = &self.configured {
            return configured.clone();
        }
        let mut servers = lock(&self.servers);
        if servers.checked.is_none_or(|checked| checked.elapsed() >= RELOAD) {
            servers.checked = Some(Instant::now());
            let modified = std::fs::metadata(RESOLV_CONF).and_then(|metadata| metadata.modified()).ok();
            if modified.is_none() || modified != servers.modified {
                servers.modified = modified;
                let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
                servers.addresses = resolv_conf::parse(&text, self.own);
                if servers.addresses.is_empty() {
                    tracing::warn!("{RESOLV_CONF} names no DNS server: only names of the cluster can be resolved");
                }
            }
        }
        servers.addresses.clone()
    }
}

impl Question {
    fn new(query: &Query, dnssec_ok: bool) -> Self {
        Self { name: query.name().to_lowercase(), kind: query.query_type(), dnssec_ok }
    }
}

/// How long an answer may be remembered, in seconds; negative ones as long as their SOA says (RFC 2308).
fn lifetime(answer: &Message) -> Option<u32> {
    let code = answer.metadata.response_code;
    if answer.metadata.truncation || !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let positive = answer.answers.iter().map(|record| record.ttl).min();
    let negative = answer.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let seconds = match (code, positive) {
        (ResponseCode::NoError, Some(seconds)) => Some(seconds),
        _ => negative,
    };
    seconds.filter(|seconds| *seconds > 0).map(|seconds| seconds.min(CACHE_SECONDS))
}

/// One question to one server: from a port of its own with a random number, so that answers cannot be guessed; over
/// TCP if the answer is too long.
async fn exchange(question: &Question, server: SocketAddr) -> io::Result<Message> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(question.name.clone(), question.kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD).set_version(0).set_dnssec_ok(question.dnssec_ok);
    message.set_edns(edns);
    let bytes = message.to_vec().map_err(io::Error::other)?;
    let fits = |answer: &Message| {
        answer.metadata.id == message.metadata.id
            && answer.metadata.message_type == MessageType::Response
            && answer.queries.first().is_some_and(|query| Question::new(query, question.dnssec_ok) == *question)
    };
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; 4096];
    let answer = loop {
        let length = socket.recv(&mut buffer).await?;
        // What does not fit may be a forgery: the right answer may still come.
        match Message::from_vec(buffer.get(..length).unwrap_or_default()) {
            Ok(answer) if fits(&answer) => break answer,
            _ => {}
        }
    };
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(u16::try_from(bytes.len()).map_err(io::Error::other)?).await?;
    stream.write_all(&bytes).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    Message::from_vec(&buffer)
        .ok()
        .filter(fits)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer over TCP is not one to this question"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_proto::rr::{Record, rdata::A};

    use super::*;

    fn query(name: &str) -> Query {
        Query::query(Name::from_ascii(name).unwrap(), RecordType::A)
    }

    /// A server that answers `address` with `ttl` after forging two wrong answers, and counts.
    async fn upstream(address: Ipv4Addr, ttl: u32) -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (local, count) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let request = Message::from_vec(&buffer[..length]).unwrap();
                let mut answer = Message::response(request.metadata.id.wrapping_add(1), request.metadata.op_code);
                answer.add_query(request.queries[0].clone());
                socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
                socket.send_to(b"nonsense", client).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                answer.metadata.id = request.metadata.id;
                let name = request.queries[0].name().clone();
                answer.add_answer(Record::from_rdata(name, ttl, RData::A(A(address))));
                socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        });
        (local, count)
    }

    #[tokio::test]
    async fn equal_questions_are_asked_once_and_remembered() {
        let (server, count) = upstream(Ipv4Addr::new(192, 0, 2, 1), 60).await;
        let forwarder = Arc::new(Forwarder::new(Some(vec![server]), "10.223.0.10:53".parse().unwrap()));
        let (one, two) = (query("example.org."), query("EXAMPLE.org."));
        let (one, two) = tokio::join!(forwarder.ask(&one, false), forwarder.ask(&two, false));
        assert_eq!(one.answers[0].data.to_string(), "192.0.2.1");
        assert_eq!(one, two);
        let remembered = forwarder.remembered(&query("Example.org."), false).unwrap();
        assert!(remembered.answers[0].ttl >= 59);
        assert!(forwarder.remembered(&query("example.org."), true).is_none());
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_dead_server_is_passed_over_and_ourselves_are_never_asked() {
        let (server, _) = upstream(Ipv4Addr::new(192, 0, 2, 1), 0).await;
        let own: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let dead: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let forwarder = Arc::new(Forwarder::new(Some(vec![own, dead, server]), own));
        assert_eq!(forwarder.servers(), [dead, server]);
        let answer = forwarder.ask(&query("example.org."), false).await;
        assert_eq!(answer.answers.len(), 1);
        assert!(forwarder.remembered(&query("example.org."), false).is_none());
    }

    #[tokio::test]
    async fn without_a_server_the_answer_is_a_failure_at_once() {
        let forwarder = Arc::new(Forwarder::new(Some(Vec::new()), "10.223.0.10:53".parse().unwrap()));
        let began = Instant::now();
        let answer = forwarder.ask(&query("example.org."), false).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert!(began.elapsed() < Duration::from_secs(1));
        assert!(lock(&forwarder.pending).is_empty());
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let forwarder = Forwarder::new(Some(Vec::new()), "10.223.0.10:53".parse().unwrap());
        let mut answer = failure(ResponseCode::NoError);
        answer.add_answer(Record::from_rdata(Name::root(), 60, RData::A(A(Ipv4Addr::LOCALHOST))));
        for index in 0..CACHE_ENTRIES + 10 {
            forwarder.remember(&Question::new(&query(&format!("n{index}.example.")), false), &answer);
        }
        assert!(lock(&forwarder.cache).len() <= CACHE_ENTRIES);
    }
}
