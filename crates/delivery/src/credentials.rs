//! Credentials for repositories, from the Secrets that Argo CD uses for them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;

use crate::git::Credentials;

/// Says what a Secret is for: `repository` (one URL) or `repo-creds` (all URLs below a prefix).
const SECRET_TYPE: &str = "argocd.argoproj.io/secret-type";

/// The credentials for `url` among the Secrets of the Application's namespace; the longest URL wins.
pub(crate) fn find(secrets: &[Arc<Secret>], url: &str) -> Option<Credentials> {
    let field = |secret: &Secret, name: &str| {
        let bytes = secret.data.as_ref()?.get(name)?;
        String::from_utf8(bytes.0.clone()).ok()
    };
    let candidates = secrets.iter().filter_map(|secret| {
        let kind = secret.metadata.labels.as_ref()?.get(SECRET_TYPE)?;
        let of = field(secret, "url")?;
        let matches = match kind.as_str() {
            "repository" => of == url,
            "repo-creds" => belongs(url, &of),
            _ => false,
        };
        let credentials = match field(secret, "sshPrivateKey") {
            Some(key) => Credentials::SshKey(key),
            None => Credentials::Password {
                username: field(secret, "username").unwrap_or_else(|| "git".to_owned()),
                password: field(secret, "password")?,
            },
        };
        matches.then_some((of.len(), credentials))
    });
    candidates.max_by_key(|(length, _)| *length).map(|(_, credentials)| credentials)
}

/// Whether `url` lies below the credential template `prefix`, on a path boundary.
fn belongs(url: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    url.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;

    fn secret(kind: &str, url: &str, password: &str) -> Arc<Secret> {
        let encode = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
        let object = json!({"metadata": {"name": "x", "labels": {SECRET_TYPE: kind}},
            "data": {"url": encode(url), "username": encode("me"), "password": encode(password)}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn the_most_specific_secret_wins_and_prefixes_end_at_a_slash() {
        let secrets = [
            secret("repo-creds", "https://git.example.org/team", "team"),
            secret("repository", "https://git.example.org/team/app.git", "app"),
            secret("other", "https://git.example.org/team/app.git/x", "never"),
        ];
        let password = |url: &str| match find(&secrets, url)? {
            Credentials::Password { password, .. } => Some(password),
            Credentials::SshKey(_) => None,
        };
        assert_eq!(password("https://git.example.org/team/app.git").as_deref(), Some("app"));
        assert_eq!(password("https://git.example.org/team/other").as_deref(), Some("team"));
        assert_eq!(password("https://git.example.org/teammate/app"), None);
        assert_eq!(password("https://evil.example.org/team/app"), None);
    }
}
