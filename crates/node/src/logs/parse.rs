//! The CRI log format: `<RFC 3339 time> <stdout|stderr> <F|P>[:tags] <content>`, one record per line
//! (https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md).

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// As it stands in the file.
    pub(super) time: &'a str,
    /// `stdout` or `stderr`.
    pub(super) stream: &'a str,
    /// The line goes on in the next record of this stream.
    pub(super) partial: bool,
    pub(super) content: &'a [u8],
}

/// Reads a line without its newline; `None` when it is not a record.
pub(super) fn record(line: &[u8]) -> Option<Record<'_>> {
    let (time, rest) = word(line)?;
    let (stream, rest) = word(rest)?;
    let (tags, content) = word(rest).or_else(|| Some((std::str::from_utf8(rest).ok()?, &[][..])))?;
    if !matches!(stream, "stdout" | "stderr") || !time.contains('T') {
        return None;
    }
    let partial = match tags.split(':').next() {
        Some("P") => true,
        Some("F") => false,
        _ => return None,
    };
    Some(Record { time, stream, partial, content })
}

fn word(line: &[u8]) -> Option<(&str, &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ')?;
    let (word, rest) = line.split_at_checked(end)?;
    Some((std::str::from_utf8(word).ok()?, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_are_read_and_everything_else_is_refused() {
        let read = record(b"2026-01-02T03:04:05.1Z stderr F hello world").unwrap();
        assert_eq!((read.stream, read.partial, read.content), ("stderr", false, &b"hello world"[..]));
        assert!(record(b"2026-01-02T03:04:05.1Z stdout P x").unwrap().partial);
        assert_eq!(record(b"2026-01-02T03:04:05.1Z stdout F ").unwrap().content, b"");
        assert_eq!(record(b"2026-01-02T03:04:05.1Z stdout F").unwrap().content, b"");
        for bad in [&b""[..], b"x", b"2026-01-02T03:04:05Z stdin F x", b"no stdout F x", b"2026T stdout Q x"] {
            assert_eq!(record(bad), None);
        }
    }

    proptest! {
        #[test]
        fn any_content_survives(content in proptest::collection::vec(any::<u8>(), 0..200), partial: bool) {
            let mut line = format!("2026-01-02T03:04:05.000000001Z stdout {} ", if partial { "P" } else { "F" }).into_bytes();
            line.extend(&content);
            let read = record(&line).unwrap();
            prop_assert_eq!(read.content, &content[..]);
            prop_assert_eq!(read.partial, partial);
        }

        #[test]
        fn nothing_panics(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = record(&line);
        }
    }
}
