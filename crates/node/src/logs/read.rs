//! Streams a log file with the options of `kubectl logs`.
//!
//! Following looks at the file's size every 100 ms while somebody follows, and at nothing else; rotation shows as another
//! inode under the same name.

use std::{
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    sync::mpsc,
};

use super::parse;

const POLL: Duration = Duration::from_millis(100);
const BLOCK: u64 = 64 * 1024;
/// Lines longer than this are passed on in pieces.
const MAX_LINE: usize = 1024 * 1024;

/// Query of a log request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) follow: bool,
    pub(crate) tail_lines: Option<u64>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) timestamps: bool,
    pub(crate) limit_bytes: Option<u64>,
    /// `stdout` or `stderr` alone.
    pub(crate) stream: Option<String>,
}

/// Reads `path` and sends it in pieces until the end, the limit, or the receiver's loss of interest. With `follow` it goes
/// on as long as `alive` says that more may come.
pub(crate) async fn stream(
    path: PathBuf,
    options: Options,
    alive: impl Fn() -> bool + Send,
    sender: mpsc::Sender<io::Result<Bytes>>,
) {
    if let Err(error) = copy(&path, &options, alive, &sender).await {
        let _ = sender.send(Err(error)).await;
    }
}

async fn open(path: &Path) -> io::Result<File> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW.bits() | nix::fcntl::OFlag::O_NONBLOCK.bits();
    let path = path.to_owned();
    let file = tokio::task::spawn_blocking(move || {
        let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("the log is not a file")) }
    });
    Ok(File::from_std(file.await.map_err(io::Error::other)??))
}

