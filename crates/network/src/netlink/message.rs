//! The bytes of netlink: a writer that appends messages to one buffer and a reader that never panics.

/// Marks an attribute whose payload is attributes.
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that name it.
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;

/// Appends netlink messages to a buffer.
///
/// An attribute holds at most 65,535 bytes. Callers split what could be longer; what is too long nevertheless is
/// noticed, and [`Writer::finish`] then returns `None`.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    start: usize,
    overflow: bool,
}

// === impl Writer ===

impl Writer {
    /// Begins a message; the one before must have been ended.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, sequence: u32) {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
    }

    /// Ends a message by writing its length.
    pub(crate) fn end(&mut self) {
        match u32::try_from(self.bytes.len() - self.start) {
            Ok(length) => self.patch(self.start, &length.to_ne_bytes()),
            Err(_) => self.overflow = true,
        }
    }

    /// Bytes of a family's own header. Their length must be a multiple of four.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn attribute(&mut self, kind: u16, payload: &[u8]) {
        self.write(kind, |writer| writer.bytes.extend_from_slice(payload));
    }

    pub(crate) fn nested(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        self.write(kind | NESTED, content);
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) {
        self.attribute(kind, &[value]);
    }

    /// A number in the host's byte order, as rtnetlink wants it.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// A number in network byte order, as nfnetlink wants it.
    pub(crate) fn u32_be(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub(crate) fn u64_be(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub(crate) fn string(&mut self, kind: u16, text: &str) {
        self.write(kind, |writer| {
            writer.bytes.extend_from_slice(text.as_bytes());
            writer.bytes.push(0);
        });
    }

    /// The messages, or `None` if something did not fit into its length field.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.overflow).then_some(self.bytes)
    }

    fn write(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        content(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.patch(start, &length.to_ne_bytes()),
            Err(_) => self.overflow = true,
        }
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    fn patch(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }
}

/// One received message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages in `bytes`; ends at the first malformed one.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        let message = rest.get(..length).filter(|_| length >= HEADER)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?),
            sequence: u32_at(message, 8)?,
            payload: message.get(HEADER..)?,
        })
    })
}

/// The attributes in `bytes` as type and payload; ends at the first malformed one.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let payload = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE_MASK, payload))
    })
}

/// The payload of the first attribute of type `kind`.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, payload)| payload)
}

/// The payload of an attribute within nested attributes.
pub(crate) fn find_path<'a>(bytes: &'a [u8], path: &[u16]) -> Option<&'a [u8]> {
    path.iter().try_fold(bytes, |bytes, kind| find(bytes, *kind))
}

/// A number in host byte order at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::default();
        writer.begin(7, 5, 42);
        writer.raw(&[1, 2, 3, 4]);
        writer.nested(1, |writer| {
            writer.string(2, "ab");
            writer.u32_be(3, 0x0102_0304);
        });
        writer.u8(9, 1);
        writer.end();
        let bytes = writer.finish().unwrap();
        let message = messages(&bytes).next().unwrap();
        assert_eq!((message.kind, message.sequence), (7, 42));
        let body = &message.payload[4..];
        assert_eq!(find_path(body, &[1, 2]), Some(&b"ab\0"[..]));
        assert_eq!(find_path(body, &[1, 3]), Some(&[1, 2, 3, 4][..]));
        assert_eq!(find(body, 9), Some(&[1][..]));
        assert_eq!(messages(&bytes).count(), 1);
    }

    #[test]
    fn an_attribute_that_does_not_fit_is_an_error_and_not_a_wrong_length() {
        let mut writer = Writer::default();
        writer.begin(1, 1, 1);
        writer.attribute(1, &vec![0; 70_000]);
        writer.end();
        assert!(writer.finish().is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            for message in messages(&bytes) {
                for (_, payload) in attributes(message.payload) {
                    attributes(payload).count();
                }
            }
            attributes(&bytes).count();
        }
    }
}
