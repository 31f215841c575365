//! `index.yaml` of a chart repository.

use std::collections::BTreeMap;

use lotse_render::helm::choose_version;
use reqwest::Url;
use serde::Deserialize;

/// Longer indexes are refused.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// What an index says, as far as it matters.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Index {
    entries: BTreeMap<String, Option<Vec<Option<Published>>>>,
}

/// A published version of a chart.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Published {
    pub(super) version: String,
    pub(super) urls: Option<Vec<String>>,
    /// SHA-256 of the archive in hex; older indexes have none.
    pub(super) digest: Option<String>,
}

// === impl Index ===

impl Index {
    /// Reads an index; JSON is YAML.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let broken = |error: &dyn std::fmt::Display| format!("its index.yaml cannot be read: {error}");
        if content.trim_ascii_start().starts_with(b"{") {
            return serde_json::from_slice(content).map_err(|error| broken(&error));
        }
        let text = std::str::from_utf8(content).map_err(|_| broken(&"it is not UTF-8"))?;
        let mut budget = serde_saphyr::Budget::default();
        budget.max_events = 20_000_000;
        budget.max_nodes = 10_000_000;
        let options = serde_saphyr::options! { with_snippet: false, budget: Some(budget) };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| broken(&error.without_snippet()))
    }

    /// The newest version of a chart that meets a constraint.
    pub(super) fn choose(&self, name: &str, constraint: &str) -> Result<&Published, String> {
        let published = self.entries.get(name).and_then(Option::as_ref);
        let Some(published) = published.filter(|all| !all.is_empty()) else {
            return Err(format!("has no chart {name:?}"));
        };
        let published: Vec<&Published> = published.iter().flatten().collect();
        let versions: Vec<&str> = published.iter().map(|one| one.version.as_str()).collect();
        let chosen = choose_version(constraint, &versions)?.ok_or_else(|| no_version(name, constraint, &versions))?;
        let found = published.into_iter().find(|one| one.version == chosen);
        found.ok_or_else(|| no_version(name, constraint, &versions))
    }
}

/// That no version meets a constraint, and which ones there are.
pub(super) fn no_version(name: &str, constraint: &str, versions: &[&str]) -> String {
    let some = versions.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    let more = if versions.len() > 5 { ", …" } else { "" };
    let wanted = if constraint.is_empty() { "that is no prerelease" } else { constraint };
    format!("has no version of {name} {wanted}; it has {some}{more}")
}

// === impl Published ===

impl Published {
    /// Where the archive is: relative to the repository, or anywhere.
    pub(super) fn location(&self, repository: &str) -> Result<Url, String> {
        let Some(url) = self.urls.iter().flatten().find(|url| !url.is_empty()) else {
            return Err(format!("its index names no URL for version {}", self.version));
        };
        let wrong = |_| format!("its index names something that is no URL for version {}", self.version);
        let base = Url::parse(&format!("{}/", repository.trim_end_matches('/'))).map_err(wrong)?;
        base.join(url).map_err(wrong)
    }

    /// The hash as it is compared.
    pub(super) fn sha256(&self) -> Option<String> {
        let digest = self.digest.as_deref().filter(|digest| !digest.is_empty())?;
        Some(digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const INDEX: &str = "apiVersion: v1\nentries:\n  web:\n  - version: 1.2.0\n    urls: [web-1.2.0.tgz]\n    digest: ABC\n  - version: 1.10.0\n    urls: ['https://cdn.example.org/web-1.10.0.tgz']\n  - \n  empty:\n";

    #[test]
    fn an_index_gives_the_newest_version_and_its_place() {
        let index = Index::parse(INDEX.as_bytes()).unwrap();
        let newest = index.choose("web", "1.*").unwrap();
        assert_eq!(newest.version, "1.10.0");
        assert_eq!(
            newest.location("https://h.test/charts").unwrap().as_str(),
            "https://cdn.example.org/web-1.10.0.tgz"
        );
        let first = index.choose("web", "1.2.0").unwrap();
        assert_eq!(first.location("https://h.test/charts").unwrap().as_str(), "https://h.test/charts/web-1.2.0.tgz");
        assert_eq!(first.sha256().as_deref(), Some("abc"));
        assert_eq!(index.choose("web", "^2").unwrap_err(), "has no version of web ^2; it has 1.2.0, 1.10.0");
        assert!(index.choose("empty", "").is_err() && index.choose("../web", "").is_err());
    }

    #[test]
    fn hostile_indexes_are_errors() {
        let bomb =
            format!("a: &a [x]\nb: &b [{0}]\nc: &c [{1}]\nentries: {{x: *c}}", "*a,".repeat(900), "*b,".repeat(900));
        for text in
            [bomb, "[".repeat(100_000), "entries: 3".to_owned(), "\u{0}".to_owned(), "{\"entries\": [1]}".to_owned()]
        {
            assert!(Index::parse(text.as_bytes()).is_err(), "{}", &text[..20.min(text.len())]);
        }
    }
}
