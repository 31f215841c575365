//! Push notifications of Git servers: GitHub, Gitea, Forgejo, Gogs, GitLab and Bitbucket send them in much the same form.
//!
//! A notification only makes Lotse look at a repository that it knows already; nothing of its content is believed. Where the
//! Secret `argocd-secret` has a key for the sender (`webhook.github.secret`, …), the signature is checked first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use k8s_openapi::api::core::v1::Secret;
use lotse_client::{Informer, Informers, Key};
use ring::hmac;
use serde_json::Value;

use crate::{application::Application, live::CONTROL_NAMESPACE};

/// Longest notification; GitHub's own limit is 25 MB, but a push of that size is told in pieces by the next poll.
const MAX_BYTES: usize = 1 << 20;

/// A repository is looked at at most this often because of notifications.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Where Argo CD keeps the shared secrets.
const SECRET: &str = "argocd-secret";

/// How a sender proves who it is.
enum Proof {
    /// HMAC-SHA256 of the body in hex, behind this prefix.
    Signature(&'static str),
    /// The shared secret itself.
    Token,
}

/// The header that tells a sender, the key of its shared secret, and its proof.
const SENDERS: &[(&str, &str, Proof)] = &[
    ("x-gitea-signature", "webhook.gogs.secret", Proof::Signature("")),
    ("x-gogs-signature", "webhook.gogs.secret", Proof::Signature("")),
    ("x-hub-signature-256", "webhook.github.secret", Proof::Signature("sha256=")),
    ("x-hub-signature", "webhook.bitbucketserver.secret", Proof::Signature("sha256=")),
    ("x-gitlab-token", "webhook.gitlab.secret", Proof::Token),
];

type Refresh = Arc<dyn Fn(Key, &str) + Send + Sync>;

#[derive(Clone)]
struct Receiver {
    applications: Informer<Application>,
    secrets: Informer<Secret>,
    refresh: Refresh,
    last: Arc<Mutex<HashMap<String, Instant>>>,
}

/// Routes for Git servers; `refresh` is called for each Application whose repository has been pushed to.
pub(crate) fn router(informers: Informers, refresh: impl Fn(Key, &str) + Send + Sync + 'static) -> Router {
    let receiver = Receiver {
        applications: informers.get(),
        secrets: informers.get(),
        refresh: Arc::new(refresh),
        last: Arc::default(),
    };
    Router::new().route("/api/webhook", post(receive)).layer(DefaultBodyLimit::max(MAX_BYTES)).with_state(receiver)
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    if let Err(reason) = receiver.authenticate(&headers, &body) {
        return (StatusCode::UNAUTHORIZED, reason.to_owned());
    }
    let Ok(payload) = serde_json::from_slice::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "the notification is not JSON; choose application/json".to_owned());
    };
    let pushed = repository_urls(&payload);
    if pushed.is_empty() {
        return (StatusCode::BAD_REQUEST, "the notification names no repository".to_owned());
    }
    let refreshed = receiver.refresh(&pushed);
    (StatusCode::OK, format!("{refreshed} Applications look at it now"))
}

// === impl Receiver ===

