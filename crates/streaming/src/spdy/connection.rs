//! The server's side of a SPDY/3.1 connection: streams that the client opens, as [`Channel`]s.
//!
//! Kubernetes' clients ignore SPDY's flow control, so a stream whose reader is slow holds up its connection, as it does
//! with the kubelet; in return nothing is buffered without bound.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    frame::{Decoder, Frame, ProtocolError},
    headers::{HeaderReader, HeaderWriter, Headers},
};
use crate::{
    channels::{Activity, Channel, Gone, Incoming, Input, LINGER, Outgoing, Output, PIECE, PING, Queue, Reset, queue},
    error::Error,
};

/// Most streams at a time: 256 forwarded connections.
const MAX_STREAMS: usize = 512;
/// Opened streams that wait to be accepted.
const ACCEPT_QUEUE: usize = 8;
/// Bytes to encode before the socket is written to although more is queued.
const WRITE_AFTER: usize = 64 * 1024;

/// A stream that the client has opened.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Its number.
    pub(crate) stream: u32,
    pub(crate) headers: Headers,
    channel: Channel,
}

/// Where opened streams come out. Once it is dropped, further ones are refused.
#[derive(Debug)]
pub(crate) struct Acceptor {
    opened: mpsc::Receiver<Opened>,
    /// Keeps the driver from taking the absence of streams for the end.
    _queue: Queue,
}

// === impl Opened ===

impl Opened {
    /// Confirms the stream.
    pub(crate) async fn accept(self) -> Result<Channel, Gone> {
        self.channel.output.accept().await?;
        Ok(self.channel)
    }

    /// Refuses the stream.
    pub(crate) async fn refuse(self, reason: Reset) -> Result<(), Gone> {
        self.channel.output.reset(reason).await
    }
}

// === impl Acceptor ===

impl Acceptor {
    /// The next stream; `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Opened> {
        self.opened.recv().await
    }
}

/// Serves SPDY on `io`; returns where streams come out, and the driver.
pub(crate) fn connection<T>(io: T) -> (Acceptor, impl Future<Output = Result<(), Error>>)
where
    T: AsyncRead + AsyncWrite + Send,
{
    let (sender, outgoing) = queue();
    let (accept, opened) = mpsc::channel(ACCEPT_QUEUE);
    let streams = Streams {
        inputs: HashMap::new(),
        newest: Arc::new(AtomicU32::new(0)),
        permits: Arc::new(Semaphore::new(MAX_STREAMS)),
        opened: accept,
        queue: sender.downgrade(),
        headers: HeaderReader::new(),
    };
    (Acceptor { opened, _queue: sender }, run(io, streams, outgoing))
}

async fn run<T>(io: T, streams: Streams, outgoing: mpsc::Receiver<Outgoing>) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Send,
{
    let activity = Activity::new();
    let newest = streams.newest.clone();
    let (reader, writer) = tokio::io::split(io);
    let mut reading = Box::pin(read(reader, streams, &activity));
    tokio::select! {
        result = &mut reading => return result,
        result = write(writer, outgoing, &newest, &activity) => result?,
    }
    timeout(LINGER, reading).await.unwrap_or(Ok(()))
}

/// The reading side's knowledge of the streams.
struct Streams {
    /// Streams on which the client may still send.
    inputs: HashMap<u32, mpsc::Sender<Incoming>>,
    /// The highest number so far.
    newest: Arc<AtomicU32>,
    permits: Arc<Semaphore>,
    opened: mpsc::Sender<Opened>,
    /// Weak, so that the driver ends when everybody else has let go.
    queue: mpsc::WeakSender<Outgoing>,
    headers: HeaderReader,
}

