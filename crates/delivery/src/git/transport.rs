//! How Git speaks http: with names resolved to no address that is refused, and redirects only where they are wanted.

use std::{
    any::Any,
    sync::{Arc, Mutex},
};

use gix::protocol::transport::client::blocking_io::http::{
    Options, options::FollowRedirects, reqwest::Options as ReqwestOptions,
};

use super::describe;
use crate::{
    remotes::address::{self, CheckedNames},
    trust::Trust,
};

/// Options of a connection; none for what is not http.
pub(super) fn options(
    repository: &gix::Repository,
    url: &str,
    redirects: bool,
    trust: &Trust,
) -> Result<Option<Box<dyn Any>>, String> {
    let mut roots = Vec::new();
    if url.starts_with("http") {
        let parsed = reqwest::Url::parse(url).map_err(|error| format!("is not a URL: {error}"))?;
        address::check(&parsed)?;
        roots = trust.roots(parsed.host_str().unwrap_or_default())?;
    }
    let Some(mut options) = repository.transport_options(url, None).map_err(|error| describe(&error))? else {
        return Ok(None);
    };
    if let Some(options) = options.downcast_mut::<Options>() {
        if !redirects {
            options.follow_redirects = FollowRedirects::None;
        }
        let backend = ReqwestOptions {
            configure_client: Some(Box::new(move |client| {
                let client = client.dns_resolver(Arc::new(CheckedNames));
                Ok(if roots.is_empty() { client } else { client.tls_certs_merge(roots.clone()) })
            })),
            ..ReqwestOptions::default()
        };
        options.backend = Some(Arc::new(Mutex::new(backend)));
    }
    Ok(Some(options))
}
