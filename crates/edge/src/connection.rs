//! One client connection: its deadlines, its protocol, its requests.

use std::{
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    proxy::{Client, Gateway},
};

/// What a request head may be long at the most.
const HEAD_MAX: usize = 32 << 10;

/// How long a client may go on sending after the connection was closed on this side, and how much is taken at a time.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_READS: usize = 32;

/// What every connection needs.
pub(crate) struct Server {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) config: Config,
    pub(crate) shutdown: CancellationToken,
}

/// Counts a request as under way until dropped.
#[derive(Debug)]
pub(crate) struct Activity(Arc<Requests>);

/// The requests of one connection.
#[derive(Debug)]
struct Requests {
    began: Instant,
    under_way: AtomicUsize,
    /// Milliseconds after `began` when the last one ended.
    ended: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
}

// === impl Server ===

impl Server {
    /// Serves `stream` until it ends, idles too long or the server shuts down.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
        let port = stream.local_addr().map(|address| address.port()).unwrap_or_default();
        let client = Client { address: peer.ip().to_canonical(), https: tls.is_some(), port };
        let _ = stream.set_nodelay(true);
        let within = self.config.header_timeout;
        match tls {
            Some(acceptor) => {
                // No answer to a failed handshake: the peer may not speak TLS at all.
                let Ok(Ok(stream)) = timeout(within, acceptor.accept(stream)).await else { return };
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.requests(stream, client, if http2 { Speaks::Http2 } else { Speaks::Http1 }).await;
            }
            None => {
                let Ok(Ok(speaks)) = timeout(within, sniff(&stream)).await else { return };
                self.requests(stream, client, speaks).await;
            }
        }
    }

    async fn requests<S>(self: Arc<Self>, stream: S, client: Client, speaks: Speaks)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let requests = Arc::new(Requests::new());
        let service = {
            let (gateway, requests) = (self.gateway.clone(), requests.clone());
            service_fn(move |request: Request<Incoming>| {
                let (gateway, activity) = (gateway.clone(), requests.start());
                async move { Ok::<_, std::convert::Infallible>(gateway.serve(client, activity, request).await) }
            })
        };
        let io = TokioIo::new(Guarded::new(stream, &self.config, speaks, requests.clone()));
        match speaks {
            Speaks::Http1 => {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    // hyper's clock runs between requests too; the head's own deadline is `Guarded`'s.
                    .header_read_timeout(self.config.idle_timeout)
                    .max_buf_size(128 << 10)
                    .max_header_size(HEAD_MAX)
                    .serve_connection(io, service)
                    .with_upgrades();
                let mut connection = pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = self.shutdown.cancelled() => {}
                }
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            Speaks::Http2 => {
                let connection = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(128)
                    .max_pending_accept_reset_streams(20)
                    .max_local_error_reset_streams(64)
                    .max_header_list_size(HEAD_MAX as u32)
                    .initial_stream_window_size(256 << 10)
                    .initial_connection_window_size(1 << 20)
                    .max_send_buf_size(128 << 10)
                    .keep_alive_interval(Duration::from_secs(30))
                    .keep_alive_timeout(Duration::from_secs(10))
                    .serve_connection(io, service);
                let mut connection = pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = self.shutdown.cancelled() => {}
                    () = requests.idle(self.config.idle_timeout) => {}
                }
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}

/// Whether a connection without TLS begins with HTTP/2's preface, without taking a byte from it.
async fn sniff(stream: &TcpStream) -> io::Result<Speaks> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut start = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut start).await?;
        let seen = start.get(..count).unwrap_or_default();
        if seen.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !PREFACE.starts_with(seen) {
            return Ok(Speaks::Http1);
        }
        if seen.len() == PREFACE.len() {
            return Ok(Speaks::Http2);
        }
        // A part of the preface stays readable: waiting for readiness would not wait.
        sleep(Duration::from_millis(5)).await;
    }
}

// === impl Requests ===

impl Requests {
    fn new() -> Self {
        Self { began: Instant::now(), under_way: AtomicUsize::new(0), ended: AtomicU64::new(0) }
    }

    fn start(self: &Arc<Self>) -> Activity {
        self.under_way.fetch_add(1, Relaxed);
        Activity(self.clone())
    }

    fn is_idle(&self) -> bool {
        self.under_way.load(Relaxed) == 0
    }

    /// Waits until there was no request for `limit`.
    async fn idle(&self, limit: Duration) {
        loop {
            let since = self.began + Duration::from_millis(self.ended.load(Relaxed));
            let quiet = since.elapsed();
            if self.is_idle() && quiet >= limit {
                return;
            }
            sleep(limit.saturating_sub(quiet).max(Duration::from_secs(1))).await;
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        let ended = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.ended.store(ended, Relaxed);
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// The deadlines that hyper does not keep: a head that trickles in, a client that does not take its response.
struct Guarded<S> {
    stream: S,
    requests: Arc<Requests>,
    /// `None` where heads are not read from the stream one after the other (HTTP/2).
    head_limit: Option<Duration>,
    write_limit: Duration,
    head: Option<Pin<Box<Sleep>>>,
    write: Option<Pin<Box<Sleep>>>,
    /// Runs once our half is closed.
    linger: Option<Pin<Box<Sleep>>>,
}

// === impl Guarded ===

impl<S> Guarded<S> {
    fn new(stream: S, config: &Config, speaks: Speaks, requests: Arc<Requests>) -> Self {
        let head_limit = (speaks == Speaks::Http1).then_some(config.header_timeout);
        Self { stream, requests, head_limit, write_limit: config.client_timeout, head: None, write: None, linger: None }
    }

    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let limit = self.write_limit;
        let sleep = self.write.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        sleep.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }

    fn written<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(outcome) => {
                self.write = None;
                Poll::Ready(outcome)
            }
            Poll::Pending => self.stalled(cx).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(cx, buf);
        let Some(limit) = this.head_limit else { return outcome };
        if !this.requests.is_idle() {
            this.head = None;
            return outcome;
        }
        match outcome {
            Poll::Ready(outcome) => {
                // The deadline runs from the first byte of a head and is not moved by further ones.
                if buf.filled().len() > before && this.head.is_none() {
                    this.head = Some(Box::pin(sleep(limit)));
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => match &mut this.head {
                Some(head) => head.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
                None => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, outcome)
    }

    /// Closes our half, then takes what is still on its way: a socket closed with unread input is reset, and the reset
    /// overtakes the response (RFC 9112, section 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            let outcome = Pin::new(&mut this.stream).poll_shutdown(cx);
            match this.written(cx, outcome) {
                Poll::Ready(Ok(())) => this.linger = Some(Box::pin(sleep(LINGER))),
                other => return other,
            }
        }
        let mut discarded = [MaybeUninit::uninit(); 8 << 10];
        for _ in 0..LINGER_READS {
            let mut buf = ReadBuf::uninit(&mut discarded);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let over = this.linger.as_mut().is_none_or(|linger| linger.as_mut().poll(cx).is_ready());
                    return if over { Poll::Ready(Ok(())) } else { Poll::Pending };
                }
            }
        }
        // Much at once: the other connections of this thread come first.
        let over = this.linger.as_mut().is_none_or(|linger| linger.as_mut().poll(cx).is_ready());
        cx.waker().wake_by_ref();
        if over { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
