//! Packed charts: `.tgz` files with one directory. Names that leave it and sizes without measure are refused.

use std::{io::Read, path::Component};

use flate2::read::MultiGzDecoder;

use super::{
    File,
    load::{MAX_BYTES, MAX_FILES, without_mark},
    wrong,
};
use crate::Error;

/// Unpacked bytes of one file, as in Helm.
const MAX_FILE_BYTES: u64 = 32 << 20;

/// The files of an archive, without the name of the directory that holds them all.
pub(super) fn unpack(path: &str, packed: &[u8]) -> Result<Vec<File>, Error> {
    let limit = |what, limit| Error::Limit { path: path.to_owned(), what, limit };
    let broken = |error: std::io::Error| wrong(path, format!("is no gzipped tar archive: {error}"));
    if !packed.starts_with(b"\x1f\x8b") {
        return Err(wrong(path, "is no gzipped archive"));
    }
    // What the archive spends on headers and padding counts too: they unpack to something as well.
    let mut archive = tar::Archive::new(MultiGzDecoder::new(packed).take(MAX_BYTES + 1));
    let (mut files, mut bytes) = (Vec::new(), 0_u64);
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() || kind.is_pax_local_extensions() {
            continue;
        }
        let name = name(path, &entry.path_bytes())?;
        if !kind.is_file() {
            return Err(wrong(path, format!("{name}: links and devices are not allowed in a chart")));
        }
        if files.len() == MAX_FILES {
            return Err(limit("number of files of the chart", MAX_FILES as u64));
        }
        let mut data = Vec::new();
        entry.take(MAX_FILE_BYTES + 1).read_to_end(&mut data).map_err(broken)?;
        if data.len() as u64 > MAX_FILE_BYTES {
            return Err(limit("size of a file of the chart in bytes", MAX_FILE_BYTES));
        }
        bytes += data.len() as u64;
        if bytes > MAX_BYTES {
            return Err(limit("size of the chart in bytes", MAX_BYTES));
        }
        files.push(File { name, data: without_mark(&data) });
    }
    if files.is_empty() {
        return Err(wrong(path, "the archive has no files"));
    }
    Ok(files)
}

/// The name without the first directory.
fn name(path: &str, raw: &[u8]) -> Result<String, Error> {
    let refuse = |shown: &str, problem: &str| Err(wrong(path, format!("file {shown:?} of the archive {problem}")));
    let Ok(text) = std::str::from_utf8(raw) else {
        return refuse(&String::from_utf8_lossy(raw), "has a name that is no UTF-8");
    };
    if text.contains('\\') || text.chars().any(char::is_control) {
        return refuse(text, "has a backslash or a control character in its name");
    }
    let mut parts = Vec::new();
    for component in std::path::Path::new(text).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return refuse(text, "has a path that leaves the archive");
            }
        }
    }
    match parts.split_first() {
        Some((_, rest)) if !rest.is_empty() => Ok(rest.join("/")),
        _ => refuse(text, "is not in the chart's directory"),
    }
}
