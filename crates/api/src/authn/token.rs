//! Service account tokens: JWTs (RFC 7519) signed with ES256 (RFC 7518), bound to a ServiceAccount and, where asked for, to
//! a Pod, Secret or Node (KEP-1205). A token is good as long as what it is bound to exists.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::User;
use crate::{object::meta, registry::prefix, server::Server};

/// Tokens longer than this are not looked at.
const MAX_TOKEN: usize = 16 * 1024;

/// Makes and checks tokens.
pub(crate) struct Tokens {
    key: EcdsaKeyPair,
    public: Vec<u8>,
    key_id: String,
    /// `iss`, also the base of OIDC discovery.
    pub(crate) issuer: String,
}

/// Name and uid of an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) uid: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Reference>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    nbf: i64,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

/// What a token is made for.
pub(crate) struct Subject {
    /// Namespace of the service account.
    pub(crate) namespace: String,
    /// The service account.
    pub(crate) account: Reference,
    /// `Pod`, `Secret` or `Node`, and which.
    pub(crate) bound: Option<(String, Reference)>,
    /// Who may accept it.
    pub(crate) audiences: Vec<String>,
    /// Seconds.
    pub(crate) lifetime: i64,
}

/// A good token.
pub(crate) struct Verified {
    /// Whose it is.
    pub(crate) user: User,
    /// For whom it is, of those asked about.
    pub(crate) audiences: Vec<String>,
}

impl Tokens {
    /// From the private key, PEM.
    pub(crate) fn new(pem: &str, issuer: String) -> Result<Self, crate::ApiError> {
        let damaged = |what: String| crate::ApiError::TokenKey { what };
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| damaged(error.to_string()))?;
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &SystemRandom::new())
                .map_err(|error| damaged(error.to_string()))?;
        let public = key.public_key().as_ref().to_vec();
        let digest = ring::digest::digest(&ring::digest::SHA256, &public);
        let key_id = URL_SAFE_NO_PAD.encode(digest);
        Ok(Self { key, public, key_id, issuer })
    }

    /// Signs a token; returns it with the time it ends.
    pub(crate) fn issue(&self, subject: &Subject) -> Result<(String, Timestamp), crate::Error> {
        let now = Timestamp::now().as_second();
        let end = now.saturating_add(subject.lifetime);
        let bound = |kind: &str| subject.bound.as_ref().filter(|(k, _)| k == kind).map(|(_, r)| r.clone());
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: format!("system:serviceaccount:{}:{}", subject.namespace, subject.account.name),
            aud: subject.audiences.clone(),
            exp: end,
            iat: now,
            nbf: now,
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: Kubernetes {
                namespace: subject.namespace.clone(),
                serviceaccount: subject.account.clone(),
                pod: bound("Pod"),
                secret: bound("Secret"),
                node: bound("Node"),
            },
        };
        let failed = |source: serde_json::Error| crate::Error::internal("writing a token", source);
        let head = json!({"alg": "ES256", "kid": self.key_id, "typ": "JWT"}).to_string();
        let body = serde_json::to_vec(&claims).map_err(failed)?;
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(body));
        let signature = self
            .key
            .sign(&SystemRandom::new(), text.as_bytes())
            .map_err(|error| crate::Error::internal("signing a token", error.to_string()))?;
        let end = Timestamp::from_second(end).unwrap_or(Timestamp::MAX);
        Ok((format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)), end))
    }

    /// The audiences that stand for this server.
    pub(crate) fn own_audiences(&self) -> [&str; 1] {
        [&self.issuer]
    }

    /// Checks a token against the signature, the time, the audience and the objects it is bound to. The reason is for the log.
    pub(crate) fn verify(
        &self,
        server: &Server,
        token: &str,
        audiences: Option<&[String]>,
    ) -> Result<Verified, &'static str> {
        if token.len() > MAX_TOKEN {
            return Err("too long");
        }
        let (text, signature) = token.rsplit_once('.').ok_or("not a JWT")?;
        let (head, body) = text.split_once('.').ok_or("not a JWT")?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url");
        let head: Value = serde_json::from_slice(&decode(head)?).map_err(|_| "header is not JSON")?;
        // The only algorithm and the only key: what the token says about them is never followed, only compared.
        if head.get("alg").and_then(Value::as_str) != Some("ES256") {
            return Err("wrong algorithm");
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public)
            .verify(text.as_bytes(), &decode(signature)?)
            .map_err(|_| "bad signature")?;
        let claims: Claims = serde_json::from_slice(&decode(body)?).map_err(|_| "claims are not readable")?;
        if claims.iss != self.issuer {
            return Err("other issuer");
        }
        let now = Timestamp::now().as_second();
        if claims.exp <= now || claims.nbf > now.saturating_add(60) {
            return Err("not valid now");
        }
        let accepted: Vec<String> = match audiences {
            Some(wanted) => claims.aud.iter().filter(|aud| wanted.contains(aud)).cloned().collect(),
            None => claims.aud.iter().filter(|aud| self.own_audiences().contains(&aud.as_str())).cloned().collect(),
        };
        if accepted.is_empty() {
            return Err("other audience");
        }
        let kubernetes = &claims.kubernetes;
        let namespace = &kubernetes.namespace;
        let exists = |resource: &str, namespace: Option<&str>, reference: &Reference| {
            let scope = namespace.map(|n| format!("{n}/")).unwrap_or_default();
            let key = format!("{}{scope}{}", prefix("", resource), reference.name);
            let object = server.store.get(&key).and_then(|e| serde_json::from_slice::<Value>(&e.value).ok());
            object.is_some_and(|object| meta(&object, "uid") == reference.uid)
        };
        if !exists("serviceaccounts", Some(namespace), &kubernetes.serviceaccount) {
            return Err("the service account is gone");
        }
        let mut extra = std::collections::BTreeMap::new();
        for (resource, scope, reference, label) in [
            ("pods", Some(namespace.as_str()), &kubernetes.pod, "pod"),
            ("secrets", Some(namespace.as_str()), &kubernetes.secret, "secret"),
            ("nodes", None, &kubernetes.node, "node"),
        ] {
            let Some(reference) = reference else { continue };
            if !exists(resource, scope, reference) {
                return Err("what the token is bound to is gone");
            }
            extra.insert(format!("authentication.kubernetes.io/{label}-name"), vec![reference.name.clone()]);
            extra.insert(format!("authentication.kubernetes.io/{label}-uid"), vec![reference.uid.clone()]);
        }
        extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("JTI={}", claims.jti)]);
        let expected = format!("system:serviceaccount:{namespace}:{}", kubernetes.serviceaccount.name);
        if claims.sub != expected {
            return Err("subject and service account differ");
        }
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        let mut user = User::new(expected, groups);
        user.uid.clone_from(&kubernetes.serviceaccount.uid);
        user.extra = extra;
        Ok(Verified { user, audiences: accepted })
    }

    /// The public key as a JWK set (RFC 7517).
    pub(crate) fn jwks(&self) -> Value {
        // Uncompressed point: 4, x, y.
        let (x, y) = self.public.get(1..).unwrap_or_default().split_at(32.min(self.public.len().saturating_sub(1)));
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.key_id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }
}
