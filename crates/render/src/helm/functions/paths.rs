//! Sprig's functions for paths.

use super::{Function, Parameter::String, arguments, fixed};
use crate::helm::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("base", &[String], |_, given| Ok(base(&arguments::text(given, 0)).into())),
    fixed("dir", &[String], |_, given| Ok(dir(&arguments::text(given, 0)).into())),
    fixed("ext", &[String], |_, given| Ok(ext(&arguments::text(given, 0)).into())),
    fixed("clean", &[String], |_, given| Ok(clean(&arguments::text(given, 0)).into())),
    fixed("isAbs", &[String], |_, given| Ok(Value::Bool(arguments::bytes(given, 0).first() == Some(&b'/')))),
    fixed("osBase", &[String], |_, given| Ok(base(&arguments::text(given, 0)).into())),
    fixed("osDir", &[String], |_, given| Ok(dir(&arguments::text(given, 0)).into())),
    fixed("osExt", &[String], |_, given| Ok(ext(&arguments::text(given, 0)).into())),
    fixed("osClean", &[String], |_, given| Ok(clean(&arguments::text(given, 0)).into())),
    fixed("osIsAbs", &[String], |_, given| Ok(Value::Bool(arguments::bytes(given, 0).first() == Some(&b'/')))),
];

/// `path.Base`
pub(crate) fn base(path: &str) -> std::string::String {
    if path.is_empty() {
        return ".".to_owned();
    }
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        trimmed => trimmed.rsplit('/').next().unwrap_or(trimmed).to_owned(),
    }
}

/// `path.Dir`
pub(crate) fn dir(path: &str) -> std::string::String {
    clean(path.rfind('/').map_or("", |slash| path.get(..=slash).unwrap_or_default()))
}

fn ext(path: &str) -> std::string::String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').and_then(|dot| name.get(dot..)).unwrap_or_default().to_owned()
}

/// `path.Clean`
pub(crate) fn clean(path: &str) -> std::string::String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(last) if *last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            name => parts.push(name),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
