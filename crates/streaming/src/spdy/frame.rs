//! SPDY/3.1 frames (draft-mbelshe-httpbis-spdy-00, section 2): bytes to frames and back, without any state but the
//! position inside a data frame.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::channels::PIECE;

const VERSION: u16 = 3;
const CONTROL: u16 = 0x8000;
const FLAG_FIN: u8 = 1;
/// Bytes in front of every frame's payload.
const FRAME_HEADER: usize = 8;
/// Most payload bytes of a control frame. Kubernetes' header blocks have some 100.
pub(crate) const MAX_CONTROL: usize = 16 * 1024;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// A frame. Header blocks are still compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    SynStream {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    SynReply {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    RstStream {
        stream: u32,
        status: u32,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last: u32,
        status: u32,
    },
    Headers {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    /// SETTINGS, WINDOW_UPDATE and unknown types: there is no flow control in Kubernetes' use of SPDY.
    Ignored,
    /// A data frame, or a piece of one: `fin` stands on the last piece only.
    Data {
        stream: u32,
        fin: bool,
        bytes: Bytes,
    },
}

/// What a peer may not send. The connection cannot go on after it: its state is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("SPDY version {0} instead of 3")]
    Version(u16),
    #[error("a control frame of {0} bytes is longer than {MAX_CONTROL}")]
    TooLong(usize),
    #[error("a control frame of type {0} is too short")]
    TooShort(u16),
    #[error("stream {0} is opened out of order")]
    StreamId(u32),
    #[error("a header block does not decompress")]
    Compression,
    #[error("a header block is longer than {0} bytes")]
    BlockTooLong(usize),
    #[error("a header block is malformed")]
    Block,
}

/// Finds frames in a byte stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The data frame in progress: stream, bytes left, FIN.
    data: Option<(u32, usize, bool)>,
}

// === impl Decoder ===

impl Decoder {
    /// Takes the next frame off the front of `buffer`; `None` when more bytes are needed. Needs at most
    /// [`MAX_CONTROL`] + 8 bytes in `buffer` to make progress.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        if let Some((stream, left, fin)) = self.data {
            return Ok(self.piece(buffer, stream, left, fin));
        }
        let Some(mut header) = buffer.get(..FRAME_HEADER) else { return Ok(None) };
        let (word, flags_and_length) = (header.get_u32(), header.get_u32());
        let fin = (flags_and_length >> 24) as u8 & FLAG_FIN != 0;
        let length = (flags_and_length & 0x00ff_ffff) as usize;
        let (high, kind) = ((word >> 16) as u16, word as u16);
        if high & CONTROL == 0 {
            buffer.advance(FRAME_HEADER);
            return Ok(self.piece(buffer, word, length, fin));
        }
        if high & !CONTROL != VERSION {
            return Err(ProtocolError::Version(high & !CONTROL));
        }
        if length > MAX_CONTROL {
            return Err(ProtocolError::TooLong(length));
        }
        if buffer.len() < FRAME_HEADER + length {
            return Ok(None);
        }
        buffer.advance(FRAME_HEADER);
        control(kind, fin, buffer.split_to(length).freeze()).map(Some)
    }

    fn piece(&mut self, buffer: &mut BytesMut, stream: u32, left: usize, fin: bool) -> Option<Frame> {
        let bytes = buffer.split_to(left.min(buffer.len()).min(PIECE)).freeze();
        let left = left - bytes.len();
        self.data = (left > 0).then_some((stream, left, fin));
        if left > 0 && bytes.is_empty() { None } else { Some(Frame::Data { stream, fin: fin && left == 0, bytes }) }
    }
}

fn control(kind: u16, fin: bool, mut payload: Bytes) -> Result<Frame, ProtocolError> {
    let fixed = match kind {
        SYN_STREAM => 10,
        RST_STREAM | GOAWAY => 8,
        SYN_REPLY | PING | HEADERS => 4,
        _ => return Ok(Frame::Ignored),
    };
    if payload.len() < fixed {
        return Err(ProtocolError::TooShort(kind));
    }
    let first = payload.get_u32();
    let stream = first & 0x7fff_ffff;
    Ok(match kind {
        SYN_STREAM => {
            // Associated stream, priority and slot.
            payload.advance(6);
            Frame::SynStream { stream, fin, block: payload }
        }
        SYN_REPLY => Frame::SynReply { stream, fin, block: payload },
        RST_STREAM => Frame::RstStream { stream, status: payload.get_u32() },
        PING => Frame::Ping { id: first },
        GOAWAY => Frame::GoAway { last: stream, status: payload.get_u32() },
        _ => Frame::Headers { stream, fin, block: payload },
    })
}

// === impl Frame ===

impl Frame {
    /// Appends the frame. A piece of data must be shorter than 2^24 bytes and a header block than [`MAX_CONTROL`], which
    /// all of ours are.
    pub(crate) fn encode(&self, to: &mut BytesMut) {
        match self {
            Self::SynStream { stream, fin, block } => {
                begin(to, SYN_STREAM, *fin, 10 + block.len());
                to.put_u32(*stream);
                to.put_bytes(0, 6);
                to.put_slice(block);
            }
            Self::SynReply { stream, fin, block } => with_block(to, SYN_REPLY, *fin, *stream, block),
            Self::Headers { stream, fin, block } => with_block(to, HEADERS, *fin, *stream, block),
            Self::RstStream { stream, status } => {
                begin(to, RST_STREAM, false, 8);
                to.put_u32(*stream);
                to.put_u32(*status);
            }
            Self::Ping { id } => {
                begin(to, PING, false, 4);
                to.put_u32(*id);
            }
            Self::GoAway { last, status } => {
                begin(to, GOAWAY, false, 8);
                to.put_u32(*last);
                to.put_u32(*status);
            }
            Self::Ignored => {
                begin(to, SETTINGS, false, 4);
                to.put_u32(0);
            }
            Self::Data { stream, fin, bytes } => {
                to.put_u32(*stream & 0x7fff_ffff);
                put_flags_and_length(to, *fin, bytes.len());
                to.put_slice(bytes);
            }
        }
    }
}

