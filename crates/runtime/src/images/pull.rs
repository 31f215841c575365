//! Pulling from a registry.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use oci_client::{
    Client, Reference as RegistryReference,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::OciDescriptor,
    secrets::RegistryAuth,
};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;

use super::{
    digest::Digest,
    import::check_layers,
    manifest::{
        CONFIG_BYTES, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Document, ImageDocument, MANIFEST_BYTES, Manifest,
        OCI_INDEX, OCI_MANIFEST, chain_ids, select_platform,
    },
    reference::Reference,
    store::{ImageStore, NewLayer},
};
use crate::{Error, Image, ImageOrigin, PullCredentials, error::IoContext};

/// Layers that are downloaded at the same time.
const DOWNLOADS: usize = 3;
/// Longest silence of a registry.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Pulls an image; see [`crate::ContainerRuntime::pull`].
pub(crate) async fn pull(
    store: &Arc<ImageStore>,
    reference: &str,
    credentials: &[PullCredentials],
) -> Result<Image, Error> {
    let parsed = Reference::parse(reference)?;
    let deadline = store.limits().pull_deadline;
    let failed = |message: String| Error::Pull { reference: reference.to_owned(), message };
    match tokio::time::timeout(deadline, pull_parsed(store, &parsed, credentials)).await {
        Ok(Ok(image)) => Ok(image),
        Ok(Err(error)) => Err(failed(error.chain())),
        Err(_) => Err(failed(format!("it was not complete after {} s", deadline.as_secs()))),
    }
}

/// A connection to one repository.
struct Source {
    client: Client,
    reference: RegistryReference,
    auth: RegistryAuth,
}

async fn pull_parsed(
    store: &Arc<ImageStore>,
    parsed: &Reference,
    credentials: &[PullCredentials],
) -> Result<Image, Error> {
    let attempts = credentials
        .iter()
        .map(|credentials| RegistryAuth::Basic(credentials.username.clone(), credentials.password.clone()))
        .chain([RegistryAuth::Anonymous]);
    let mut refusal = None;
    for auth in attempts {
        let source = Source::new(parsed, auth);
        match source.manifest(&source.reference).await {
            Ok(bytes) => return source.pull(store, parsed, bytes).await,
            // The first refusal is about the first credentials, which the user most likely means.
            Err(error) => {
                refusal.get_or_insert(error);
            }
        }
    }
    Err(refusal.unwrap_or_else(|| Error::image("the registry was not asked")))
}

