//! The one path normaliser: what routes a request and what the backend receives come from the same call.
//!
//! Two programs that read one path differently are how access rules are passed by (`/a/%2e%2e/admin`, `//admin`,
//! `/admin%2Fkeys`). So a path is brought to one spelling (RFC 3986, section 6.2.2), that spelling is forwarded, and the
//! routing key is what a backend sees that decodes it once. Spellings that no two programs agree on are refused.

use std::borrow::Cow;

/// A path in its one spelling.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NormalPath<'a> {
    /// What the backend receives: still percent-encoded, without dot segments and empty segments.
    pub(crate) forward: Cow<'a, str>,
    /// What routes: percent-decoded once (ASCII only), an encoded slash counts as a slash.
    pub(crate) key: Cow<'a, str>,
}

/// Why a path is refused (400).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("the path must begin with '/'")]
    Relative,
    #[error("the path leaves its root with '..'")]
    AboveRoot,
    #[error("the path has a '%' that is not followed by two hexadecimal digits")]
    BadEscape,
    #[error("the path has a control character")]
    Control,
    #[error("the path has a backslash")]
    Backslash,
    #[error("the path hides a dot segment behind an encoded separator")]
    HiddenDotSegment,
}

/// Brings `raw` (without query) to its one spelling; borrowed when it already is.
///
/// # Errors
/// When the path is ambiguous or malformed; the request must be refused then.
pub(crate) fn normalise(raw: &str) -> Result<NormalPath<'_>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::Relative);
    }
    if is_plain(raw.as_bytes()) {
        return Ok(NormalPath { forward: Cow::Borrowed(raw), key: Cow::Borrowed(raw) });
    }
    let forward = respell(raw)?;
    let key = decode(&forward);
    Ok(NormalPath { forward: Cow::Owned(forward), key: Cow::Owned(key) })
}

/// Encodes a decoded path (the outcome of a rewrite) for the request line.
pub(crate) fn encode(decoded: &str) -> String {
    let mut out = String::with_capacity(decoded.len() + 8);
    let bytes = decoded.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        // The key keeps non-ASCII bytes encoded; they must not be encoded twice.
        let kept = byte == b'%' && escape(bytes, at).is_some_and(|value| value >= 0x80);
        if kept || is_unreserved(byte) || b"/!$&'()*+,;=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            push_escape(&mut out, byte);
        }
        at += 1;
    }
    out
}

/// Whether nothing can be different after normalising; one pass, the common case.
fn is_plain(bytes: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in bytes {
        let suspicious = match byte {
            b'/' | b'.' => previous == b'/',
            b'%' | b'\\' => true,
            b';' => previous == b'.',
            _ => !(0x21..0x7f).contains(&byte),
        };
        if suspicious {
            return false;
        }
        previous = byte;
    }
    true
}

fn respell(raw: &str) -> Result<String, PathError> {
    let mut segments: Vec<String> = Vec::new();
    let mut directory = false;
    for segment in raw.split('/').skip(1) {
        let spelled = respell_segment(segment)?;
        directory = matches!(spelled.as_str(), "" | "." | "..");
        match spelled.as_str() {
            "" | "." => {}
            ".." => {
                segments.pop().ok_or(PathError::AboveRoot)?;
            }
            _ => segments.push(spelled),
        }
    }
    let mut out = String::with_capacity(raw.len());
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if directory || out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

fn respell_segment(segment: &str) -> Result<String, PathError> {
    let bytes = segment.as_bytes();
    let mut out = String::with_capacity(segment.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let value = match byte {
            b'\\' => return Err(PathError::Backslash),
            b'%' => {
                at += 2;
                escape(bytes, at - 2).ok_or(PathError::BadEscape)?
            }
            _ => byte,
        };
        at += 1;
        if value < 0x20 || value == 0x7f {
            return Err(PathError::Control);
        }
        let escaped = byte == b'%' && !is_unreserved(value);
        if escaped || !(0x21..0x7f).contains(&value) {
            push_escape(&mut out, value)
        } else {
            out.push(char::from(value))
        }
    }
    // Some backends cut path parameters off before they resolve dot segments (`..;x`), some decode separators first.
    let pieces = || out.split("%2F").flat_map(|piece| piece.split("%5C"));
    let split = pieces().nth(1).is_some();
    let hidden = pieces().any(|piece| {
        let bare = piece.split(';').next().and_then(|piece| piece.split("%3B").next()).unwrap_or_default();
        matches!(bare, "." | "..") && (split || bare.len() != piece.len())
    });
    if hidden { Err(PathError::HiddenDotSegment) } else { Ok(out) }
}

/// Decodes ASCII escapes once and merges the slashes that appear.
fn decode(forward: &str) -> String {
    let bytes = forward.as_bytes();
    let mut out = String::with_capacity(forward.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let value = match escape(bytes, at).filter(|value| byte == b'%' && *value < 0x80) {
            Some(value) => {
                at += 2;
                value
            }
            None => byte,
        };
        at += 1;
        if !(value == b'/' && out.ends_with('/')) {
            out.push(char::from(value));
        }
    }
    out
}

/// The byte that `%XX` at `at` stands for.
fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |index: usize| bytes.get(index).and_then(|byte| char::from(*byte).to_digit(16));
    u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()
}

fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
