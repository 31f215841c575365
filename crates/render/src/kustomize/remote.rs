//! Entries that lie outside the tree: which repository, file or chart they name.

use crate::Tree;

/// Something that a kustomization wants and the tree does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remote {
    /// One file, read over HTTP.
    File {
        /// As written.
        url: String,
    },
    /// A directory of a Git repository.
    Git {
        /// What `git clone` takes.
        repository: String,
        /// Directory within it; the root is empty.
        directory: String,
        /// Branch, tag or commit; none means the default branch.
        reference: Option<String>,
        /// Whether submodules are wanted; they are unless `submodules=false` is in the URL.
        submodules: bool,
    },
    /// A Helm chart of a chart repository or an OCI registry.
    Chart {
        /// URL of the repository.
        repository: String,
        /// Name of the chart.
        name: String,
        /// Version; none means the latest.
        version: Option<String>,
    },
}

/// Gives what the caller has fetched. Rendering never fetches: a caller that gets [`crate::Error::Remote`] may fetch what it
/// names, keep it, and build again.
pub trait Remotes {
    /// For [`Remote::Git`] the repository's root (`directory` is looked up within), for [`Remote::File`] a tree with that one
    /// file, for [`Remote::Chart`] the chart's directory. `None` ends the build with [`crate::Error::Remote`].
    fn tree(&self, remote: &Remote) -> Option<&dyn Tree>;
}

// === impl Remote ===

impl Remote {
    /// Whether it lies on this machine: a repository by `file://` or by path.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Git { repository, .. } => {
                repository.starts_with("file:")
                    || repository.starts_with('/')
                    || !(repository.contains("://") || repository.contains('@'))
            }
            Self::File { .. } | Self::Chart { .. } => false,
        }
    }

    /// What an entry of `resources` or `components` names, if that is not a path: URLs with a scheme, `git::…`,
    /// `user@host:path`, `gh:org/repository`, `host/org/repository` of the well-known hosts, and anything with `.git`, each
    /// with `//directory` and `?ref=…`.
    pub fn parse(entry: &str) -> Option<Self> {
        let is_http = entry.starts_with("https://") || entry.starts_with("http://");
        let (location, query) = entry.split_once('?').unwrap_or((entry, ""));
        let file = location.rsplit('/').next().unwrap_or_default();
        let is_file = [".yaml", ".yml", ".json"].iter().any(|ending| file.ends_with(ending));
        let after_scheme = location.split_once("://").map_or(location, |(_, rest)| rest);
        if is_http && is_file && !after_scheme.contains("//") && !location.contains(".git/") {
            return Some(Self::File { url: entry.to_owned() });
        }
        let forced = location.strip_prefix("git::");
        let location = forced.unwrap_or(location);
        let (host, path) = host_and_path(location)
            .or_else(|| (forced.is_some() || location.contains(".git//")).then(|| (String::new(), location)))?;
        let (repository, directory) = repository_and_directory(&host, path);
        let parameter = |names: &[&str]| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, value)| names.contains(name) && !value.is_empty())
                .map(|(_, value)| value.to_owned())
        };
        Some(Self::Git {
            repository: format!("{host}{repository}"),
            directory: directory.trim_matches('/').to_owned(),
            reference: parameter(&["ref"]).or_else(|| parameter(&["version"])),
            submodules: parameter(&["submodules"]).is_none_or(|value| !matches!(value.as_str(), "false" | "0" | "f")),
        })
    }
}

/// The part of a URL before the repository's path, as `git` takes it.
fn host_and_path(location: &str) -> Option<(String, &str)> {
    for scheme in ["https://", "http://", "ssh://", "git://", "file://"] {
        if let Some(rest) = location.strip_prefix(scheme) {
            if scheme == "file://" {
                return Some((scheme.to_owned(), rest));
            }
            let end = rest.find('/').map_or(rest.len(), |at| at + 1);
            let (host, path) = rest.split_at_checked(end)?;
            return Some((format!("{scheme}{host}"), path));
        }
    }
    if let Some(path) = location.strip_prefix("gh:") {
        return Some(("https://github.com/".to_owned(), path));
    }
    if let Some((user, rest)) = location.split_once('@')
        && !user.contains('/')
        && let Some((host, path)) = rest.split_once(':')
    {
        return Some((format!("{user}@{host}:"), path));
    }
    let bare = location.strip_prefix("www.").unwrap_or(location);
    ["github.com", "gitlab.com", "bitbucket.org"].iter().find_map(|host| {
        let path = bare.strip_prefix(host)?.strip_prefix(['/', ':'])?;
        Some((format!("https://{host}/"), path))
    })
}

/// Where the repository's path ends: at `//`, after `.git`, after `_git/NAME`, else after two parts.
fn repository_and_directory<'a>(host: &str, path: &'a str) -> (&'a str, &'a str) {
    if let Some(parts) = path.split_once("//") {
        return parts;
    }
    if let Some(at) = path.find(".git/") {
        let (repository, rest) = path.split_at(at + ".git".len());
        return (repository, rest);
    }
    if path.ends_with(".git") || host == "file://" {
        return (path, "");
    }
    let skipped = path.find("_git/").map_or(0, |at| at + "_git/".len());
    let wanted = if skipped > 0 { 1 } else { 2 };
    let end = path
        .get(skipped..)
        .and_then(|rest| rest.match_indices('/').nth(wanted - 1))
        .map_or(path.len(), |(at, _)| skipped + at);
    path.split_at_checked(end).unwrap_or((path, ""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn every_form_of_a_remote_entry_is_taken_apart() {
        for (entry, repository, directory, reference) in [
            ("https://h.test/o/r//d/e?ref=v1", "https://h.test/o/r", "d/e", Some("v1")),
            ("https://github.com/o/r/d/e?ref=v1", "https://github.com/o/r", "d/e", Some("v1")),
            ("https://h.test/a/b/c.git/d?version=x", "https://h.test/a/b/c.git", "d", Some("x")),
            ("github.com/o/r", "https://github.com/o/r", "", None),
            ("gh:o/r/d", "https://github.com/o/r", "d", None),
            ("git@h.test:o/r.git", "git@h.test:o/r.git", "", None),
            ("git::https://h.test/o/r//d", "https://h.test/o/r", "d", None),
            ("ssh://git@h.test:22/o/r.git//d", "ssh://git@h.test:22/o/r.git", "d", None),
            ("https://h.test/o/p/_git/r/d?ref=m", "https://h.test/o/p/_git/r", "d", Some("m")),
            ("file:///srv/r//d", "file:///srv/r", "d", None),
        ] {
            let expected = Remote::Git {
                repository: repository.to_owned(),
                directory: directory.to_owned(),
                reference: reference.map(str::to_owned),
                submodules: true,
            };
            assert_eq!(Remote::parse(entry), Some(expected), "{entry}");
        }
        let url = "https://h.test/x/install.yaml".to_owned();
        assert_eq!(Remote::parse(&url), Some(Remote::File { url: url.clone() }));
        for path in ["../base", "a.yaml", "./github.com/x", "base@1/x"] {
            assert_eq!(Remote::parse(path), None, "{path}");
        }
        assert!(matches!(Remote::parse("gh:o/r?submodules=false"), Some(Remote::Git { submodules: false, .. })));
    }
}