impl Source {
    fn new(parsed: &Reference, auth: RegistryAuth) -> Self {
        let protocol = if parsed.is_insecure() { ClientProtocol::Http } else { ClientProtocol::Https };
        let client = Client::new(ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("lotse/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        let (registry, repository) = (parsed.registry.clone(), parsed.repository.clone());
        let reference = match (&parsed.digest, &parsed.tag) {
            (Some(digest), _) => RegistryReference::with_digest(registry, repository, digest.to_string()),
            (None, tag) => {
                RegistryReference::with_tag(registry, repository, tag.clone().unwrap_or_else(|| "latest".into()))
            }
        };
        Self { client, reference, auth }
    }

    async fn manifest(&self, reference: &RegistryReference) -> Result<Vec<u8>, Error> {
        let accepted = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
        let (bytes, _) = self.client.pull_manifest_raw(reference, &self.auth, &accepted).await.map_err(sentence)?;
        if bytes.len() as u64 > MANIFEST_BYTES {
            return Err(Error::image(format!("the manifest is larger than {MANIFEST_BYTES} bytes")));
        }
        Ok(bytes.to_vec())
    }

    async fn pull(&self, store: &Arc<ImageStore>, parsed: &Reference, bytes: Vec<u8>) -> Result<Image, Error> {
        let top = Digest::of(&bytes);
        if let Some(wanted) = &parsed.digest
            && *wanted != top
        {
            return Err(Error::image(format!("the registry sent {top} instead of {wanted}")));
        }
        let names: Vec<String> = parsed.tagged().into_iter().collect();
        let digest = format!("{}@{top}", parsed.name());
        if let Some(image) = store.adopt_digest(&top, &names, &digest)? {
            return Ok(image);
        }
        let mut digests = vec![digest];
        let manifest = match Document::parse(&bytes, None)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(entries) => {
                let entry = select_platform(&entries)?;
                let reference = RegistryReference::with_digest(
                    self.reference.registry().to_owned(),
                    self.reference.repository().to_owned(),
                    entry.digest.to_string(),
                );
                let bytes = self.manifest(&reference).await?;
                if Digest::of(&bytes) != entry.digest {
                    return Err(Error::image(format!("the registry sent something else for {}", entry.digest)));
                }
                digests.push(format!("{}@{}", parsed.name(), entry.digest));
                match Document::parse(&bytes, Some(&entry.media_type))? {
                    Document::Manifest(manifest) => manifest,
                    Document::Index(_) => return Err(Error::image("an index points at another index")),
                }
            }
        };
        self.content(store, &manifest, &names, &digests).await
    }

    async fn content(
        &self,
        store: &Arc<ImageStore>,
        manifest: &Manifest,
        names: &[String],
        digests: &[String],
    ) -> Result<Image, Error> {
        if manifest.config.size > CONFIG_BYTES {
            return Err(Error::image(format!("the image configuration is larger than {CONFIG_BYTES} bytes")));
        }
        let file = self.download(store, &manifest.config).await?;
        let configuration = tokio::fs::read(&file.0).await.context(|| "reading the image configuration")?;
        let document = ImageDocument::parse(&configuration)?;
        let diff_ids = &document.rootfs.diff_ids;
        check_layers(store, manifest.layers.len(), diff_ids.len())?;
        let chain = chain_ids(diff_ids);
        let _pins = store.pin(&chain);
        let is_missing = |position: usize| chain.get(position).is_none_or(|link| !store.has_layer(link));
        let missing: Vec<(usize, Descriptor)> =
            manifest.layers.iter().cloned().enumerate().filter(|(position, _)| is_missing(*position)).collect();
        let mut downloads = stream::iter(missing)
            .map(|(position, layer)| async move {
                let file = self.download(store, &layer).await?;
                Ok::<_, Error>((position, layer, file))
            })
            .buffered(DOWNLOADS);
        while let Some((position, layer, file)) = downloads.try_next().await? {
            let Some(diff_id) = diff_ids.get(position).cloned() else { continue };
            let (store, chain, compressed_bytes) = (Arc::clone(store), chain.clone(), layer.size);
            tokio::task::spawn_blocking(move || {
                let source = std::fs::File::open(&file.0).context(|| "reading a downloaded layer")?;
                let layer = NewLayer { chain: &chain, position, diff_id: &diff_id, compressed_bytes };
                store.add_layer(&layer, std::io::BufReader::with_capacity(256 << 10, source))
            })
            .await
            .map_err(|error| Error::image(format!("unpacking stopped: {error}")))??;
        }
        store.commit(&configuration, &document, names, digests, ImageOrigin::Pulled)
    }

    /// Downloads a blob into a temporary file; its length and digest are right afterwards.
    async fn download(&self, store: &ImageStore, descriptor: &Descriptor) -> Result<TemporaryFile, Error> {
        if descriptor.size > store.limits().layer_bytes {
            return Err(Error::image(format!(
                "{} has {} bytes; at most {} are accepted",
                descriptor.digest,
                descriptor.size,
                store.limits().layer_bytes
            )));
        }
        let wanted = OciDescriptor {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.to_string(),
            size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        let file = TemporaryFile(store.temporary());
        let writing = || format!("writing {}", file.0.display());
        let mut output = tokio::fs::File::create_new(&file.0).await.context(writing)?;
        let mut stream = self.client.pull_blob_stream(&self.reference, &wanted).await.map_err(sentence)?;
        let mut hasher = Sha256::new();
        let mut length = 0_u64;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.context(|| format!("downloading {}", descriptor.digest))?;
            length += chunk.len() as u64;
            if length > descriptor.size {
                return Err(Error::image(format!("{} is longer than the manifest says", descriptor.digest)));
            }
            hasher.update(&chunk);
            output.write_all(&chunk).await.context(writing)?;
        }
        output.flush().await.context(writing)?;
        if length != descriptor.size || Digest::finish(hasher) != descriptor.digest {
            return Err(Error::image(format!("what the registry sent for {} is something else", descriptor.digest)));
        }
        Ok(file)
    }
}

/// Deleted when dropped.
struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What went wrong, for the user.
fn sentence(error: OciDistributionError) -> Error {
    let message = match &error {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            "the registry refuses access; check the image name and imagePullSecrets".to_owned()
        }
        OciDistributionError::ImageManifestNotFoundError(_) => "not found in the registry".to_owned(),
        OciDistributionError::RegistryError { envelope, .. } => format!("the registry answers: {envelope}"),
        OciDistributionError::ServerError { code, .. } => format!("the registry answers with status {code}"),
        OciDistributionError::RequestError(request) => {
            let mut text = request.to_string();
            let mut source = std::error::Error::source(request);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            text
        }
        other => other.to_string(),
    };
    Error::Io { context: "asking the registry".into(), source: std::io::Error::other(message) }
}
