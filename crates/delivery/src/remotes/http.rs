//! GET over http and https with limits: size, time, redirects, addresses, and where credentials go.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{
    Client, ClientBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION},
    redirect::Policy,
};

use super::address::{self, CheckedNames};
use crate::{
    Error,
    git::{Credentials, describe, redacted},
    trust::Trust,
};

/// Redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of a server.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer to one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// A client and what drives it; blocking.
pub(super) struct Web {
    /// `None` only while it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
    client: Client,
    trust: Trust,
}

/// What is wanted.
pub(super) struct Get<'a> {
    pub(super) url: &'a str,
    /// The value of `Authorization`; it goes to this URL's host only.
    pub(super) authorization: Option<String>,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Bytes of the body.
    pub(super) limit: u64,
    /// When the whole session is over.
    pub(super) deadline: Instant,
}

/// What came.
pub(super) struct Got {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

// === impl Got ===

impl Got {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)?.to_str().ok().map(str::to_owned)
    }
}

// === impl Web ===

impl Web {
    pub(super) fn new(trust: Trust) -> Result<Self, Error> {
        let failed = |message: String| Error::Repository { url: "(http)".to_owned(), message };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            runtime: Some(runtime.map_err(|error| failed(error.to_string()))?),
            client: client_builder().build().map_err(|error| failed(describe(&error)))?,
            trust,
        })
    }

    /// The client for a host; one of its own where other authorities count.
    fn client(&self, url: &Url) -> Result<Client, String> {
        let roots = self.trust.roots(url.host_str().unwrap_or_default())?;
        if roots.is_empty() {
            return Ok(self.client.clone());
        }
        client_builder().tls_certs_merge(roots).build().map_err(|error| describe(&error))
    }

    /// The answer with its body, whatever its status.
    pub(super) fn get(&self, get: &Get<'_>) -> Result<Got, Error> {
        self.within(get, async {
            let (response, _) = self.follow(get).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok(Got { status, headers, body: body(response, get.limit).await? })
        })
    }

    /// Where the redirects of a URL end. The body is not read.
    pub(super) fn location(&self, get: &Get<'_>) -> Result<Url, Error> {
        self.within(get, async { self.follow(get).await.map(|(_, url)| url) })
    }

    fn within<T>(&self, get: &Get<'_>, work: impl Future<Output = Result<T, String>>) -> Result<T, Error> {
        let failed = |message: String| Error::Repository { url: redacted(get.url), message };
        let Some(runtime) = &self.runtime else { return Err(failed("the client is closed".to_owned())) };
        let left = get.deadline.saturating_duration_since(Instant::now()).min(REQUEST_TIMEOUT);
        match runtime.block_on(async { tokio::time::timeout(left, work).await }) {
            Ok(done) => done.map_err(failed),
            Err(_) => Err(failed(format!("it was not complete after {} s", left.as_secs()))),
        }
    }

    /// Sends the request, and again where it is redirected to.
    async fn follow(&self, get: &Get<'_>) -> Result<(Response, Url), String> {
        let mut url = Url::parse(get.url).map_err(|error| format!("is no URL: {error}"))?;
        let mut authorization = get.authorization.clone().or_else(|| take_user(&mut url));
        for _ in 0..=MAX_REDIRECTS {
            address::check(&url)?;
            let mut request = self.client(&url)?.get(url.clone());
            for (name, value) in &get.headers {
                request = request.header(*name, value);
            }
            if let Some(authorization) = &authorization {
                if url.scheme() != "https" && !address::is_loopback(&url) {
                    return Err("credentials are not sent over plain http; use https".to_owned());
                }
                let mut value = HeaderValue::from_str(authorization)
                    .map_err(|_| "the credentials have characters that a header cannot carry".to_owned())?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            let response = request.send().await.map_err(|error| describe(&error.without_url()))?;
            let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
            let Some(location) = location else { return Ok((response, url)) };
            let location = location.to_str().map_err(|_| "it redirects to something that is no URL".to_owned())?;
            let mut next = url.join(location).map_err(|_| "it redirects to something that is no URL".to_owned())?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(format!("it redirects from https to {}, which is refused", next.scheme()));
            }
            // What a redirect says about users is not ours.
            let _ = take_user(&mut next);
            if next.origin() != url.origin() {
                authorization = None;
            }
            url = next;
        }
        Err(format!("it redirects more than {MAX_REDIRECTS} times"))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // A name that is still being resolved is nobody's concern any more.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn client_builder() -> ClientBuilder {
    Client::builder()
        .dns_resolver(Arc::new(CheckedNames))
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("lotse/", env!("CARGO_PKG_VERSION")))
}

async fn body(mut response: Response, limit: u64) -> Result<Vec<u8>, String> {
    let too_long = || format!("it is longer than {limit} bytes");
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_long());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error.without_url()))? {
        if body.len() as u64 + chunk.len() as u64 > limit {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Takes `user:password@` out of a URL, as the value of `Authorization`.
pub(super) fn take_user(url: &mut Url) -> Option<String> {
    let (user, password) = (url.username().to_owned(), url.password().unwrap_or_default().to_owned());
    let _ = url.set_username("");
    let _ = url.set_password(None);
    (!user.is_empty() || !password.is_empty()).then(|| basic(&decoded(&user), &decoded(&password)))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match code.filter(|_| *first == b'%').and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The value of `Authorization` for a user and a password.
fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// The value of `Authorization` for what a Secret says; keys for ssh are nothing to http.
pub(super) fn authorization(credentials: Option<&Credentials>) -> Option<String> {
    match credentials? {
        Credentials::Password { username, password } => Some(basic(username, password)),
        Credentials::SshKey(_) => None,
    }
}