async fn copy(
    path: &Path,
    options: &Options,
    alive: impl Fn() -> bool + Send,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut file = open(path).await?;
    if let Some(lines) = options.tail_lines {
        let start = tail_start(&mut file, lines, options.stream.as_deref()).await?;
        file.seek(io::SeekFrom::Start(start)).await?;
    }
    let mut output = Output { options, left: options.limit_bytes, line_open: false, buffer: Vec::new() };
    let mut pending: Vec<u8> = Vec::new();
    let mut block = vec![0; BLOCK as usize];
    loop {
        // Asked before reading: what was written before the end is read after it.
        let more = options.follow && alive();
        loop {
            let count = file.read(&mut block).await?;
            if count == 0 {
                break;
            }
            pending.extend(block.get(..count).unwrap_or_default());
            let mut consumed = 0;
            while let Some(end) = pending.get(consumed..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
                if !output.line(pending.get(consumed..consumed + end).unwrap_or_default()) {
                    return output.flush(sender).await.map(drop);
                }
                consumed += end + 1;
            }
            pending.drain(..consumed);
            if pending.len() > MAX_LINE {
                pending.clear();
            }
            if !output.flush(sender).await? {
                return Ok(());
            }
        }
        if !options.follow {
            return Ok(());
        }
        let current = tokio::fs::symlink_metadata(path).await.ok();
        let own = file.metadata().await?;
        if current.as_ref().is_some_and(|current| current.ino() != own.ino()) {
            file = open(path).await?;
            pending.clear();
            continue;
        }
        let position = file.stream_position().await?;
        if current.is_some_and(|current| current.len() < position) {
            file.seek(io::SeekFrom::Start(0)).await?;
            continue;
        }
        if !more {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// Where the last `lines` complete lines begin, found by reading backwards in blocks.
async fn tail_start(file: &mut File, lines: u64, stream: Option<&str>) -> io::Result<u64> {
    let end = file.metadata().await?.len();
    if lines == 0 {
        return Ok(end);
    }
    let (mut position, mut found, mut carry) = (end, 0, Vec::new());
    while position > 0 {
        let size = BLOCK.min(position);
        position -= size;
        file.seek(io::SeekFrom::Start(position)).await?;
        let mut block = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact(&mut block).await?;
        block.append(&mut carry);
        // Lines that lie in the block completely; the first may have begun before it.
        let mut line_end = block.len();
        while line_end > 0 {
            let head = block.get(..line_end.saturating_sub(1)).unwrap_or_default();
            let Some(newline) = head.iter().rposition(|byte| *byte == b'\n') else { break };
            let line = block.get(newline + 1..line_end).unwrap_or_default();
            if ends_a_line(line, stream) {
                if found == lines {
                    return Ok(position + line_end as u64);
                }
                found += 1;
            }
            line_end = newline + 1;
        }
        carry = block.get(..line_end).unwrap_or_default().to_vec();
        if carry.len() > MAX_LINE {
            return Ok(position + line_end as u64);
        }
    }
    if ends_a_line(&carry, stream) && found == lines {
        return Ok(carry.len() as u64);
    }
    Ok(0)
}

fn ends_a_line(line: &[u8], stream: Option<&str>) -> bool {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    parse::record(line).is_some_and(|record| !record.partial && stream.is_none_or(|stream| stream == record.stream))
}

/// Turns records into what the user asked for.
struct Output<'a> {
    options: &'a Options,
    left: Option<u64>,
    line_open: bool,
    buffer: Vec<u8>,
}

// === impl Output ===

impl Output<'_> {
    /// Adds one line of the file; false once the limit is reached.
    fn line(&mut self, line: &[u8]) -> bool {
        let Some(record) = parse::record(line) else { return true };
        if self.options.stream.as_deref().is_some_and(|stream| stream != record.stream) {
            return true;
        }
        let old = |since: Timestamp| record.time.parse::<Timestamp>().is_ok_and(|time| time < since);
        if self.options.since.is_some_and(old) {
            return true;
        }
        let mut text = Vec::with_capacity(record.content.len() + 40);
        if self.options.timestamps && !self.line_open {
            text.extend_from_slice(record.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(record.content);
        if !record.partial {
            text.push(b'\n');
        }
        self.line_open = record.partial;
        if let Some(left) = &mut self.left {
            let allowed = usize::try_from(*left).unwrap_or(usize::MAX).min(text.len());
            text.truncate(allowed);
            *left -= allowed as u64;
        }
        self.buffer.extend_from_slice(&text);
        self.left != Some(0)
    }

    /// Sends what has gathered; false when nobody listens any more.
    async fn flush(&mut self, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<bool> {
        if self.buffer.is_empty() {
            return Ok(!sender.is_closed());
        }
        let data = Bytes::from(std::mem::take(&mut self.buffer));
        Ok(sender.send(Ok(data)).await.is_ok())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use proptest::prelude::*;

    use super::*;

    fn log(lines: &[(&str, &str, &str)]) -> String {
        let mut text = String::new();
        for (number, (stream, tag, content)) in lines.iter().enumerate() {
            text += &format!("2026-01-01T00:00:{number:02}Z {stream} {tag} {content}\n");
        }
        text
    }

    async fn read(text: &str, options: Options) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, text).unwrap();
        let (sender, mut receiver) = mpsc::channel(16);
        tokio::spawn(stream(path, options, || false, sender));
        let mut result = Vec::new();
        while let Some(piece) = receiver.recv().await {
            result.extend(piece.unwrap());
        }
        String::from_utf8(result).unwrap()
    }

    #[tokio::test]
    async fn options_select_lines() {
        let text = log(&[
            ("stdout", "F", "one"),
            ("stderr", "F", "two"),
            ("stdout", "P", "th"),
            ("stdout", "F", "ree"),
            ("stdout", "F", "four"),
        ]);
        let text = text.as_str();
        assert_eq!(read(text, Options::default()).await, "one\ntwo\nthree\nfour\n");
        let tail = |lines| Options { tail_lines: Some(lines), ..Options::default() };
        assert_eq!(read(text, tail(0)).await, "");
        assert_eq!(read(text, tail(1)).await, "four\n");
        assert_eq!(read(text, tail(2)).await, "three\nfour\n");
        assert_eq!(read(text, tail(99)).await, "one\ntwo\nthree\nfour\n");
        let since = Some("2026-01-01T00:00:04Z".parse().unwrap());
        assert_eq!(read(text, Options { since, ..Options::default() }).await, "four\n");
        assert_eq!(
            read(text, Options { timestamps: true, tail_lines: Some(2), ..Options::default() }).await,
            "2026-01-01T00:00:02Z three\n2026-01-01T00:00:04Z four\n"
        );
        assert_eq!(read(text, Options { limit_bytes: Some(6), ..Options::default() }).await, "one\ntw");
        assert_eq!(read(text, Options { stream: Some("stderr".into()), ..Options::default() }).await, "two\n");
        assert_eq!(
            read(text, Options { stream: Some("stderr".into()), tail_lines: Some(1), ..Options::default() }).await,
            "two\n"
        );
    }

    #[tokio::test]
    async fn following_sees_new_lines_and_survives_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, log(&[("stdout", "F", "one")])).unwrap();
        let alive = Arc::new(AtomicBool::new(true));
        let (sender, mut receiver) = mpsc::channel(16);
        let own = alive.clone();
        let options = Options { follow: true, ..Options::default() };
        tokio::spawn(stream(path.clone(), options, move || own.load(Ordering::SeqCst), sender));
        assert_eq!(receiver.recv().await.unwrap().unwrap(), "one\n");
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        std::fs::write(&path, log(&[("stdout", "F", "two")])).unwrap();
        assert_eq!(receiver.recv().await.unwrap().unwrap(), "two\n");
        alive.store(false, Ordering::SeqCst);
        assert!(receiver.recv().await.is_none(), "the stream ends with the container");
    }

    #[tokio::test]
    async fn a_link_to_another_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let (sender, mut receiver) = mpsc::channel(16);
        tokio::spawn(stream(path, Options::default(), || false, sender));
        assert!(receiver.recv().await.unwrap().is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_tail_is_the_end_of_the_whole(
            lines in proptest::collection::vec(("[a-z ]{0,40}", any::<bool>()), 0..60),
            tail in 0_u64..70,
        ) {
            let mut text = String::new();
            for (content, partial) in &lines {
                text += &format!("2026-01-01T00:00:00Z stdout {} {content}\n", if *partial { "P" } else { "F" });
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (whole, end) = runtime.block_on(async {
                (read(&text, Options::default()).await, read(&text, Options { tail_lines: Some(tail), ..Options::default() }).await)
            });
            prop_assert!(whole.ends_with(&end));
            let complete = whole.matches('\n').count() as u64;
            prop_assert_eq!(end.matches('\n').count() as u64, complete.min(tail));
        }
    }
}
