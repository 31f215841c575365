//! Container logs: the CRI format on disk, and reading it from the end, across rotation, with follow.

mod parse;
mod read;

pub(crate) use read::{Options, stream};

use std::path::Path;

use crate::volumes::beneath;

/// The last `lines` lines of a log as plain text, out of at most its last `bytes`; empty when it cannot be read.
pub(crate) fn last_lines(path: &Path, lines: usize, bytes: u64) -> String {
    // Every record carries its time and tags; read generously, then count what remains.
    let data = beneath::read_tail(path, bytes.saturating_mul(4)).ok().flatten().unwrap_or_default();
    let records: Vec<&[u8]> =
        data.split(|byte| *byte == b'\n').filter_map(parse::record).map(|record| record.content).collect();
    let start = records.len().saturating_sub(lines);
    let mut text: Vec<String> = records
        .get(start..)
        .unwrap_or_default()
        .iter()
        .map(|content| String::from_utf8_lossy(content).into_owned())
        .collect();
    while text.iter().map(|line| line.len() + 1).sum::<usize>() as u64 > bytes && text.len() > 1 {
        text.remove(0);
    }
    text.join("\n")
}
