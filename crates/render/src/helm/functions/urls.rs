//! `urlParse`, `urlJoin`, and escaping.

use super::{
    Function, Outcome,
    Parameter::{Map as MapType, String},
    arguments, fixed,
};
use crate::helm::{
    failure::Failure,
    template::evaluate::Evaluator,
    value::{Entries, Map, Value, text},
};

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("urlParse", &[String], |_, given| parse(&arguments::text(given, 0)).map_err(Failure::from)),
    fixed("urlJoin", &[MapType], join),
];

/// `url.QueryEscape`
pub(super) fn query_escape(input: &[u8]) -> Vec<u8> {
    escape(input, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'), true)
}

fn escape(input: &[u8], keep: impl Fn(u8) -> bool, plus: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len());
    for byte in input {
        match *byte {
            b' ' if plus => out.push(b'+'),
            byte if keep(byte) => out.push(byte),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    out
}

fn unescape(input: &str) -> Result<std::string::String, std::string::String> {
    let bytes = input.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        if *byte == b'%' {
            let digits = input.get(index + 1..index + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            out.push(digits.ok_or_else(|| {
                format!("invalid URL escape {:?}", input.get(index..(index + 3).min(input.len())).unwrap_or("%"))
            })?);
            index += 3;
        } else {
            out.push(*byte);
            index += 1;
        }
    }
    Ok(std::string::String::from_utf8_lossy(&out).into_owned())
}

fn parse(input: &str) -> Result<Value, std::string::String> {
    let fail = |why: &str| format!("unable to parse url: \"parse {input:?}: {why}\"");
    if input.chars().any(|character| character < ' ' || character == '\u{7f}') {
        return Err(fail("net/url: invalid control character in URL"));
    }
    let (main, fragment) = input.split_once('#').unwrap_or((input, ""));
    let fragment = unescape(fragment).map_err(|why| fail(&why))?;
    let (scheme, rest) = scheme(main).map_err(|why| fail(why))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut opaque, mut userinfo, mut host, mut path) = ("", std::string::String::new(), "", rest);
    if !rest.starts_with('/') && !scheme.is_empty() {
        (opaque, path) = (rest, "");
    } else if let Some(authority) = rest.strip_prefix("//") {
        let end = authority.find('/').unwrap_or(authority.len());
        let (before, after) = authority.split_at(end);
        path = after;
        host = before;
        if let Some((user, rest)) = before.rsplit_once('@') {
            userinfo = user.to_owned();
            host = rest;
        }
        if host.starts_with('[') && !host.contains(']') {
            return Err(fail("missing ']' in host"));
        }
        if host.contains(' ') {
            return Err(fail("invalid character \" \" in host name"));
        }
        let port = host.rsplit_once(']').map_or(host, |(_, port)| port).rsplit_once(':').map_or("", |(_, port)| port);
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(fail(&format!("invalid port {:?} after host", format!(":{port}"))));
        }
    }
    if scheme.is_empty() && !path.starts_with('/') && path.split('/').next().is_some_and(|first| first.contains(':')) {
        return Err(fail("first path segment in URL cannot contain colon"));
    }
    let hostname = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let path = unescape(path).map_err(|why| fail(&why))?;
    let entries: Entries = [
        ("scheme", scheme.as_str()),
        ("host", host),
        ("hostname", hostname),
        ("path", &path),
        ("query", query),
        ("opaque", opaque),
        ("fragment", &fragment),
        ("userinfo", &userinfo),
    ]
    .into_iter()
    .map(|(key, value)| (text(key), Value::from(value)))
    .collect();
    Ok(Value::map(entries))
}

fn scheme(input: &str) -> Result<(std::string::String, &str), &'static str> {
    for (index, character) in input.char_indices() {
        match character {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if index > 0 => {}
            ':' if index == 0 => return Err("missing protocol scheme"),
            ':' => {
                let (scheme, rest) = input.split_at(index);
                return Ok((scheme.to_lowercase(), rest.get(1..).unwrap_or_default()));
            }
            _ => break,
        }
    }
    Ok((std::string::String::new(), input))
}

fn join(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let map = arguments::map(given, 0);
    let part = |name: &str| part(&map, name);
    let (scheme, host, path, query) = (part("scheme")?, part("host")?, part("path")?, part("query")?);
    let (opaque, fragment, userinfo) = (part("opaque")?, part("fragment")?, part("userinfo")?);
    let mut out = Vec::new();
    if !scheme.is_empty() {
        out.extend_from_slice(&[scheme.as_slice(), b":"].concat());
    }
    if opaque.is_empty() {
        if !scheme.is_empty() || !host.is_empty() || !userinfo.is_empty() {
            if !host.is_empty() || !path.is_empty() || !userinfo.is_empty() {
                out.extend_from_slice(b"//");
            }
            if !userinfo.is_empty() {
                out.extend_from_slice(&[userinfo.as_slice(), b"@"].concat());
            }
            out.extend_from_slice(&host);
        }
        if !path.is_empty() && path.first() != Some(&b'/') && !host.is_empty() {
            out.push(b'/');
        }
        let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*".contains(&byte);
        out.extend_from_slice(&escape(&path, keep, false));
    } else {
        out.extend_from_slice(&opaque);
    }
    if !query.is_empty() {
        out.extend_from_slice(&[b"?", query.as_slice()].concat());
    }
    if !fragment.is_empty() {
        let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=?@!'()*".contains(&byte);
        out.push(b'#');
        out.extend_from_slice(&escape(&fragment, keep, false));
    }
    Ok(out.into())
}

fn part(map: &Map, name: &str) -> Result<Vec<u8>, Failure> {
    match map.get(name.as_bytes()) {
        None => Ok(Vec::new()),
        Some(Value::String(content)) => Ok(content.to_vec()),
        Some(other) => Err(Failure::new(format!(
            "unable to parse {name} key, must be of type string, but {} found",
            other.kind_name()
        ))),
    }
}
