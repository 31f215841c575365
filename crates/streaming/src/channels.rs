//! What both transports look like from above: bounded byte channels in both directions.
//!
//! A transport gives out [`Channel`]s and a *driver*, the future that moves bytes between them and the socket. The
//! driver ends on its own when the client is gone, or once every [`Output`] has been dropped and all bytes have been
//! sent. So [`drive`] needs no further signal: whichever side ends first ends the other.

use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, timeout},
};

use crate::error::Error;

/// Most bytes in one item of a queue.
pub(crate) const PIECE: usize = 16 * 1024;
/// Items that wait for one channel's reader. When it is full the transport stops reading, and the client's TCP window closes.
const INPUT_QUEUE: usize = 4;
/// Items of all channels that wait for the socket.
const OUTGOING_QUEUE: usize = 16;
/// The kubelet's `streamingConnectionIdleTimeout`.
pub(crate) const IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// A ping this often finds clients that are gone even while back-pressure keeps us from reading.
pub(crate) const PING: Duration = Duration::from_secs(30);
/// How long a slow client may take for the bytes that are queued when the work is done.
const FLUSH: Duration = Duration::from_secs(60);
/// How long the client may take to close after we have: closing first would discard what it has not read yet.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// Something that arrived on a channel; the end of the queue is the end of the stream.
#[derive(Debug)]
pub(crate) enum Incoming {
    Data(Bytes),
    /// The client has given the stream up (SPDY's RST_STREAM).
    Reset,
}

/// Something that leaves on a channel.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// The stream is open (SPDY's SYN_REPLY).
    Accept {
        channel: u32,
    },
    Data {
        channel: u32,
        bytes: Bytes,
    },
    /// Nothing will follow (SPDY's FIN); WebSocket channels have no such signal towards the client.
    Close {
        channel: u32,
    },
    /// The stream is refused or given up (SPDY's RST_STREAM).
    Reset {
        channel: u32,
        reason: Reset,
    },
    /// The answer to a SPDY ping. WebSocket pings are the library's business.
    Pong {
        id: u32,
    },
}

/// Why a stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    Protocol,
    Refused,
    Cancelled,
}

pub(crate) type Queue = mpsc::Sender<Outgoing>;

/// The client's half of a channel.
#[derive(Debug)]
pub(crate) struct Input(mpsc::Receiver<Incoming>);

/// Our half of a channel.
#[derive(Debug)]
pub(crate) struct Output {
    channel: u32,
    queue: Queue,
    /// Counts against the transport's limit on streams for as long as somebody works on this one.
    _permit: Option<OwnedSemaphorePermit>,
}

/// One stream of bytes in each direction.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) input: Input,
    pub(crate) output: Output,
}

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Gone;

// === impl Input ===

impl Input {
    pub(crate) fn new() -> (mpsc::Sender<Incoming>, Self) {
        let (sender, receiver) = mpsc::channel(INPUT_QUEUE);
        (sender, Self(receiver))
    }

    /// The next bytes; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Incoming> {
        self.0.recv().await
    }

    /// Takes whatever arrives until the end, so that it does not hold up the connection's other channels.
    pub(crate) async fn discard(mut self) {
        while self.next().await.is_some() {}
    }
}

// === impl Output ===

impl Output {
    pub(crate) fn new(channel: u32, queue: Queue, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { channel, queue, _permit: permit }
    }

    async fn queue(&self, item: Outgoing) -> Result<(), Gone> {
        self.queue.send(item).await.map_err(|_| Gone)
    }

    /// Queues bytes; waits while the client is slow.
    pub(crate) async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        self.queue(Outgoing::Data { channel: self.channel, bytes: bytes.into() }).await
    }

    /// Tells the client that its stream is open.
    pub(crate) async fn accept(&self) -> Result<(), Gone> {
        self.queue(Outgoing::Accept { channel: self.channel }).await
    }

    /// Tells the client that nothing will follow.
    pub(crate) async fn close(self) -> Result<(), Gone> {
        self.queue(Outgoing::Close { channel: self.channel }).await
    }

    /// Gives the stream up.
    pub(crate) async fn reset(self, reason: Reset) -> Result<(), Gone> {
        self.queue(Outgoing::Reset { channel: self.channel, reason }).await
    }
}

/// The queue towards the socket.
pub(crate) fn queue() -> (Queue, mpsc::Receiver<Outgoing>) {
    mpsc::channel(OUTGOING_QUEUE)
}

/// When data last moved. Pings do not count.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    last: AtomicU64,
}

// === impl Activity ===

impl Activity {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0) }
    }

    pub(crate) fn touch(&self) {
        self.last.store(self.start.elapsed().as_secs(), Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let idle = self.start.elapsed().as_secs().saturating_sub(self.last.load(Ordering::Relaxed));
        if idle >= IDLE.as_secs() { Err(Error::Idle(IDLE)) } else { Ok(()) }
    }
}

/// Runs `work` over the connection. When the client is gone `work` is dropped where it stands; when `work` has ended, and
/// with it every output, the driver gets time to send what is queued.
pub(crate) async fn drive(
    driver: impl Future<Output = Result<(), Error>>,
    work: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let mut driver = pin!(driver);
    let result = {
        let mut work = pin!(work);
        tokio::select! {
            ended = &mut driver => return ended,
            result = &mut work => result,
        }
    };
    let flushed = timeout(FLUSH, driver).await.unwrap_or(Err(Error::Unread(FLUSH)));
    result.and(flushed)
}
