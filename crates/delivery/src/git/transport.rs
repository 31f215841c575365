//! How Git speaks http: with names resolved to no address that is refused, and redirects only where they are wanted.

use std::{
    any::Any,
    sync::{Arc, Mutex},
};

use gix::protocol::transport::client::blocking_io::http::{
    Options, options::FollowRedirects, reqwest::Options as ReqwestOptions,
};

use super::describe;
use crate::remotes::address::{self, CheckedNames};

/// Options of a connection; none for what is not http.
pub(super) fn options(
    repository: &gix::Repository,
    url: &str,
    redirects: bool,
) -> Result<Option<Box<dyn Any>>, String> {
    if url.starts_with("http") {
        let parsed = reqwest::Url::parse(url).map_err(|error| format!("is not a URL: {error}"))?;
        address::check(&parsed)?;
    }
    let Some(mut options) = repository.transport_options(url, None).map_err(|error| describe(&error))? else {
        return Ok(None);
    };
    if let Some(options) = options.downcast_mut::<Options>() {
        if !redirects {
            options.follow_redirects = FollowRedirects::None;
        }
        let backend = ReqwestOptions {
            configure_client: Some(Box::new(|client| Ok(client.dns_resolver(Arc::new(CheckedNames))))),
            ..ReqwestOptions::default()
        };
        options.backend = Some(Arc::new(Mutex::new(backend)));
    }
    Ok(Some(options))
}
