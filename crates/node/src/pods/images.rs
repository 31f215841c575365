//! Image pulls: policy, credentials, back-off.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use lotse_runtime::PullCredentials;
use serde::Deserialize;
use std::collections::BTreeMap;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Entry, Shared,
    backoff::{after, between},
    observed::ImageState,
};
use crate::{
    containers::pull_policy,
    error::chain,
    events::{NORMAL, WARNING},
    sources::Sources,
};

// === impl Shared ===

impl Shared {
    /// Tries images again that were not to be had, because something has changed: another image is in the store.
    pub(crate) fn retry_pulls(&self) {
        for entry in self.entries().values() {
            entry.memory().images.retain(|_, state| !matches!(state, ImageState::Failed { .. }));
        }
        self.trigger_all();
    }

    /// Decides at once where it can; a pull goes on in the background and looks at the pod again when it is done.
    pub(super) fn ensure_image(self: &Arc<Self>, pod: &Arc<Pod>, entry: &Arc<Entry>, container: &Container) {
        let (name, image) = (container.name.clone(), container.image.clone().unwrap_or_default());
        if !valid_reference(&image) {
            let message = format!(
                "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
            );
            return self.image_failed(pod, entry, &name, "InvalidImageName", message);
        }
        let policy = pull_policy(container);
        if policy != "Always"
            && let Some(found) = self.runtime.image(&image)
        {
            let note = format!("Container image \"{image}\" already present on machine");
            self.events.pod(pod, Some(&name), NORMAL, "Pulled", note);
            entry.memory().images.insert(name, ImageState::Ready(found.id));
            return;
        }
        if policy == "Never" {
            let message = format!("Container image \"{image}\" is not present with pull policy of Never");
            return self.image_failed(pod, entry, &name, "ErrImageNeverPull", message);
        }
        entry.memory().images.insert(name.clone(), ImageState::Pulling);
        let task = {
            let (shared, pod, entry, name) = (self.clone(), pod.clone(), entry.clone(), name.clone());
            tokio::spawn(async move { shared.pull(&pod, &entry, &name, &image).await })
        };
        entry.tasks().pulls.insert(name, AbortOnDropHandle::new(task));
    }

    async fn pull(&self, pod: &Pod, entry: &Entry, container: &str, image: &str) {
        self.events.pod(pod, Some(container), NORMAL, "Pulling", format!("Pulling image \"{image}\""));
        let credentials = credentials(pod, image, &self.sources);
        let started = Timestamp::now();
        match self.runtime.pull(image, &credentials).await {
            Ok(pulled) => {
                let took = between(started, Timestamp::now());
                let note = format!(
                    "Successfully pulled image \"{image}\" in {:.3}s. Image size: {} bytes.",
                    took.as_secs_f64(),
                    pulled.size_bytes
                );
                self.events.pod(pod, Some(container), NORMAL, "Pulled", note);
                let mut memory = entry.memory();
                memory.pull_backoff.remove(container);
                memory.images.insert(container.to_owned(), ImageState::Ready(pulled.id));
            }
            Err(error) => {
                let message = format!("failed to pull and unpack image \"{image}\": {}", chain(&error));
                let note = format!("Failed to pull image \"{image}\": {message}");
                self.events.pod(pod, Some(container), WARNING, "Failed", note);
                self.image_failed(pod, entry, container, "ErrImagePull", message);
            }
        }
        self.trigger(&entry.key);
    }

    fn image_failed(&self, pod: &Pod, entry: &Entry, container: &str, reason: &'static str, message: String) {
        let now = Timestamp::now();
        let mut memory = entry.memory();
        let delay = memory.pull_backoff.entry(container.to_owned()).or_default().fail();
        let state = ImageState::Failed { reason, message: message.clone(), at: now, until: after(now, delay) };
        memory.images.insert(container.to_owned(), state);
        drop(memory);
        self.events.pod(pod, Some(container), WARNING, "Failed", format!("Error: {reason}"));
    }
}

