//! `lotse image`: through the API server to the node, so that it works wherever kubectl works.

use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::{Client, connect::Connect},
    rt::TokioExecutor,
};
use kube::client::ConfigExt;
use lotse_runtime::Image as ImageRecord;
use serde_json::{Map, Value, json};
use tokio_util::io::ReaderStream;

use crate::{
    cli::{Image, ImageImport, ImageLoad},
    client,
    exit::{Failure, Kind},
    output::{self, Format},
    profile::Profile,
};

/// An archive of any size, sent as it is read.
type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The node's kubelet endpoint, through the API server. The Kubernetes client cannot stream a request's body.
struct Kubelet<C> {
    client: Client<C, Body>,
    server: Uri,
}

pub(crate) async fn run(profile: &Profile, command: Image) -> Result<(), Failure> {
    let config = client::config(profile).await?;
    let connector = config.rustls_https_connector().map_err(|error| Failure::from_error("connection", &error))?;
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let client = &Kubelet { client, server: config.cluster_url };
    match command {
        Image::Import(arguments) => import(client, &arguments).await,
        Image::Load(arguments) => load(client, &arguments).await,
        Image::Ls(arguments) => list(client, arguments.output).await,
        Image::Rm(arguments) => {
            for image in &arguments.images {
                let query = query(&[("name", image)]);
                client.request(Method::DELETE, &format!("images?{query}"), empty()).await?;
                output::print(&format!("removed {image}"))?;
            }
            Ok(())
        }
    }
}

async fn import(client: &Kubelet<impl Transport>, arguments: &ImageImport) -> Result<(), Failure> {
    let mut config: Map<String, Value> = match &arguments.config {
        Some(path) => {
            let text = std::fs::read(path).map_err(|error| Failure::from_error(path.display(), &error))?;
            serde_json::from_slice(&text).map_err(|error| Failure::from_error(path.display(), &error))?
        }
        None => Map::new(),
    };
    let lists = [("Entrypoint", &arguments.entrypoint), ("Cmd", &arguments.cmd), ("Env", &arguments.env)];
    for (field, words) in lists.into_iter().filter(|(_, words)| !words.is_empty()) {
        config.insert(field.to_owned(), json!(words));
    }
    for (field, value) in [("User", &arguments.user), ("WorkingDir", &arguments.workdir)] {
        if let Some(value) = value {
            config.insert(field.to_owned(), json!(value));
        }
    }
    let config = Value::Object(config).to_string();
    send_archive(client, &arguments.file, &[("name", &arguments.name), ("config", &config)]).await
}

async fn load(client: &Kubelet<impl Transport>, arguments: &ImageLoad) -> Result<(), Failure> {
    let name = arguments.name.as_deref().map(|name| ("name", name));
    send_archive(client, &arguments.file, name.as_slice()).await
}

async fn send_archive(
    client: &Kubelet<impl Transport>,
    path: &Path,
    parameters: &[(&str, &str)],
) -> Result<(), Failure> {
    let failure = |error: std::io::Error| Failure::from_error(path.display(), &error);
    let file = tokio::fs::File::open(path).await.map_err(failure)?;
    let stream = ReaderStream::with_capacity(file, 256 * 1024);
    let frames = futures::StreamExt::map(stream, |chunk| chunk.map(http_body::Frame::data));
    let body = BodyExt::boxed_unsync(StreamBody::new(frames));
    let answer = client.request(Method::POST, &format!("images?{}", query(parameters)), body).await;
    let answer = answer.map_err(|failure| failure.about(path.display()))?;
    let images: Vec<ImageRecord> =
        serde_json::from_slice(&answer).map_err(|error| Failure::from_error("the node's answer", &error))?;
    for image in images {
        output::print(&format!("imported {} ({})", image.names.join(", "), megabytes(image.size_bytes)))?;
    }
    Ok(())
}

async fn list(client: &Kubelet<impl Transport>, format: Format) -> Result<(), Failure> {
    let answer = client.request(Method::GET, "images", empty()).await?;
    let images: Vec<ImageRecord> =
        serde_json::from_slice(&answer).map_err(|error| Failure::from_error("the node's answer", &error))?;
    format.print(&images, || {
        let rows: Vec<Vec<String>> = images
            .iter()
            .flat_map(|image| {
                let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
                let names = if image.names.is_empty() { vec!["<none>".to_owned()] } else { image.names.clone() };
                names.into_iter().map(move |name| vec![name, id.clone(), megabytes(image.size_bytes)])
            })
            .collect();
        output::table(&["IMAGE", "ID", "SIZE"], &rows)
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn query(parameters: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    text
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// What a connector must be able to do.
trait Transport: Connect + Clone + Send + Sync + 'static {}

impl<C: Connect + Clone + Send + Sync + 'static> Transport for C {}

impl<C: Transport> Kubelet<C> {
    async fn request(&self, method: Method, path: &str, body: Body) -> Result<Bytes, Failure> {
        let server = self.server.to_string();
        let uri = format!("{}/api/v1/nodes/{}/proxy/{path}", server.trim_end_matches('/'), crate::daemon::NODE_NAME);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(http::header::CONTENT_TYPE, "application/octet-stream")
            .body(body)
            .map_err(|error| Failure::from_error("request", &error))?;
        let response = self.client.request(request).await.map_err(|error| {
            Failure::new(Kind::Unreachable, format!("image: {}", crate::exit::chain(&error)))
                .with_hint("is the cluster running? `lotse status` tells")
        })?;
        let status = response.status();
        let body =
            response.into_body().collect().await.map_err(|error| Failure::from_error("the node's answer", &error))?;
        let bytes = body.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        let message = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| value["message"].as_str().map(str::to_owned))
            .unwrap_or_else(|| text.trim().to_owned());
        let kind = if status.as_u16() == 404 { Kind::NotFound } else { Kind::Failed };
        Err(Failure::new(kind, message))
    }
}

#[cfg(test)]
mod tests {
    use super::query;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(query(&[("name", "a/b:v1"), ("x", "ä&=")]), "name=a%2Fb%3Av1&x=%C3%A4%26%3D");
    }
}
