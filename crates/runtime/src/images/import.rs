//! Importing image archives: OCI layout, `docker save`, plain root file system.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    compression::decompress,
    digest::{Digest, HashingReader},
    manifest::{self, CONFIG_BYTES, Descriptor, Document, ImageDocument, MANIFEST_BYTES, chain_ids, select_platform},
    reference::Reference,
    store::{ImageStore, NewLayer},
};
use crate::{Error, Image, ImageOrigin, error::IoContext};

/// Annotations that name an image in an OCI layout, the fuller one first.
const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
/// Most files an image archive may list (layers and documents, not what is in the layers).
const MEMBERS: usize = 100_000;

/// Imports an archive. Blocks; see [`crate::ContainerRuntime::import`].
pub(crate) fn import(
    store: &ImageStore,
    path: &Path,
    name: Option<&str>,
    config: Option<Value>,
) -> Result<Vec<Image>, Error> {
    let name = name.map(Reference::parse).transpose()?;
    if name.as_ref().is_some_and(|name| name.digest.is_some()) {
        return Err(Error::InvalidInput { message: "an imported image is named by a tag, not by a digest".into() });
    }
    let plain = plain_archive(store, path)?;
    let members = Members::list(&plain, store)?;
    match members {
        Some(mut archive) if archive.has("manifest.json") => {
            refuse_config(config.as_ref())?;
            import_docker(store, &mut archive, name.as_ref())
        }
        Some(mut archive) if archive.has("oci-layout") && archive.has("index.json") => {
            refuse_config(config.as_ref())?;
            import_layout(store, &mut archive, name.as_ref())
        }
        _ => {
            let name = name.ok_or_else(|| {
                Error::image(
                    "the archive holds neither index.json nor manifest.json; a plain root file system needs a name",
                )
            })?;
            import_root(store, path, &plain, &name, config).map(|image| vec![image])
        }
    }
}

fn refuse_config(config: Option<&Value>) -> Result<(), Error> {
    match config {
        None => Ok(()),
        Some(_) => Err(Error::InvalidInput {
            message: "config is only for plain root file systems; this archive holds its own".into(),
        }),
    }
}

/// The archive as a seekable, uncompressed file; a temporary one without a name when it was compressed.
fn plain_archive(store: &ImageStore, path: &Path) -> Result<File, Error> {
    let reading = || format!("reading {}", path.display());
    let mut file = File::open(path).context(reading)?;
    let mut magic = [0; 4];
    let count = file.read(&mut magic).context(reading)?;
    file.rewind().context(reading)?;
    let compressed = matches!(magic.get(..count), Some([0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]));
    if !compressed {
        return Ok(file);
    }
    let limits = store.limits();
    let length = file.metadata().context(reading)?.len();
    let most = limits.unpacked_bytes.min(length.saturating_mul(limits.ratio).saturating_add(64 << 20));
    let temporary = store.temporary();
    let mut plain = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&temporary)
        .context(|| format!("creating {}", temporary.display()))?;
    std::fs::remove_file(&temporary).context(|| format!("unlinking {}", temporary.display()))?;
    let source = decompress(BufReader::new(file)).context(reading)?;
    let copied = io::copy(&mut source.take(most + 1), &mut plain).context(reading)?;
    if copied > most {
        return Err(Error::image(format!("{} unpacks to more than {most} bytes", path.display())));
    }
    plain.flush().context(reading)?;
    plain.rewind().context(reading)?;
    Ok(plain)
}

/// The files of an image archive, by name.
struct Members {
    file: File,
    places: HashMap<String, (u64, u64)>,
    links: HashMap<String, String>,
}

impl Members {
    /// Lists an image archive; `None` when it looks like a root file system.
    fn list(file: &File, store: &ImageStore) -> Result<Option<Self>, Error> {
        let file = file.try_clone().context(|| "reading the archive")?;
        let mut members = Self { file, places: HashMap::new(), links: HashMap::new() };
        let mut reader = members.file.try_clone().context(|| "reading the archive")?;
        reader.rewind().context(|| "reading the archive")?;
        let mut archive = tar::Archive::new(reader);
        let entries =
            archive.entries_with_seek().map_err(|error| Error::image(format!("it is not a tar archive: {error}")))?;
        for (count, entry) in entries.enumerate() {
            // The reader repeats the bytes that it could not make sense of.
            let entry = entry.map_err(|_| Error::image("it is not a tar archive, or it is damaged".to_owned()))?;
            if count >= MEMBERS || count as u64 >= store.limits().entries {
                return Ok(None);
            }
            let Some(name) = normalize("", &String::from_utf8_lossy(&entry.path_bytes())) else { continue };
            let kind = entry.header().entry_type();
            if kind == tar::EntryType::Regular {
                members.places.insert(name, (entry.raw_file_position(), entry.size()));
            } else if let (tar::EntryType::Symlink | tar::EntryType::Link, Some(target)) =
                (kind, entry.link_name_bytes())
            {
                // Old `docker save` links equal layers to each other, relative to the link's directory.
                let base = if kind == tar::EntryType::Symlink {
                    name.rsplit_once('/').map_or("", |(base, _)| base)
                } else {
                    ""
                };
                if let Some(target) = normalize(base, &String::from_utf8_lossy(&target)) {
                    members.links.insert(name, target);
                }
            }
        }
        Ok(Some(members))
    }

