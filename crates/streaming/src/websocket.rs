//! Kubernetes' channels over WebSocket: every message begins with the number of its channel.

use std::io;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{
    channels::{Activity, Incoming, Input, LINGER, Outgoing, Output, PIECE, PING, queue},
    error::Error,
};

/// Most bytes in a message. Programs send a whole file as one message of standard input.
const MAX_MESSAGE: usize = 16 << 20;
const READ_BUFFER: usize = 16 * 1024;
const WRITE_BUFFER: usize = 64 * 1024;
const MAX_WRITE_BUFFER: usize = 1 << 20;
/// Bytes to send before the socket is flushed although more is queued.
const FLUSH_AFTER: usize = 64 * 1024;
/// `v5.channel.k8s.io`: the message's second byte names a channel on which the client has reached the end.
const CLOSE_SIGNAL: u8 = 255;

/// How channel messages look in a subprotocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// The channel is an ASCII digit and the rest Base64, in text messages.
    pub(crate) base64: bool,
    /// Channel 255 says that another channel has ended.
    pub(crate) close_signal: bool,
}

/// A channel as the client numbers it.
#[derive(Debug)]
pub(crate) struct Numbered {
    /// What the client sends, on channels where it may.
    pub(crate) input: Option<Input>,
    pub(crate) output: Output,
}

pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// Opens one channel per entry of `readable`, which says whether the client may send on it, and returns the driver.
pub(crate) async fn channels<T>(
    io: T,
    encoding: Encoding,
    readable: Vec<bool>,
) -> (Vec<Numbered>, impl Future<Output = Result<(), Error>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
    let (sender, receiver) = queue();
    let (mut inputs, mut channels) = (Vec::new(), Vec::new());
    for (number, readable) in (0..).zip(readable) {
        let (feed, input) = readable.then(Input::new).unzip();
        inputs.push(feed);
        channels.push(Numbered { input, output: Output::new(number, sender.clone(), None) });
    }
    (channels, run(socket, encoding, inputs, receiver))
}

async fn run<T>(
    socket: WebSocketStream<T>,
    encoding: Encoding,
    inputs: Vec<Option<mpsc::Sender<Incoming>>>,
    outgoing: mpsc::Receiver<Outgoing>,
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let activity = Activity::new();
    let (sink, stream) = socket.split();
    let mut reading = Box::pin(read(stream, encoding, inputs, &activity));
    tokio::select! {
        result = &mut reading => return result,
        result = write(sink, encoding, outgoing, &activity) => result?,
    }
    // Our close message is sent; wait for the client's.
    timeout(LINGER, reading).await.unwrap_or(Ok(()))
}

async fn read(
    mut stream: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    encoding: Encoding,
    mut inputs: Vec<Option<mpsc::Sender<Incoming>>>,
    activity: &Activity,
) -> Result<(), Error> {
    while let Some(message) = stream.next().await {
        let message = match message? {
            Message::Binary(bytes) => bytes,
            // Python's client sends text messages in the binary protocols.
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        activity.touch();
        let Some((number, mut data)) = decode(encoding, message)? else { continue };
        if encoding.close_signal && number == CLOSE_SIGNAL {
            if let Some(input) = data.first().and_then(|ended| inputs.get_mut(usize::from(*ended))) {
                *input = None;
            }
            continue;
        }
        // Messages on other channels are ignored, as the kubelet does.
        let Some(slot) = inputs.get_mut(usize::from(number)) else { continue };
        while let Some(input) = slot
            && !data.is_empty()
        {
            let piece = data.split_to(data.len().min(PIECE));
            if input.send(Incoming::Data(piece)).await.is_err() {
                *slot = None;
            }
        }
    }
    Ok(())
}

/// Splits a message into channel and bytes; `None` for an empty one.
fn decode(encoding: Encoding, mut message: Bytes) -> Result<Option<(u8, Bytes)>, Error> {
    if message.is_empty() {
        return Ok(None);
    }
    let number = message.split_to(1)[0];
    if !encoding.base64 {
        return Ok(Some((number, message)));
    }
    let number = number.checked_sub(b'0').ok_or(Error::Message("the channel is not a digit"))?;
    let data = STANDARD.decode(&message).map_err(|_| Error::Message("the data is not Base64"))?;
    Ok(Some((number, data.into())))
}

fn encode(encoding: Encoding, channel: u32, bytes: &Bytes) -> Message {
    let number = u8::try_from(channel).unwrap_or(CLOSE_SIGNAL);
    if encoding.base64 {
        let mut text = String::with_capacity(1 + bytes.len().div_ceil(3) * 4);
        text.push(char::from(b'0'.saturating_add(number)));
        STANDARD.encode_string(bytes, &mut text);
        return Message::text(text);
    }
    let mut message = BytesMut::with_capacity(1 + bytes.len());
    message.put_u8(number);
    message.put_slice(bytes);
    Message::Binary(message.freeze())
}

async fn write(
    mut sink: impl Sink<Message, Error = tungstenite::Error> + Unpin,
    encoding: Encoding,
    mut outgoing: mpsc::Receiver<Outgoing>,
    activity: &Activity,
) -> Result<(), Error> {
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
                sink.send(Message::Ping(Bytes::new())).await?;
                None
            }
        };
        let mut queued = 0;
        while let Some(item) = next {
            if let Outgoing::Data { channel, bytes } = item {
                activity.touch();
                queued += bytes.len();
                sink.feed(encode(encoding, channel, &bytes)).await?;
            }
            next = if queued < FLUSH_AFTER { outgoing.try_recv().ok() } else { None };
        }
        sink.flush().await?;
    }
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    match sink.send(Message::Close(Some(normal))).await {
        // The client was faster.
        Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => Ok(()),
        Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn messages_survive_both_encodings() {
        for base64 in [false, true] {
            let encoding = Encoding { base64, close_signal: false };
            for (channel, data) in [(0, &b""[..]), (1, b"hello\n"), (3, b"\0\xff\x80")] {
                let message = encode(encoding, channel, &Bytes::from_static(data));
                assert_eq!(message.is_text(), base64);
                let decoded = decode(encoding, message.into_data()).unwrap();
                assert_eq!(decoded, Some((u8::try_from(channel).unwrap(), Bytes::from_static(data))));
            }
        }
    }

    #[test]
    fn malformed_base64_ends_the_connection() {
        let encoding = Encoding { base64: true, close_signal: false };
        assert!(decode(encoding, Bytes::from_static(b"0!!!")).is_err());
        assert!(decode(encoding, Bytes::from_static(b"\x01aGk=")).is_err());
        assert!(decode(encoding, Bytes::new()).unwrap().is_none());
    }
}
