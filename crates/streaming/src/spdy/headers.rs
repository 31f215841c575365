//! SPDY/3.1 header blocks: names and values, compressed with zlib over a dictionary of the specification. One
//! compression state lasts for the whole connection, so every block has to be read, even of frames that are ignored.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

use super::frame::ProtocolError;

/// Most bytes of a block once decompressed: the defence against bombs. Kubernetes' blocks have some 100.
const MAX_BLOCK: usize = 16 * 1024;
/// Most headers of a block.
const MAX_HEADERS: usize = 64;

/// The words that the dictionary begins with, each after its length as 32 bits.
const WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// And what it ends with.
const TAIL: &str = concat!(
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Au",
    "thoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidd",
    "en404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr Ma",
    "y Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag",
    "e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicpri",
    "vatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
);

/// The dictionary of section 2.6.10.1.
fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS {
        bytes.put_u32(word.len() as u32);
        bytes.put_slice(word.as_bytes());
    }
    bytes.put_slice(TAIL.as_bytes());
    bytes
}

/// A block's names (lower case) and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

// === impl Headers ===

impl Headers {
    /// The value of the header `name`, which has to be given in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a connection's header blocks.
#[derive(Debug)]
pub(crate) struct HeaderReader {
    zlib: Decompress,
    has_dictionary: bool,
}

// === impl HeaderReader ===

impl HeaderReader {
    pub(crate) fn new() -> Self {
        Self { zlib: Decompress::new(true), has_dictionary: false }
    }

    pub(crate) fn read(&mut self, block: &[u8]) -> Result<Headers, ProtocolError> {
        parse(&self.decompress(block)?)
    }

    fn decompress(&mut self, mut block: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        let (mut plain, mut chunk) = (Vec::new(), [0; 2048]);
        loop {
            let (consumed, produced) = (self.zlib.total_in(), self.zlib.total_out());
            let status = self.zlib.decompress(block, &mut chunk, FlushDecompress::Sync);
            // Both differences are at most the lengths of the slices.
            let consumed = (self.zlib.total_in() - consumed) as usize;
            let produced = (self.zlib.total_out() - produced) as usize;
            block = block.get(consumed..).unwrap_or_default();
            plain.extend_from_slice(chunk.get(..produced).unwrap_or_default());
            if plain.len() > MAX_BLOCK {
                return Err(ProtocolError::BlockTooLong(MAX_BLOCK));
            }
            match status {
                Err(error) if error.needs_dictionary().is_some() && !self.has_dictionary => {
                    self.zlib.set_dictionary(&dictionary()).map_err(|_| ProtocolError::Compression)?;
                    self.has_dictionary = true;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(ProtocolError::Compression),
                Ok(_) if consumed == 0 && produced == 0 => break,
                Ok(_) => {}
            }
        }
        if block.is_empty() { Ok(plain) } else { Err(ProtocolError::Compression) }
    }
}

fn parse(plain: &[u8]) -> Result<Headers, ProtocolError> {
    let mut rest = plain;
    let count = rest.try_get_u32().map_err(|_| ProtocolError::Block)? as usize;
    if count > MAX_HEADERS {
        return Err(ProtocolError::Block);
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let (name, value) = (text(&mut rest)?, text(&mut rest)?);
        headers.push((name.to_ascii_lowercase(), value));
    }
    if rest.is_empty() { Ok(Headers(headers)) } else { Err(ProtocolError::Block) }
}

fn text(rest: &mut &[u8]) -> Result<String, ProtocolError> {
    let length = rest.try_get_u32().map_err(|_| ProtocolError::Block)? as usize;
    let bytes = rest.split_off(..length).ok_or(ProtocolError::Block)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtocolError::Block)
}

/// Writes a connection's header blocks. All that we send are empty, so they are stored instead of compressed, which saves
/// the 256 KiB that a compressor holds per connection.
#[derive(Debug, Default)]
pub(crate) struct HeaderWriter {
    begun: bool,
}

// === impl HeaderWriter ===

impl HeaderWriter {
    /// A block without headers.
    pub(crate) fn empty(&mut self) -> Bytes {
        /// zlib's header with a preset dictionary, and the checksum of the dictionary.
        const BEGIN: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
        /// A stored deflate block of four bytes (RFC 1951, section 3.2.4), the number of headers, and an empty one: the
        /// mark of a flush, without which Go's inflater waits for more.
        const EMPTY: [u8; 14] = [0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        let mut block = BytesMut::with_capacity(BEGIN.len() + EMPTY.len());
        if !self.begun {
            block.put_slice(&BEGIN);
            self.begun = true;
        }
        block.put_slice(&EMPTY);
        block.freeze()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use flate2::{Compress, Compression, FlushCompress};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A client's side: compresses as Go's and Chromium's writers do.
    pub(crate) struct Compressor(Compress);

    impl Compressor {
        pub(crate) fn new() -> Self {
            let mut zlib = Compress::new(Compression::best(), true);
            zlib.set_dictionary(&dictionary()).unwrap();
            Self(zlib)
        }

        pub(crate) fn block(&mut self, headers: &[(&str, &str)]) -> Bytes {
            let mut plain = Vec::new();
            plain.put_u32(headers.len() as u32);
            for text in headers.iter().flat_map(|(name, value)| [name, value]) {
                plain.put_u32(text.len() as u32);
                plain.put_slice(text.as_bytes());
            }
            self.compress(&plain)
        }

        fn compress(&mut self, plain: &[u8]) -> Bytes {
            let mut block = Vec::with_capacity(plain.len() + 1024);
            self.0.compress_vec(plain, &mut block, FlushCompress::Sync).unwrap();
            block.into()
        }
    }

    #[test]
    fn the_dictionary_is_the_specifications() {
        // Adler-32, which every zlib stream with this dictionary carries in its header.
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((dictionary().len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_share_one_compression_state() {
        let (mut writer, mut reader) = (Compressor::new(), HeaderReader::new());
        let mut lengths = Vec::new();
        for request in ["0", "1", "2"] {
            let headers = [("streamtype", "error"), ("port", "8080"), ("requestid", request)];
            let block = writer.block(&headers);
            lengths.push(block.len());
            let read = reader.read(&block).unwrap();
            assert_eq!(
                headers.map(|(name, value)| (name, read.get(name) == Some(value))).map(|found| found.1),
                [true; 3]
            );
        }
        assert!(lengths[2] < lengths[0], "{lengths:?}");
    }

    #[test]
    fn empty_blocks_are_read_by_any_inflater() {
        let (mut writer, mut reader) = (HeaderWriter::default(), HeaderReader::new());
        for _ in 0..3 {
            assert_eq!(reader.read(&writer.empty()), Ok(Headers::default()));
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let block = Compressor::new().compress(&vec![0; 1 << 20]);
        assert!(block.len() < 4096);
        assert_eq!(HeaderReader::new().read(&block), Err(ProtocolError::BlockTooLong(MAX_BLOCK)));
    }

    #[test]
    fn a_lie_about_lengths_is_refused() {
        let lies: [&[u8]; 5] = [
            &[],
            &[0, 0, 0, 1],
            &[0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, b'a'],
            &[0, 0, 0, 0, 9],
        ];
        for plain in lies {
            assert_eq!(parse(plain), Err(ProtocolError::Block), "{plain:?}");
        }
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(blocks in vec(vec(any::<u8>(), 0..100), 0..4)) {
            let mut reader = HeaderReader::new();
            for block in &blocks {
                let _ = reader.read(block);
                let _ = parse(block);
            }
        }
    }
}