/// What cannot be an image reference at all; the runtime checks the rest.
fn valid_reference(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let registry = path.split_once('/').filter(|(first, _)| first.contains(['.', ':']) || *first == "localhost");
    let repository = registry.map_or(path, |(_, rest)| rest);
    let port = registry.and_then(|(host, _)| host.rsplit_once(':')).filter(|(_, port)| !port.ends_with(']'));
    let port_is_valid = port.is_none_or(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    image.len() <= 512
        && port_is_valid
        && repository.split('/').all(|part| !part.is_empty() && part.chars().all(word))
        && tag.is_none_or(|tag| {
            !tag.is_empty() && tag.len() <= 128 && tag.chars().all(|c| c.is_ascii_uppercase() || word(c))
        })
        && digest.is_none_or(|digest| digest.contains(':'))
        && path.chars().all(|c| word(c) || c.is_ascii_uppercase() || matches!(c, '/' | ':' | '[' | ']'))
}

/// The registry of an image, by Docker's rules.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
}

/// The credentials of the pod's pull secrets for the image's registry and for no other.
fn credentials(pod: &Pod, image: &str, sources: &dyn Sources) -> Vec<PullCredentials> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let secrets = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    secrets
        .filter_map(|reference| sources.secret(namespace, &reference.name))
        .flat_map(|secret| of_secret(&secret, registry(image)))
        .collect()
}

fn of_secret(secret: &Secret, registry: &str) -> Vec<PullCredentials> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    let auths = match (data(".dockerconfigjson"), data(".dockercfg")) {
        (Some(json), _) => serde_json::from_slice::<DockerConfig>(json).map(|config| config.auths),
        (None, Some(json)) => serde_json::from_slice(json),
        (None, None) => return Vec::new(),
    };
    let host = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        let key = key.split('/').next().unwrap_or_default().to_owned();
        if matches!(key.as_str(), "index.docker.io" | "registry-1.docker.io") { "docker.io".to_owned() } else { key }
    };
    let auths = auths.unwrap_or_default().into_iter();
    auths.filter(|(key, _)| host(key) == registry).filter_map(|(_, auth)| auth.into_credentials()).collect()
}

// === impl DockerAuth ===

impl DockerAuth {
    fn into_credentials(self) -> Option<PullCredentials> {
        use base64::Engine as _;
        if let (Some(username), Some(password)) = (self.username, self.password) {
            return Some(PullCredentials { username, password });
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(self.auth?).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(PullCredentials { username: username.to_owned(), password: password.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;
    use crate::testing::FakeSources;

    #[test]
    fn references_are_told_from_nonsense() {
        for good in
            ["postgres", "postgres:15-alpine", "localhost:30002/studenten/manifest-app:v1", "a/b@sha256:00", "x:V1_a.b"]
        {
            assert!(valid_reference(good), "{good}");
        }
        for bad in ["", "A/b", "a b", "a:", "a//b", "a:b:c", "a@b", "a:../x", "a:b\n"] {
            assert!(!valid_reference(bad), "{bad}");
        }
    }

    #[test]
    fn credentials_go_to_their_own_registry_only() {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let config = json!({"auths": {
            "localhost:30002": {"auth": encode("robot:pass:word")},
            "https://index.docker.io/v1/": {"username": "hub", "password": "p"}}});
        let sources = FakeSources::from_objects(vec![json!({"kind": "Secret",
            "metadata": {"name": "pull", "namespace": "n"}, "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": encode(&config.to_string())}})]);
        let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "n"},
            "spec": {"containers": [], "imagePullSecrets": [{"name": "pull"}, {"name": "missing"}]}}))
        .unwrap();
        let users = |image: &str| -> Vec<_> {
            credentials(&pod, image, &sources).into_iter().map(|one| (one.username, one.password)).collect()
        };
        assert_eq!(users("localhost:30002/a/b:v1"), [("robot".into(), "pass:word".into())]);
        assert_eq!(users("postgres:15"), [("hub".into(), "p".into())]);
        assert!(users("localhost:3000/a/b").is_empty());
    }
}
