//! Container logs in the format of the Kubernetes CRI: `TIME STREAM TAG LINE`, tag `F` for a full line, `P` for a part of one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use nix::libc;

/// Longest piece of a line in one record, as containerd has it.
const LINE_BYTES: usize = 16 << 10;
/// The kubelet's `containerLogMaxSize`.
const FILE_BYTES: u64 = 10 << 20;
/// The kubelet's `containerLogMaxFiles`, the current one included.
const FILES: usize = 5;

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Cuts a stream into records.
#[derive(Debug)]
pub(crate) struct Framer {
    stream: Stream,
    pending: Vec<u8>,
}

impl Framer {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Appends the records that `bytes` complete to `out`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], time: &str, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = LINE_BYTES - self.pending.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    self.pending.extend_from_slice(&bytes[..end]);
                    self.record("F", time, out);
                    bytes = &bytes[end + 1..];
                }
                None => {
                    let (head, tail) = bytes.split_at(room.min(bytes.len()));
                    self.pending.extend_from_slice(head);
                    bytes = tail;
                    if self.pending.len() == LINE_BYTES {
                        self.record("P", time, out);
                    }
                }
            }
        }
    }

    /// Writes out a last line without a newline.
    pub(crate) fn finish(&mut self, time: &str, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.record("F", time, out);
        }
        self.pending = Vec::new();
    }

    fn record(&mut self, tag: &str, time: &str, out: &mut Vec<u8>) {
        for part in [time, " ", self.stream.name(), " ", tag, " "] {
            out.extend_from_slice(part.as_bytes());
        }
        out.append(&mut self.pending);
        out.push(b'\n');
    }
}

/// The log file of one container, with rotation: `0.log`, then `0.log.1` and so on, the higher the older.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
    buffer: Vec<u8>,
}

impl LogFile {
    /// Opens or makes the file. A symbolic link or anything but a regular file is refused (CVE-2026-53489).
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, FILE_BYTES)
    }

    fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        let (file, size) = open(path)?;
        Ok(Self { path: path.to_owned(), file, size, limit, buffer: Vec::new() })
    }

    /// Appends what `framer` makes of `bytes`. A full disk loses lines but never stops the container.
    pub(crate) fn write(&mut self, framer: &mut Framer, bytes: &[u8]) {
        self.append(|time, out| framer.push(bytes, time, out));
    }

    /// Appends the last line of a stream that has ended.
    pub(crate) fn finish(&mut self, framer: &mut Framer) {
        self.append(|time, out| framer.finish(time, out));
    }

    fn append(&mut self, fill: impl FnOnce(&str, &mut Vec<u8>)) {
        let time = format!("{:.9}", Timestamp::now());
        self.buffer.clear();
        fill(&time, &mut self.buffer);
        if self.buffer.is_empty() {
            return;
        }
        if self.size > 0 && self.size + self.buffer.len() as u64 > self.limit {
            // Keeps on writing to the old file if it cannot be rotated.
            let _ = self.rotate();
        }
        if self.file.write_all(&self.buffer).is_ok() {
            self.size += self.buffer.len() as u64;
        }
        // One burst must not keep memory for the life of the pod.
        self.buffer.shrink_to(64 << 10);
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..FILES - 1).rev() {
            let _ = fs::rename(self.rotated(number), self.rotated(number + 1));
        }
        fs::rename(&self.path, self.rotated(1))?;
        (self.file, self.size) = open(&self.path)?;
        Ok(())
    }

    fn rotated(&self, number: usize) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok((file, metadata.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    fn frame(pieces: &[&[u8]]) -> String {
        let mut framer = Framer::new(Stream::Stdout);
        let mut out = Vec::new();
        for piece in pieces {
            framer.push(piece, "T", &mut out);
        }
        framer.finish("T", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_become_records() {
        assert_eq!(frame(&[b"a\nb\n"]), "T stdout F a\nT stdout F b\n");
        assert_eq!(frame(&[b"a", b"b\n\n", b"c"]), "T stdout F ab\nT stdout F \nT stdout F c\n");
        assert_eq!(frame(&[]), "");
    }

    #[test]
    fn long_lines_come_in_parts() {
        let long = vec![b'x'; 2 * LINE_BYTES + 1];
        let records: Vec<(String, usize)> = frame(&[&long[..], b"\n"])
            .lines()
            .map(|line| {
                let mut fields = line.splitn(4, ' ').skip(2);
                (fields.next().unwrap().to_owned(), fields.next().unwrap().len())
            })
            .collect();
        let expected = [("P", LINE_BYTES), ("P", LINE_BYTES), ("F", 1)];
        assert_eq!(records, expected.map(|(tag, length)| (tag.to_owned(), length)));
    }

    #[test]
    fn a_line_may_be_cut_anywhere() {
        let text = b"one\ntwo and more\n\nthree";
        let whole = frame(&[text]);
        for cut in 0..text.len() {
            assert_eq!(frame(&[&text[..cut], &text[cut..]]), whole);
        }
    }

    #[test]
    fn files_rotate_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut log = LogFile::with_limit(&path, 100).unwrap();
        let mut framer = Framer::new(Stream::Stderr);
        for number in 0..20 {
            log.write(&mut framer, format!("line {number} of some length\n").as_bytes());
        }
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), FILES, "{names:?}");
        assert!(fs::read_to_string(&path).unwrap().contains("line 19"));
        assert!(!directory.path().join("0.log.5").exists());
    }

    #[test]
    fn a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "").unwrap();
        symlink(&victim, directory.path().join("0.log")).unwrap();
        assert!(LogFile::open(&directory.path().join("0.log")).is_err());
    }
}
