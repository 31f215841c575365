//! `/images` of the kubelet's HTTP interface: what `lotse image` does, reachable through `nodes/<name>/proxy` with the rights
//! that this takes.

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::StreamExt;
use lotse_runtime::Error;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::{error::chain, pods::Shared};

/// Larger archives are refused.
const MAX_ARCHIVE_BYTES: u64 = 16 << 30;

#[derive(Deserialize)]
struct Parameters {
    /// Name or id of the image.
    name: Option<String>,
    /// Image configuration as JSON; with it the archive is a plain root file system.
    config: Option<String>,
}

/// GET lists, POST imports the archive in the body, DELETE removes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new().route("/images", get(list).post(import).delete(remove)).with_state(shared)
}

async fn list(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.runtime.images()).into_response()
}

async fn import(State(shared): State<Arc<Shared>>, Query(parameters): Query<Parameters>, body: Body) -> Response {
    let config = match parameters.config.as_deref().map(serde_json::from_str).transpose() {
        Ok(config) => config,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("config is not JSON: {error}")),
    };
    let archive = match Archive::receive(&shared.config.root.join("incoming"), body).await {
        Ok(archive) => archive,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, message),
    };
    let imported = shared.runtime.import(&archive.path, parameters.name.as_deref(), config).await;
    match imported {
        Ok(images) => {
            shared.retry_pulls();
            Json(images).into_response()
        }
        Err(error) => failure(&error),
    }
}

async fn remove(State(shared): State<Arc<Shared>>, Query(parameters): Query<Parameters>) -> Response {
    let Some(name) = parameters.name else {
        return refuse(StatusCode::BAD_REQUEST, "name is missing: give the name or the id of an image");
    };
    match shared.runtime.remove_image(&name).await {
        Ok(()) => Json(json!({})).into_response(),
        Err(error) => failure(&error),
    }
}

fn failure(error: &Error) -> Response {
    let status = match error {
        Error::ImageNotFound { .. } => StatusCode::NOT_FOUND,
        Error::ImageInUse { .. } => StatusCode::CONFLICT,
        Error::InvalidImage { .. } | Error::InvalidInput { .. } => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refuse(status, chain(error))
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({"message": message.into()}))).into_response()
}

/// An archive that is being received; the file goes with the value.
struct Archive {
    path: PathBuf,
}

impl Archive {
    async fn receive(directory: &std::path::Path, body: Body) -> Result<Self, String> {
        let text = |error: std::io::Error| format!("the archive could not be stored: {error}");
        tokio::fs::create_dir_all(directory).await.map_err(text)?;
        let archive = Self { path: directory.join(uuid::Uuid::new_v4().to_string()) };
        let mut file = tokio::fs::File::create(&archive.path).await.map_err(text)?;
        let (mut chunks, mut received) = (body.into_data_stream(), 0u64);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| format!("the archive did not arrive whole: {error}"))?;
            received += chunk.len() as u64;
            if received > MAX_ARCHIVE_BYTES {
                return Err(format!("the archive is larger than {} GiB", MAX_ARCHIVE_BYTES >> 30));
            }
            file.write_all(&chunk).await.map_err(text)?;
        }
        file.flush().await.map_err(text)?;
        if received == 0 {
            return Err("the archive is empty".to_owned());
        }
        Ok(archive)
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // What a crash leaves here is removed at the next start, with the directory.
        let _ = std::fs::remove_file(&self.path);
    }
}
