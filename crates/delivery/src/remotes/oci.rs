//! Charts in OCI registries: tags, manifest, one layer.
//!
//! Names and manifests are read by the registry client's own types; requests go through [`super::http`], because that client
//! neither checks addresses nor lets redirects and token servers be refused (`docs/adr/0011-fetching.md`).

use std::{cell::RefCell, sync::Arc};

use lotse_render::helm::choose_version;
use oci_client::{Reference, manifest::OciImageManifest};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::{
    address,
    http::Got,
    index::no_version,
    keep::{Facts, hex_sha256},
    remember, remembered,
    session::{Session, key, refuse_status},
};
use crate::{Error, git::redacted};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The layer that is the chart, today and in the first registries.
const LAYERS: [&str; 2] = ["application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/tar+gzip"];
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
const MAX_TAGS: usize = 20_000;
const MAX_PAGES: usize = 50;

/// A repository of a registry.
struct Repository<'a> {
    session: &'a Session,
    /// `oci://…`, for messages.
    url: String,
    /// `https://registry`
    registry: String,
    repository: String,
    /// What a Secret gives.
    basic: Option<String>,
    /// What is sent at present.
    authorization: RefCell<Option<String>>,
}

/// The newest version among the tags that meets a constraint.
pub(super) fn newest(session: &Session, url: &str, name: &str, constraint: &str) -> Result<String, Error> {
    let repository = Repository::new(session, url, name)?;
    let tags = repository.tags()?;
    let versions: Vec<&str> = tags.iter().map(String::as_str).collect();
    let failed = |message: String| repository.failed(message);
    let chosen = choose_version(constraint, &versions).map_err(failed)?;
    chosen.map(str::to_owned).ok_or_else(|| failed(no_version(name, constraint, &versions)))
}

/// The packed chart of a version.
pub(super) fn pull(session: &Session, url: &str, name: &str, version: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let repository = Repository::new(session, url, name)?;
    // A tag has no plus; Helm writes an underscore.
    let tag = version.replace('+', "_");
    let is_tag = tag.len() <= 128
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !tag.starts_with(['.', '-']);
    if !is_tag {
        return Err(repository.failed(format!("{version:?} is no version of a chart")));
    }
    let got = repository.get(&format!("manifests/{tag}"), Some(MANIFEST), MAX_MANIFEST_BYTES)?;
    if got.status == StatusCode::NOT_FOUND {
        return Err(repository.failed(format!("has no version {version}")));
    }
    refuse_status(&repository.url, got.status)?;
    let manifest: OciImageManifest = serde_json::from_slice(&got.body)
        .map_err(|error| repository.failed(format!("the manifest of {version} cannot be read: {error}")))?;
    let layer = manifest.layers.iter().find(|layer| LAYERS.contains(&layer.media_type.as_str()));
    let Some(layer) = layer else {
        return Err(repository.failed(format!("{version} is no chart: it has no layer of type {}", LAYERS[0])));
    };
    let Some(wanted) = layer.digest.strip_prefix("sha256:").filter(|hex| is_sha256(hex)) else {
        return Err(repository.failed(format!("the digest {:?} of {version} is no SHA-256", layer.digest)));
    };
    let size = u64::try_from(layer.size).unwrap_or(u64::MAX);
    if size > limit {
        return Err(repository.failed(format!("{version} has {size} bytes; at most {limit} are accepted")));
    }
    let got = repository.get(&format!("blobs/{}", layer.digest), None, size)?;
    refuse_status(&repository.url, got.status)?;
    let found = hex_sha256(&got.body);
    if found != wanted {
        return Err(repository.failed(format!("what the registry sent for {version} has the SHA-256 {found}")));
    }
    Ok(got.body)
}

fn is_sha256(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
}

// === impl Repository ===

