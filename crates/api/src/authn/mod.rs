//! Who asks: client certificates and bearer tokens.

mod certificate;
pub(crate) mod token;

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, header};

pub(crate) use self::certificate::user_of_certificate;
use crate::{
    server::Server,
    status::{Error, Result},
};

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `admin`, `system:serviceaccount:default:default`.
    pub name: String,
    /// Of service accounts.
    pub uid: String,
    /// Groups, `system:authenticated` included.
    pub groups: Vec<String>,
    /// Further claims.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Who the connection belongs to, as a request extension: set from the client's certificate or by the in-process client,
/// never from anything inside the request.
#[derive(Clone, Debug)]
pub struct ConnectionIdentity(pub Arc<User>);

pub(crate) const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

impl User {
    /// An authenticated user.
    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self { name: "system:anonymous".to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// The server itself.
    pub(crate) fn api_server() -> Arc<Self> {
        Arc::new(Self::new("system:apiserver", [MASTERS]))
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// Who sends a request: whom the connection belongs to, else whom the bearer token names. A token that is not good is an error and
/// not an anonymous request.
pub(crate) fn authenticate(
    server: &Server,
    headers: &HeaderMap,
    connection: Option<&ConnectionIdentity>,
) -> Result<Arc<User>> {
    if let Some(identity) = connection {
        return Ok(identity.0.clone());
    }
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(Arc::new(User::anonymous())) };
    if values.next().is_some() {
        return Err(Error::Unauthorized);
    }
    let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or(Error::Unauthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::Unauthorized);
    }
    bearer(server, token.trim()).map(Arc::new)
}

/// The user of a bearer token.
fn bearer(server: &Server, token: &str) -> Result<User> {
    if let Some(admin) = &server.config.admin_token
        && !admin.is_empty()
        && same(admin.as_bytes(), token.as_bytes())
    {
        return Ok(User::new("admin", [MASTERS]));
    }
    server.tokens.verify(server, token, None).map(|verified| verified.user).map_err(|reason| {
        tracing::debug!(%reason, "bearer token refused");
        Error::Unauthorized
    })
}

/// Compares without telling by time where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    use ring::digest::{SHA256, digest};
    let (a, b) = (digest(&SHA256, a), digest(&SHA256, b));
    a.as_ref().iter().zip(b.as_ref()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// The user as whom a request is to be carried out (`Impersonate-*` headers), unchecked: `None` for oneself.
pub(crate) fn impersonation(headers: &HeaderMap) -> Result<Option<User>> {
    let text = |value: &http::HeaderValue| {
        value.to_str().map(str::to_owned).map_err(|_| Error::bad_request("impersonation headers must be text"))
    };
    let user = headers.get("impersonate-user").map(text).transpose()?;
    let groups = headers.get_all("impersonate-group").iter().map(text).collect::<Result<Vec<_>>>()?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix("impersonate-extra-") {
            extra.entry(key.to_owned()).or_default().push(text(value)?);
        }
    }
    let uid = headers.get("impersonate-uid").map(text).transpose()?;
    let Some(name) = user.filter(|name| !name.is_empty()) else {
        if groups.is_empty() && extra.is_empty() && uid.is_none() {
            return Ok(None);
        }
        return Err(Error::bad_request("requested impersonation of groups or extra without impersonating a user"));
    };
    let mut user = if name == "system:anonymous" { User::anonymous() } else { User::new(name, groups.clone()) };
    if user.name == "system:anonymous" {
        user.groups.extend(groups.clone());
    }
    if groups.is_empty()
        && let Some(rest) = user.name.strip_prefix("system:serviceaccount:")
        && let Some((namespace, _)) = rest.split_once(':')
    {
        let of_namespace = format!("system:serviceaccounts:{namespace}");
        user.groups.extend(["system:serviceaccounts".to_owned(), of_namespace]);
    }
    user.uid = uid.unwrap_or_default();
    user.extra = extra;
    Ok(Some(user))
}
