//! Recognising gzip and zstd by their first bytes.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;

/// Largest zstd window accepted (the format's recommended ceiling for decoders is 8 MiB; tools use up to 128 MiB).
const ZSTD_WINDOW_LOG: u32 = 27;

/// Undoes the compression that `source` begins with, if any. What a media type claims is not believed.
pub(crate) fn decompress<'a, R: Read + 'a>(mut source: R) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 4];
    let mut length = 0;
    while length < magic.len() {
        match source.read(&mut magic[length..])? {
            0 => break,
            count => length += count,
        }
    }
    let source = io::Cursor::new(magic).take(length as u64).chain(source);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, source))),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let mut decoder = zstd::stream::read::Decoder::new(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    #[test]
    fn each_format_is_recognised() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let zstd = zstd::encode_all(&b"hello"[..], 1).unwrap();
        for bytes in [gzip.finish().unwrap(), zstd, b"hello".to_vec()] {
            let mut text = String::new();
            decompress(&bytes[..]).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
        }
        let mut rest = Vec::new();
        decompress(&b"ab"[..]).unwrap().read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"ab");
    }
}