impl<'a> Repository<'a> {
    fn new(session: &'a Session, url: &str, name: &str) -> Result<Self, Error> {
        let full = format!("{}/{name}", url.trim_end_matches('/'));
        let failed = |message: &str| Error::Repository { url: redacted(&full), message: message.to_owned() };
        let path = full.strip_prefix("oci://").unwrap_or(&full);
        let host = path.split('/').next().unwrap_or_default();
        if !host.contains(['.', ':']) && host != "localhost" {
            return Err(failed("names no registry: write oci://registry.example.org/path"));
        }
        let reference: Reference =
            path.parse().map_err(|_| failed("is no repository of a registry: oci://registry.example.org/path"))?;
        if reference.tag() != Some("latest") || reference.digest().is_some() {
            return Err(failed("must have no tag and no digest; the version is given by itself"));
        }
        let host = reference.resolve_registry();
        let plain = Url::parse(&format!("http://{host}")).is_ok_and(|url| address::is_loopback(&url));
        let basic = session.chart_authorization(url);
        Ok(Self {
            session,
            registry: format!("{}://{host}", if plain { "http" } else { "https" }),
            repository: reference.repository().to_owned(),
            authorization: RefCell::new(None),
            basic,
            url: full,
        })
    }

    fn failed(&self, message: String) -> Error {
        Error::Repository { url: redacted(&self.url), message }
    }

    /// The tags as versions.
    fn tags(&self) -> Result<Arc<Vec<String>>, Error> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let known = key(&["tags", &self.registry, &self.repository], self.basic.as_deref());
        if let Some(tags) = remembered(&self.session.remotes.shared.tags, &known) {
            return Ok(tags);
        }
        if self.session.is_offline()
            && let Some((_, kept)) = self.session.keep().read(&known)
            && let Ok(tags) = serde_json::from_slice(&kept)
        {
            return Ok(Arc::new(tags));
        }
        let mut tags: Vec<String> = Vec::new();
        let mut next = "tags/list?n=1000".to_owned();
        for _ in 0..MAX_PAGES {
            let got = self.get(&next, None, MAX_MANIFEST_BYTES * 4)?;
            refuse_status(&self.url, got.status)?;
            let page: Page = serde_json::from_slice(&got.body)
                .map_err(|error| self.failed(format!("the list of versions cannot be read: {error}")))?;
            tags.extend(page.tags.unwrap_or_default().into_iter().map(|tag| tag.replace('_', "+")));
            if tags.len() > MAX_TAGS {
                return Err(self.failed(format!("has more than {MAX_TAGS} versions; name one")));
            }
            match got.header("link").as_deref().and_then(next_page) {
                Some(query) => next = format!("tags/list?{query}"),
                None => {
                    let text = serde_json::to_vec(&tags).unwrap_or_default();
                    let facts = Facts { sha256: hex_sha256(&text), ..Facts::default() };
                    self.session.write(&known, &facts, &text)?;
                    let tags = Arc::new(tags);
                    let shared = &self.session.remotes.shared;
                    remember(&shared.tags, &known, &self.url, tags.clone(), self.session.poll());
                    return Ok(tags);
                }
            }
        }
        Err(self.failed(format!("lists its versions on more than {MAX_PAGES} pages; name one")))
    }

    /// Asks, and once more with a token if the registry wants one.
    fn get(&self, what: &str, accept: Option<&str>, limit: u64) -> Result<Got, Error> {
        let url = format!("{}/v2/{}/{what}", self.registry, self.repository);
        let ask = || {
            let mut request = self.session.request(&url, self.authorization.borrow().clone(), limit);
            if let Some(accept) = accept {
                request.headers.push(("accept", accept.to_owned()));
            }
            self.session.get(&request).map_err(|error| self.failed(message(error)))
        };
        let got = ask()?;
        if got.status != StatusCode::UNAUTHORIZED || self.authorization.borrow().is_some() {
            return Ok(got);
        }
        let challenge = got.header("www-authenticate").unwrap_or_default();
        let Some(authorization) = self.answer(&challenge)? else { return Ok(got) };
        self.authorization.replace(Some(authorization));
        ask()
    }

    /// What a challenge is answered with: the Secret's credentials, or a token of the registry's token server.
    fn answer(&self, challenge: &str) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Ok(self.basic.clone());
        }
        let Some(realm) = parameter(parameters, "realm").filter(|_| scheme.eq_ignore_ascii_case("bearer")) else {
            return Ok(None);
        };
        let wrong = |message: &str| self.failed(format!("its token server {realm:?} {message}"));
        let mut url = Url::parse(&realm).map_err(|_| wrong("is no URL"))?;
        let registry = Url::parse(&self.registry).map_err(|_| wrong("belongs to no registry"))?;
        if registry.scheme() == "https" && url.scheme() != "https" {
            return Err(wrong("does not speak https"));
        }
        url.query_pairs_mut().append_pair("scope", &format!("repository:{}:pull", self.repository));
        if let Some(service) = parameter(parameters, "service") {
            url.query_pairs_mut().append_pair("service", &service);
        }
        let trusted = is_trusted(&registry, &url);
        let authorization = self.basic.clone().filter(|_| trusted);
        let got = self.session.get(&self.session.request(url.as_str(), authorization, MAX_MANIFEST_BYTES));
        let got = got.map_err(|error| wrong(&message(error)))?;
        if got.status != StatusCode::OK {
            let hint = match self.basic.is_some() && !trusted {
                true => "; the credentials of the registry were not sent there, it is another host",
                false => "",
            };
            return Err(wrong(&format!("answers {}{hint}", got.status)));
        }
        let token: Token = serde_json::from_slice(&got.body).map_err(|_| wrong("sends no token"))?;
        Ok(token.token.or(token.access_token).map(|token| format!("Bearer {token}")))
    }
}

