//! Service account tokens by TokenRequest, bound to their pod, renewed when 80 % of their life has passed.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{Api, Client, api::PostParams};

use super::BoxFuture;
use crate::error::{Context, Error, Result};

const DEFAULT_EXPIRATION: i64 = 3600;

/// A token longer lived than this is renewed daily all the same, as the kubelet does.
const RENEW_AT_LEAST: Duration = Duration::from_secs(24 * 3600);

/// A token as it goes into a file.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) value: String,
    pub(super) renew_in: Duration,
}

/// Asks for tokens; the API server in production.
pub(crate) trait TokenIssuer: Send + Sync {
    fn issue<'a>(
        &'a self,
        namespace: &'a str,
        account: &'a str,
        request: TokenRequest,
    ) -> BoxFuture<'a, Result<TokenRequest>>;
}

/// [`TokenIssuer`] over the API.
pub(crate) struct ApiIssuer(pub(crate) Client);

impl TokenIssuer for ApiIssuer {
    fn issue<'a>(
        &'a self,
        namespace: &'a str,
        account: &'a str,
        request: TokenRequest,
    ) -> BoxFuture<'a, Result<TokenRequest>> {
        Box::pin(async move {
            Api::<ServiceAccount>::namespaced(self.0.clone(), namespace)
                .create_token_request(account, &PostParams::default(), &request)
                .await
                .context(|| format!("cannot get a token for service account {namespace}/{account}"))
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    pod: String,
    audience: Option<String>,
    expiration: i64,
}

struct Cached {
    value: String,
    renew_at: Timestamp,
}

/// The tokens of this node's pods.
pub(crate) struct Tokens {
    issuer: Box<dyn TokenIssuer>,
    cache: Mutex<HashMap<Identity, Cached>>,
}

// === impl Tokens ===

impl Tokens {
    pub(crate) fn new(issuer: impl TokenIssuer + 'static) -> Self {
        Self { issuer: Box::new(issuer), cache: Mutex::default() }
    }

    /// The token of the pod's service account for `audience` (the API server itself when `None`).
    pub(super) async fn get(&self, pod: &Pod, audience: Option<&str>, expiration: Option<i64>) -> Result<Token> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let expiration = expiration.unwrap_or(DEFAULT_EXPIRATION);
        let identity = Identity { pod: uid.clone(), audience: audience.map(str::to_owned), expiration };
        let now = Timestamp::now();
        if let Some(cached) = self.lock().get(&identity)
            && cached.renew_at > now
        {
            let renew_in = Duration::try_from(cached.renew_at.duration_since(now)).unwrap_or_default();
            return Ok(Token { value: cached.value.clone(), renew_in });
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(audience.map(str::to_owned).into_iter().collect()),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: pod.metadata.name.clone(),
                    uid: Some(uid),
                }),
                expiration_seconds: Some(expiration),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = self.issuer.issue(namespace, account.unwrap_or("default"), request).await?;
        let status = answer.status.unwrap_or_default();
        let (Some(value), Some(expires)) = (status.token, status.expiration_timestamp) else {
            return Err(Error::config("the API server answered a token request without a token"));
        };
        let life = Duration::try_from(expires.0.duration_since(now)).unwrap_or_default();
        let renew_in = life.mul_f64(0.8).min(RENEW_AT_LEAST).max(Duration::from_secs(10));
        let renew_at = now.checked_add(renew_in).unwrap_or(now);
        self.lock().insert(identity, Cached { value: value.clone(), renew_at });
        Ok(Token { value, renew_in })
    }

    /// Forgets the tokens of a pod that is gone.
    pub(crate) fn forget(&self, pod: &str) {
        self.lock().retain(|identity, _| identity.pod != pod);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Identity, Cached>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