async fn read(mut reader: impl AsyncRead + Unpin, mut streams: Streams, activity: &Activity) -> Result<(), Error> {
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::with_capacity(PIECE));
    loop {
        while let Some(frame) = decoder.decode(&mut buffer).map_err(Error::Spdy)? {
            if matches!(frame, Frame::Data { .. } | Frame::SynStream { .. }) {
                activity.touch();
            }
            streams.take(frame).await.map_err(Error::Spdy)?;
        }
        buffer.reserve(PIECE / 4);
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

// === impl Streams ===

impl Streams {
    async fn take(&mut self, frame: Frame) -> Result<(), ProtocolError> {
        match frame {
            Frame::SynStream { stream, fin, block } => {
                let headers = self.headers.read(&block)?;
                self.open(stream, fin, headers).await?;
            }
            Frame::Data { stream, fin, bytes } => self.data(stream, fin, bytes).await,
            Frame::RstStream { stream, .. } => {
                if let Some(input) = self.inputs.remove(&stream) {
                    // Without a reader nobody needs to know.
                    let _ = input.send(Incoming::Reset).await;
                }
            }
            // Ours have even numbers; an even one is the answer to a ping of ours.
            Frame::Ping { id } if id % 2 == 1 => self.reply(Outgoing::Pong { id }).await,
            // Nothing but their effect on the compression state is of interest.
            Frame::SynReply { block, .. } | Frame::Headers { block, .. } => drop(self.headers.read(&block)?),
            Frame::Ping { .. } | Frame::GoAway { .. } | Frame::Ignored => {}
        }
        Ok(())
    }

    async fn reply(&self, item: Outgoing) {
        if let Some(queue) = self.queue.upgrade() {
            // The writer's end is the connection's end.
            let _ = queue.send(item).await;
        }
    }

    async fn open(&mut self, stream: u32, fin: bool, headers: Headers) -> Result<(), ProtocolError> {
        if stream.is_multiple_of(2) || stream <= self.newest.load(Ordering::Relaxed) {
            return Err(ProtocolError::StreamId(stream));
        }
        self.newest.store(stream, Ordering::Relaxed);
        if self.inputs.len() >= MAX_STREAMS {
            self.inputs.retain(|_, input| !input.is_closed());
        }
        let permit = self.permits.clone().try_acquire_owned().ok().filter(|_| self.inputs.len() < MAX_STREAMS);
        let (Some(permit), Some(queue)) = (permit, self.queue.upgrade()) else {
            self.reply(Outgoing::Reset { channel: stream, reason: Reset::Refused }).await;
            return Ok(());
        };
        let (feed, input) = Input::new();
        let channel = Channel { input, output: Output::new(stream, queue, Some(permit)) };
        if let Err(unwanted) = self.opened.send(Opened { stream, headers, channel }).await {
            let _: Result<(), Gone> = unwanted.0.refuse(Reset::Refused).await;
        } else if !fin {
            self.inputs.insert(stream, feed);
        }
        Ok(())
    }

    /// Data on a stream that is not open any more is dropped: the client may not know yet.
    async fn data(&mut self, stream: u32, fin: bool, bytes: Bytes) {
        let Some(input) = self.inputs.get(&stream) else { return };
        let unwanted = !bytes.is_empty() && input.send(Incoming::Data(bytes)).await.is_err();
        if fin || unwanted {
            self.inputs.remove(&stream);
        }
    }
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::Receiver<Outgoing>,
    newest: &AtomicU32,
    activity: &Activity,
) -> Result<(), Error> {
    let mut headers = HeaderWriter::default();
    let mut buffer = BytesMut::with_capacity(PIECE);
    let mut next_ping = 2_u32;
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    loop {
        let mut next = tokio::select! {
            next = outgoing.recv() => match next {
                Some(next) => Some(next),
                None => break,
            },
            _ = pings.tick() => {
                activity.check()?;
                Frame::Ping { id: next_ping }.encode(&mut buffer);
                next_ping = next_ping.wrapping_add(2);
                None
            }
        };
        while let Some(item) = next {
            if matches!(item, Outgoing::Data { .. }) {
                activity.touch();
            }
            to_frame(item, &mut headers).encode(&mut buffer);
            next = if buffer.len() < WRITE_AFTER { outgoing.try_recv().ok() } else { None };
        }
        writer.write_all_buf(&mut buffer).await?;
        writer.flush().await?;
    }
    Frame::GoAway { last: newest.load(Ordering::Relaxed), status: 0 }.encode(&mut buffer);
    writer.write_all_buf(&mut buffer).await?;
    Ok(writer.shutdown().await?)
}

fn to_frame(item: Outgoing, headers: &mut HeaderWriter) -> Frame {
    match item {
        Outgoing::Accept { channel } => Frame::SynReply { stream: channel, fin: false, block: headers.empty() },
        Outgoing::Data { channel, bytes } => Frame::Data { stream: channel, fin: false, bytes },
        Outgoing::Close { channel } => Frame::Data { stream: channel, fin: true, bytes: Bytes::new() },
        Outgoing::Reset { channel, reason } => {
            // Section 2.4.2.
            let status = match reason {
                Reset::Protocol => 1,
                Reset::Refused => 3,
                Reset::Cancelled => 5,
            };
            Frame::RstStream { stream: channel, status }
        }
        Outgoing::Pong { id } => Frame::Ping { id },
    }
}
