//! What a `repoURL` points at.

use std::path::{Path, PathBuf};

use crate::Error;

/// The kinds of places that a repository can be read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A repository on this machine, bare or with a working tree.
    Local(PathBuf),
    /// A directory without Git: its files are the desired state as they are.
    Plain(PathBuf),
    /// A repository behind `https`, `http` or `ssh`.
    Remote(String),
}

impl Location {
    /// Understands `https://`, `http://`, `ssh://`, `user@host:path`, `file://` and absolute paths; everything else is refused
    /// by name, before any program or library sees it.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let refuse = |message: &str| {
            Err(Error::InvalidSpec { field: "spec.source.repoURL", message: format!("{}: {message}", redacted(url)) })
        };
        if url.is_empty() {
            return refuse("is empty: give the URL or the absolute path of a repository");
        }
        if url.starts_with('-') || url.chars().any(|character| character.is_control() || character == ' ') {
            return refuse("is not a URL");
        }
        if let Some(path) = url.strip_prefix("file://").or_else(|| url.starts_with('/').then_some(url)) {
            return Self::local(Path::new(path), url);
        }
        if let Some((scheme, rest)) = url.split_once("://") {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            if host.is_empty() || host.starts_with('-') {
                return refuse("has no host");
            }
            return match scheme {
                "https" | "http" | "ssh" => Ok(Self::Remote(url.to_owned())),
                _ => refuse("has a scheme that is not supported: use https, ssh or file"),
            };
        }
        match url.split_once(':') {
            Some((host, path))
                if host.contains('@') && !host.contains('/') && !host.contains("@-") && !path.is_empty() =>
            {
                Ok(Self::Remote(url.to_owned()))
            }
            _ => refuse("is not a URL: use https://…, ssh://…, git@host:path, file:///… or an absolute path"),
        }
    }

    fn local(path: &Path, url: &str) -> Result<Self, Error> {
        let failure = |message: String| Err(Error::Repository { url: url.to_owned(), message });
        let canonical = match path.canonicalize() {
            Ok(canonical) => canonical,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return failure("does not exist".to_owned());
            }
            Err(error) => return failure(error.to_string()),
        };
        if !canonical.is_dir() {
            return failure("is not a directory".to_owned());
        }
        let is_bare = canonical.join("HEAD").is_file() && canonical.join("objects").is_dir();
        if is_bare || canonical.join(".git").exists() { Ok(Self::Local(canonical)) } else { Ok(Self::Plain(canonical)) }
    }
}

/// The URL without a password.
pub(crate) fn redacted(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?))) {
        Some((scheme, (user, host))) if !user.contains('/') => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}@{host}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn only_known_schemes_are_accepted() {
        for url in [
            "https://git.example.org/a/b.git",
            "ssh://git@example.org/a",
            "git@example.org:a/b.git",
            "http://127.0.0.1:8080/x",
        ] {
            assert_eq!(Location::parse(url).unwrap(), Location::Remote(url.to_owned()));
        }
        for url in [
            "",
            "--upload-pack=touch /tmp/x",
            "ext::sh -c id",
            "gopher://x/y",
            "https://",
            "ssh://-oProxyCommand=x/y",
            "a@-o:b",
            "relative/path",
            "https://host\n/x",
        ] {
            assert!(Location::parse(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn passwords_never_show() {
        assert_eq!(redacted("https://me:secret@example.org/x"), "https://me@example.org/x");
        assert_eq!(redacted("https://example.org/x@y"), "https://example.org/x@y");
        let error = Location::parse("gopher://me:secret@example.org/x").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_path_that_does_not_exist_is_named() {
        let error = Location::parse("/no/such/repository").unwrap_err().to_string();
        assert_eq!(error, "repository /no/such/repository: does not exist");
    }
}