    fn place(&self, name: &str) -> Option<(u64, u64)> {
        self.places.get(name).or_else(|| self.links.get(name).and_then(|target| self.places.get(target))).copied()
    }

    fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    fn open(&mut self, name: &str) -> Result<(impl Read, u64), Error> {
        let (position, length) =
            self.place(name).ok_or_else(|| Error::image(format!("{name} is missing in the archive")))?;
        let mut file = self.file.try_clone().context(|| "reading the archive")?;
        file.seek(SeekFrom::Start(position)).context(|| "reading the archive")?;
        Ok((BufReader::with_capacity(256 << 10, file.take(length)), length))
    }

    fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        let (mut reader, length) = self.open(name)?;
        if length > most {
            return Err(Error::image(format!("{name} is larger than {most} bytes")));
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).context(|| format!("reading {name}"))?;
        Ok(bytes)
    }

    /// Reads a small blob of an OCI layout and checks its digest.
    fn blob(&mut self, descriptor: &Descriptor, most: u64) -> Result<Vec<u8>, Error> {
        let bytes = self.read(&blob_name(&descriptor.digest), most)?;
        if Digest::of(&bytes) != descriptor.digest {
            return Err(Error::image(format!("the content of {} has another digest", descriptor.digest)));
        }
        Ok(bytes)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A member's name without `.` and `..`; `None` if it leads out of the archive or is empty.
fn normalize(base: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn import_layout(store: &ImageStore, archive: &mut Members, rename: Option<&Reference>) -> Result<Vec<Image>, Error> {
    let index = archive.read("index.json", MANIFEST_BYTES)?;
    let Document::Index(entries) = Document::parse(&index, None)? else {
        return Err(Error::image("index.json is not an index"));
    };
    // One image for several platforms may be listed flat; then only ours counts.
    let mut by_name: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
    for entry in entries {
        let name = NAME_ANNOTATIONS.iter().find_map(|key| entry.annotations.get(*key)).cloned();
        by_name.entry(name).or_default().push(entry);
    }
    if by_name.is_empty() {
        return Err(Error::image("index.json lists no image"));
    }
    if rename.is_some() && by_name.len() > 1 {
        return Err(Error::image("the archive holds several images, so one name does not fit them"));
    }
    let mut images = Vec::new();
    for (name, entries) in by_name {
        let reference = match (rename, &name) {
            (Some(rename), _) => Some(rename.clone()),
            // A bare tag, as the OCI specification allows, names nothing by itself.
            (None, Some(name)) if name.contains(['/', ':']) => Some(Reference::parse(name)?),
            _ => None,
        };
        let mut descriptor = select_platform(&entries)?.clone();
        let mut bytes = archive.blob(&descriptor, MANIFEST_BYTES)?;
        let mut document = Document::parse(&bytes, Some(&descriptor.media_type))?;
        if let Document::Index(inner) = &document {
            descriptor = select_platform(inner)?.clone();
            bytes = archive.blob(&descriptor, MANIFEST_BYTES)?;
            document = Document::parse(&bytes, Some(&descriptor.media_type))?;
        }
        let Document::Manifest(manifest) = document else {
            return Err(Error::image("an index points at an index that points at an index"));
        };
        let configuration = archive.blob(&manifest.config, CONFIG_BYTES)?;
        let layers: Vec<(String, Option<Digest>)> =
            manifest.layers.iter().map(|layer| (blob_name(&layer.digest), Some(layer.digest.clone()))).collect();
        let names: Vec<String> = reference.iter().filter_map(Reference::tagged).collect();
        let digests: Vec<String> =
            reference.iter().map(|reference| format!("{}@{}", reference.name(), Digest::of(&bytes))).collect();
        images.push(add(store, archive, &configuration, &layers, &names, &digests)?);
    }
    Ok(images)
}

/// One entry of `docker save`'s `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

fn import_docker(store: &ImageStore, archive: &mut Members, rename: Option<&Reference>) -> Result<Vec<Image>, Error> {
    let bytes = archive.read("manifest.json", MANIFEST_BYTES)?;
    let saved: Vec<Saved> =
        serde_json::from_slice(&bytes).map_err(|error| Error::image(format!("manifest.json: {error}")))?;
    if rename.is_some() && saved.len() > 1 {
        return Err(Error::image("the archive holds several images, so one name does not fit them"));
    }
    let mut images = Vec::new();
    for image in saved {
        let config = normalize("", &image.config).ok_or_else(|| Error::image("manifest.json: Config is empty"))?;
        let configuration = archive.read(&config, CONFIG_BYTES)?;
        let names = match rename {
            Some(rename) => rename.tagged().into_iter().collect(),
            None => {
                let tags = image.repo_tags.unwrap_or_default();
                let parsed: Vec<Reference> = tags.iter().map(|tag| Reference::parse(tag)).collect::<Result<_, _>>()?;
                parsed.iter().filter_map(Reference::tagged).collect::<Vec<_>>()
            }
        };
        let layers: Vec<(String, Option<Digest>)> = image
            .layers
            .iter()
            .map(|layer| normalize("", layer).map(|layer| (layer, None)))
            .collect::<Option<_>>()
            .ok_or_else(|| Error::image("manifest.json: a layer's path leaves the archive"))?;
        images.push(add(store, archive, &configuration, &layers, &names, &[])?);
    }
    if images.is_empty() {
        return Err(Error::image("manifest.json lists no image"));
    }
    Ok(images)
}

fn add(
    store: &ImageStore,
    archive: &mut Members,
    configuration: &[u8],
    layers: &[(String, Option<Digest>)],
    names: &[String],
    digests: &[String],
) -> Result<Image, Error> {
    let document = ImageDocument::parse(configuration)?;
    let diff_ids = &document.rootfs.diff_ids;
    check_layers(store, layers.len(), diff_ids.len())?;
    let chain = chain_ids(diff_ids);
    let _pins = store.pin(&chain);
    for (position, (diff_id, (member, digest))) in diff_ids.iter().zip(layers).enumerate() {
        if chain.get(position).is_some_and(|link| store.has_layer(link)) {
            continue;
        }
        if let Some(digest) = digest {
            let (reader, length) = archive.open(member)?;
            let (found, _) = HashingReader::new(reader, length).finish().context(|| format!("reading {member}"))?;
            if found != *digest {
                return Err(Error::image(format!("the content of {digest} has another digest")));
            }
        }
        let (reader, compressed_bytes) = archive.open(member)?;
        store.add_layer(&NewLayer { chain: &chain, position, diff_id, compressed_bytes }, reader)?;
    }
    store.commit(configuration, &document, names, digests, ImageOrigin::Imported)
}

/// Refuses an image whose manifest and configuration disagree, or that has too many layers.
pub(crate) fn check_layers(store: &ImageStore, layers: usize, diff_ids: usize) -> Result<(), Error> {
    if layers != diff_ids {
        return Err(Error::image(format!("the manifest lists {layers} layers, the image configuration {diff_ids}")));
    }
    if layers > store.limits().layers {
        return Err(Error::image(format!("it has {layers} layers; at most {} are possible", store.limits().layers)));
    }
    Ok(())
}

fn import_root(
    store: &ImageStore,
    path: &Path,
    plain: &File,
    name: &Reference,
    config: Option<Value>,
) -> Result<Image, Error> {
    let reading = || format!("reading {}", path.display());
    let config = config.unwrap_or_else(|| json!({}));
    let _: manifest::ImageConfig = serde_json::from_value(config.clone()).map_err(|error| Error::InvalidInput {
        message: format!("config is not an image configuration's config object: {error}"),
    })?;
    let mut file = plain.try_clone().context(reading)?;
    file.rewind().context(reading)?;
    let length = file.metadata().context(reading)?.len();
    let (diff_id, _) =
        HashingReader::new(BufReader::with_capacity(256 << 10, file), length).finish().context(reading)?;
    let configuration = json!({
        "architecture": manifest::architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id.as_str()]},
    })
    .to_string();
    let document = ImageDocument::parse(configuration.as_bytes())?;
    let chain = chain_ids(&document.rootfs.diff_ids);
    let _pins = store.pin(&chain);
    let mut file = plain.try_clone().context(reading)?;
    file.rewind().context(reading)?;
    let layer = NewLayer { chain: &chain, position: 0, diff_id: &diff_id, compressed_bytes: length };
    store.add_layer(&layer, BufReader::with_capacity(256 << 10, file))?;
    let names: Vec<String> = name.tagged().into_iter().collect();
    store.commit(configuration.as_bytes(), &document, &names, &[], ImageOrigin::Imported)
}