/// What is wrong, without the URL of the single request.
fn message(error: Error) -> String {
    match error {
        Error::Repository { message, .. } => message,
        other => other.to_string(),
    }
}

/// Whether a token server may see the registry's credentials: the same host, or the domain that the registry is part of.
fn is_trusted(registry: &Url, realm: &Url) -> bool {
    let (Some(registry_host), Some(host)) = (registry.host_str(), realm.host_str()) else { return false };
    let same = registry.origin() == realm.origin();
    let above = host.contains('.') && registry_host.strip_suffix(host).is_some_and(|rest| rest.ends_with('.'));
    let docker = registry_host.ends_with(".docker.io") && host == "auth.docker.io";
    same || above || docker
}

/// `name="value"` of a challenge.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim().trim_start_matches(',').trim().eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = next;
    }
    None
}

/// The query of the next page, whichever host the header names.
fn next_page(link: &str) -> Option<String> {
    let (target, relation) = link.strip_prefix('<')?.split_once('>')?;
    let query = target.split_once('?')?.1;
    (relation.contains("next") && query.len() < 1024).then(|| query.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn credentials_go_to_token_servers_of_the_registry_only() {
        let url = |text: &str| Url::parse(text).unwrap();
        for (registry, realm, trusted) in [
            ("https://ghcr.io", "https://ghcr.io/token", true),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("https://index.docker.io", "https://auth.docker.io/token", true),
            ("https://registry.example.org", "https://evil.example/token", false),
            ("https://registry.example.org", "https://other.example.org/token", false),
            ("https://registry.example.org", "https://org/token", false),
            ("https://notgitlab.com", "https://gitlab.com/token", false),
        ] {
            assert_eq!(is_trusted(&url(registry), &url(realm)), trusted, "{registry} {realm}");
        }
    }

    #[test]
    fn challenges_are_taken_apart() {
        let parameters = "realm=\"https://a/t?x=1,2\",service=\"s\", scope=\"repository:x:pull\"";
        assert_eq!(parameter(parameters, "realm").as_deref(), Some("https://a/t?x=1,2"));
        assert_eq!(parameter(parameters, "Service").as_deref(), Some("s"));
        assert_eq!(parameter(parameters, "error"), None);
        assert_eq!(parameter("realm=\"open", "realm"), None);
        assert_eq!(next_page("</v2/x/tags/list?last=b&n=2>; rel=\"next\"").as_deref(), Some("last=b&n=2"));
        assert_eq!(next_page("nothing"), None);
    }
}
