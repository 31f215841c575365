//! `get`.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;

use super::{Call, object_response, view};
use crate::{server::Server, status::Result};

/// One object, always in its newest state.
pub(crate) fn get(server: &Arc<Server>, call: &Call) -> Result<Response> {
    let target = &call.target;
    let entry = server
        .store
        .get(&call.resource.key(&target.namespace, &target.name))
        .ok_or_else(|| call.resource.not_found(&target.name))?;
    object_response(call, StatusCode::OK, view(&call.resource, &entry.value)?)
}