fn with_block(to: &mut BytesMut, kind: u16, fin: bool, stream: u32, block: &Bytes) {
    begin(to, kind, fin, 4 + block.len());
    to.put_u32(stream);
    to.put_slice(block);
}

fn begin(to: &mut BytesMut, kind: u16, fin: bool, length: usize) {
    to.put_u16(CONTROL | VERSION);
    to.put_u16(kind);
    put_flags_and_length(to, fin, length);
}

fn put_flags_and_length(to: &mut BytesMut, fin: bool, length: usize) {
    to.put_u8(if fin { FLAG_FIN } else { 0 });
    to.put_uint(length as u64, 3);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..most).prop_map(Bytes::from)
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let stream = 0..0x8000_0000_u32;
        prop_oneof![
            (stream.clone(), any::<bool>(), bytes(200)).prop_map(|(stream, fin, block)| Frame::SynStream {
                stream,
                fin,
                block
            }),
            (stream.clone(), any::<bool>(), bytes(200)).prop_map(|(stream, fin, block)| Frame::SynReply {
                stream,
                fin,
                block
            }),
            (stream.clone(), any::<bool>(), bytes(200)).prop_map(|(stream, fin, block)| Frame::Headers {
                stream,
                fin,
                block
            }),
            (stream.clone(), any::<u32>()).prop_map(|(stream, status)| Frame::RstStream { stream, status }),
            any::<u32>().prop_map(|id| Frame::Ping { id }),
            (stream.clone(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
            Just(Frame::Ignored),
            (stream, any::<bool>(), bytes(3 * PIECE)).prop_map(|(stream, fin, bytes)| Frame::Data {
                stream,
                fin,
                bytes
            }),
        ]
    }

    /// Feeds `wire` in chunks and puts the pieces of data frames together again.
    fn decode_all(wire: &[u8], chunk: usize) -> Result<Vec<Frame>, ProtocolError> {
        let (mut decoder, mut buffer, mut frames) = (Decoder::default(), BytesMut::new(), Vec::<Frame>::new());
        let mut partial: Option<BytesMut> = None;
        for part in wire.chunks(chunk.max(1)) {
            buffer.extend_from_slice(part);
            while let Some(frame) = decoder.decode(&mut buffer)? {
                let Frame::Data { stream, fin, bytes } = frame else {
                    frames.push(frame);
                    continue;
                };
                assert!(bytes.len() <= PIECE);
                let whole = partial.get_or_insert_default();
                whole.extend_from_slice(&bytes);
                if decoder.data.is_none() {
                    let bytes = partial.take().unwrap_or_default().freeze();
                    frames.push(Frame::Data { stream, fin, bytes });
                }
            }
            assert!(buffer.len() < MAX_CONTROL + FRAME_HEADER + chunk.max(1), "the decoder holds too much back");
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_survive_the_wire_however_it_is_cut(frames in vec(frame(), 0..6), chunk in 1_usize..3000) {
            let mut wire = BytesMut::new();
            for frame in &frames {
                frame.encode(&mut wire);
            }
            prop_assert_eq!(decode_all(&wire, chunk).unwrap(), frames);
        }

        #[test]
        fn rubbish_is_an_error_or_frames_but_never_a_panic(wire in vec(any::<u8>(), 0..600), chunk in 1_usize..50) {
            let _ = decode_all(&wire, chunk);
            let control = [&[0x80, 3, 0][..], &wire].concat();
            let _ = decode_all(&control, chunk);
        }
    }

    #[test]
    fn frames_are_the_specifications_bytes() {
        let cases: [(Frame, &[u8]); 4] = [
            (Frame::Ping { id: 1 }, &[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]),
            (Frame::RstStream { stream: 5, status: 3 }, &[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 3]),
            (Frame::GoAway { last: 7, status: 0 }, &[0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0]),
            (
                Frame::Data { stream: 3, fin: true, bytes: Bytes::from_static(b"hi") },
                &[0, 0, 0, 3, 1, 0, 0, 2, b'h', b'i'],
            ),
        ];
        for (frame, wire) in cases {
            let mut encoded = BytesMut::new();
            frame.encode(&mut encoded);
            assert_eq!(&encoded[..], wire);
        }
    }

    #[test]
    fn long_control_frames_and_foreign_versions_are_refused() {
        assert_eq!(decode_all(&[0x80, 3, 0, 1, 0, 1, 0, 0], 100), Err(ProtocolError::TooLong(0x1_0000)));
        assert_eq!(decode_all(&[0x80, 2, 0, 1, 0, 0, 0, 0], 100), Err(ProtocolError::Version(2)));
        assert_eq!(decode_all(&[0x80, 3, 0, 3, 0, 0, 0, 2, 0, 0], 100), Err(ProtocolError::TooShort(RST_STREAM)));
        assert_eq!(decode_all(&[0x80, 3, 0, 9, 0, 0, 0, 1, 0], 100), Ok(vec![Frame::Ignored]));
    }
}
