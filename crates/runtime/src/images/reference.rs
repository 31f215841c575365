//! Image names: `[registry/]repository[:tag][@digest]` with the defaults that every user expects.
//!
//! Grammar: the OCI distribution specification; defaults (`docker.io`, `library/`, `latest`): the reference implementation
//! in distribution/reference.

use std::fmt;

use super::digest::Digest;
use crate::Error;

/// A fully qualified name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    /// Host and perhaps port, e.g. `docker.io` or `localhost:30002`.
    pub registry: String,
    /// E.g. `library/postgres`.
    pub repository: String,
    /// Absent only when there is a digest.
    pub tag: Option<String>,
    /// What the manifest must hash to.
    pub digest: Option<Digest>,
}

/// Longest name, as in distribution/reference.
const NAME_LENGTH: usize = 255;
/// Longest tag, from the distribution specification.
const TAG_LENGTH: usize = 128;

impl Reference {
    /// Parses a name as a user writes it.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::InvalidInput { message: format!("image name {text:?} is not valid: {why}") };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(Digest::parse(digest).ok_or_else(|| refuse("the digest must be sha256: and 64 hex digits"))?),
            ),
            None => (text, None),
        };
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((before, tag)) if !tag.contains('/') => (before, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(refuse(
                "a tag is up to 128 letters, digits, '_', '.', '-' and starts with neither '.' nor '-'",
            ));
        }
        let (registry, path) = match rest.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
            _ => ("docker.io", rest),
        };
        if !is_registry(registry) {
            return Err(refuse("the registry must be a host name and perhaps a port"));
        }
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let repository =
            if registry == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        if registry.len() + 1 + repository.len() > NAME_LENGTH {
            return Err(refuse("it is longer than 255 characters"));
        }
        if !repository.split('/').all(is_path_component) {
            return Err(refuse("a repository is lower-case letters and digits, separated by '.', '_', '-' and '/'"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// `registry/repository`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `registry/repository:tag`, if there is a tag.
    pub(crate) fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// Whether plain HTTP is spoken with the registry: only on this machine, as container tools do.
    pub(crate) fn is_insecure(&self) -> bool {
        let host = self.registry.rsplit_once(':').map_or(self.registry.as_str(), |(host, _)| host);
        host == "localhost"
            || host == "[::1]"
            || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn is_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    bytes.len() <= TAG_LENGTH
        && bytes.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte))
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            }
            _ => return false,
        },
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        },
    };
    port.is_none_or(is_port)
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_path_component(component: &str) -> bool {
    let mut rest = component;
    loop {
        let word = rest.bytes().take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.bytes().take_while(|byte| b"._-".contains(byte)).count();
        let (separators, after) = rest.split_at(separator);
        let valid = matches!(separators, "." | "_" | "__")
            || (!separators.is_empty() && separators.bytes().all(|byte| byte == b'-'));
        if !valid {
            return false;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names_get_the_usual_defaults() {
        for (text, full) in [
            ("postgres", "docker.io/library/postgres:latest"),
            ("postgres:15-alpine", "docker.io/library/postgres:15-alpine"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest"),
            ("index.docker.io/library/x:1", "docker.io/library/x:1"),
            ("quay.io/a/b/c:v1.0", "quay.io/a/b/c:v1.0"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:30002/a/b:v1", "localhost:30002/a/b:v1"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("a.b-c/x__y/z--1", "a.b-c/x__y/z--1:latest"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), full, "{text}");
        }
    }

    #[test]
    fn a_digest_needs_no_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let reference = Reference::parse(&format!("x@{digest}")).unwrap();
        assert_eq!(reference.tag, None);
        assert_eq!(reference.to_string(), format!("docker.io/library/x@{digest}"));
        let reference = Reference::parse(&format!("x:1@{digest}")).unwrap();
        assert_eq!(reference.tagged().unwrap(), "docker.io/library/x:1");
    }

    #[test]
    fn bad_names_are_refused() {
        for text in [
            "",
            ":",
            "@",
            "a:",
            "A",
            "a/B",
            "a//b",
            "/a",
            "a/",
            "../a",
            "a/..",
            "a b",
            "a:b c",
            "a@sha256:12",
            "a@md5:ab",
            "a.b:99999/x",
            "a.b:/x",
            "-a.b/x",
            "a..b/x",
            "a.b/x___y",
            "a.b/.x",
            "a\n",
            "a:-x",
            "host:0/x",
            "a?b/c",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?} was accepted");
        }
        assert!(Reference::parse(&"a".repeat(300)).is_err());
        assert!(Reference::parse(&format!("a:{}", "b".repeat(129))).is_err());
    }

    #[test]
    fn only_this_machine_is_insecure() {
        for (text, insecure) in [
            ("localhost:30002/a", true),
            ("127.0.0.1:5000/a", true),
            ("127.1.2.3/a", true),
            ("[::1]:5000/a", true),
            ("localhost.example.com/a", false),
            ("127.0.0.1.example.com/a", false),
            ("10.0.0.1:5000/a", false),
            ("a", false),
        ] {
            assert_eq!(Reference::parse(text).unwrap().is_insecure(), insecure, "{text}");
        }
    }
}