impl Receiver {
    /// Checks the proof of a sender that we share a secret with.
    fn authenticate(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), &'static str> {
        let secret = self.secrets.get(&Key::namespaced(CONTROL_NAMESPACE, SECRET));
        let shared = |name: &str| {
            let value = secret.as_ref()?.data.as_ref()?.get(name)?.0.clone();
            (!value.is_empty()).then_some(value)
        };
        for (header, name, proof) in SENDERS {
            let Some(given) = headers.get(*header).map(|value| value.as_bytes()) else { continue };
            let Some(key) = shared(name) else { continue };
            let valid = match proof {
                Proof::Signature(prefix) => {
                    let hex = given.strip_prefix(prefix.as_bytes()).and_then(decode_hex);
                    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
                    hex.is_some_and(|tag| hmac::verify(&key, body, &tag).is_ok())
                }
                // Comparing hashes takes the same time wherever the difference is.
                Proof::Token => {
                    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
                    let expected = hmac::sign(&key, b"token");
                    let given = hmac::Key::new(hmac::HMAC_SHA256, given);
                    hmac::verify(&given, b"token", expected.as_ref()).is_ok()
                }
            };
            return if valid { Ok(()) } else { Err("the signature is wrong") };
        }
        // Whoever shares a secret with one sender wants no anonymous ones.
        if SENDERS.iter().any(|(_, name, _)| shared(name).is_some()) {
            return Err("the notification is not signed by a sender whose secret is known");
        }
        Ok(())
    }

    fn refresh(&self, pushed: &[String]) -> usize {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| now.duration_since(*at) < MIN_INTERVAL);
        let mut recent: Vec<String> = Vec::new();
        let mut count = 0;
        for application in self.applications.list() {
            for source in application.spec.all_sources() {
                let identity = identity(&source.repo_url);
                if !pushed.contains(&identity) || (last.contains_key(&identity) && !recent.contains(&identity)) {
                    continue;
                }
                last.insert(identity.clone(), now);
                recent.push(identity);
                (self.refresh)(Key::of(application.as_ref()), &source.repo_url);
                count += 1;
            }
        }
        count
    }
}

/// Every URL by which the notification calls its repository, in the form of [`identity`].
fn repository_urls(payload: &Value) -> Vec<String> {
    const PLACES: &[&str] = &[
        "/repository/clone_url",
        "/repository/ssh_url",
        "/repository/html_url",
        "/repository/git_url",
        "/repository/git_http_url",
        "/repository/git_ssh_url",
        "/repository/homepage",
        "/project/git_http_url",
        "/project/git_ssh_url",
        "/project/web_url",
        "/repository/links/html/href",
    ];
    let mut urls: Vec<String> =
        PLACES.iter().filter_map(|place| payload.pointer(place)?.as_str()).map(identity).collect();
    urls.sort_unstable();
    urls.dedup();
    urls
}

/// Host and path of a repository, however it is reached: `https://git.example.org/a/b.git`, `git@git.example.org:a/b` and
/// `ssh://git@git.example.org/a/b` are the same.
fn identity(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) if url.contains("://") || !host.contains(':') => (host, path),
        _ => rest.split_once(':').unwrap_or((rest, "")),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = host.split(':').next().unwrap_or_default();
    let path = path.trim_matches('/').trim_end_matches(".git");
    format!("{}/{}", host.to_lowercase(), path.to_lowercase())
}

fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 128 {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_repository_is_the_same_however_it_is_reached() {
        for url in [
            "https://git.example.org/Team/shop.git",
            "https://me:secret@git.example.org:8443/team/shop",
            "git@git.example.org:team/shop.git",
            "ssh://git@git.example.org:2222/team/shop/",
        ] {
            assert_eq!(identity(url), "git.example.org/team/shop", "{url}");
        }
        assert_ne!(identity("https://git.example.org/team/shop2"), identity("https://git.example.org/team/shop"));
    }

    #[test]
    fn notifications_of_all_servers_name_their_repository() {
        let github =
            json!({"ref": "refs/heads/main", "repository": {"clone_url": "https://git.example.org/team/shop.git"}});
        let gitlab = json!({"project": {"git_http_url": "https://git.example.org/team/shop.git"}});
        for payload in [github, gitlab] {
            assert_eq!(repository_urls(&payload), ["git.example.org/team/shop"]);
        }
        assert!(repository_urls(&json!([1, "x"])).is_empty());
    }

    #[test]
    fn malformed_signatures_are_no_signatures() {
        assert_eq!(decode_hex(b"0aff"), Some(vec![0x0a, 0xff]));
        for text in [b"0".as_slice(), b"zz", b"\xff\xff", "ä".as_bytes(), &[b'0'; 200]] {
            assert_eq!(decode_hex(text), None, "{text:?}");
        }
    }
}
