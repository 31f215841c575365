//! Manifests, indexes and configurations, read strictly.

use serde::Deserialize;
use serde_json::Value;

use super::digest::Digest;
use crate::Error;

/// Largest manifest or index; the distribution specification recommends that registries take at least 4 MiB.
pub(crate) const MANIFEST_BYTES: u64 = 4 << 20;
/// Largest image configuration.
pub(crate) const CONFIG_BYTES: u64 = 8 << 20;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A document a digest can lead to.
#[derive(Debug, PartialEq)]
pub(crate) enum Document {
    /// Points at one manifest per platform.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest(Manifest),
}

/// One image: its configuration and layers, base first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// A pointer to content.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
}

impl Document {
    /// Reads a manifest or index. A document that could be taken for both is refused (CVE-2021-41190), and so is one whose
    /// `mediaType` contradicts `declared`, the type it was announced with.
    pub(crate) fn parse(bytes: &[u8], declared: Option<&str>) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| Error::image(format!("the manifest is not JSON: {error}")))?;
        let object = value.as_object().ok_or_else(|| Error::image("the manifest is not a JSON object"))?;
        if object.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
            return Err(Error::image("the manifest's schemaVersion is not 2"));
        }
        let has_manifest = object.contains_key("config") || object.contains_key("layers");
        let has_index = object.contains_key("manifests");
        if has_manifest == has_index {
            return Err(Error::image(if has_index {
                "the document has the fields of a manifest and of an index"
            } else {
                "the document is neither a manifest nor an index"
            }));
        }
        let own = match object.get("mediaType") {
            None => None,
            Some(Value::String(own)) => Some(own.as_str()),
            Some(_) => return Err(Error::image("the manifest's mediaType is not a string")),
        };
        let declared = declared.filter(|declared| !matches!(*declared, "" | "application/json" | "text/plain"));
        if let (Some(own), Some(declared)) = (own, declared)
            && own != declared
        {
            return Err(Error::image(format!("the manifest says it is {own:?} but was announced as {declared:?}")));
        }
        let allowed = if has_index { [OCI_INDEX, DOCKER_LIST] } else { [OCI_MANIFEST, DOCKER_MANIFEST] };
        if let Some(kind) = own.or(declared)
            && !allowed.contains(&kind)
        {
            return Err(Error::image(format!("the media type {kind:?} does not fit the document's fields")));
        }
        let part = |name: &str| object.get(name).cloned().unwrap_or(Value::Null);
        let invalid = |name: &str, error: serde_json::Error| Error::image(format!("the manifest's {name}: {error}"));
        if has_index {
            return serde_json::from_value(part("manifests"))
                .map(Self::Index)
                .map_err(|error| invalid("manifests", error));
        }
        Ok(Self::Manifest(Manifest {
            config: serde_json::from_value(part("config")).map_err(|error| invalid("config", error))?,
            layers: serde_json::from_value(part("layers")).map_err(|error| invalid("layers", error))?,
        }))
    }
}

/// The architecture of this machine in the words of the image specification.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The entry of an index that runs here. Entries without a platform only count if there is nothing else.
pub(crate) fn select_platform(entries: &[Descriptor]) -> Result<&Descriptor, Error> {
    let wanted = |entry: &&Descriptor| {
        entry
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture())
    };
    if let Some(entry) = entries.iter().find(wanted) {
        return Ok(entry);
    }
    match entries {
        [only] if only.platform.as_ref().is_none_or(|platform| platform.architecture.is_empty()) => Ok(only),
        _ => {
            let offered: Vec<String> = entries
                .iter()
                .filter_map(|entry| entry.platform.as_ref())
                .map(|platform| format!("{}/{}", platform.os, platform.architecture))
                .collect();
            Err(Error::image(format!(
                "there is no image for linux/{}; offered: {}",
                architecture(),
                offered.join(", ")
            )))
        }
    }
}

/// An image's configuration: the parts that mean something here. Labels, volumes and the like are never looked at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct ImageDocument {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub config: Option<ImageConfig>,
    #[serde(default)]
    pub rootfs: RootFs,
}

/// The layers' digests before compression, base first.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// How to run the image by default (the image specification's `config`).
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImageConfig {
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub env: Option<Vec<String>>,
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default)]
    pub cmd: Option<Vec<String>>,
    #[serde(default)]
    pub working_dir: Option<String>,
    #[serde(default)]
    pub stop_signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<Value>,
}

impl ImageDocument {
    /// Reads a configuration and checks that it can run here.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let document: Self =
            serde_json::from_slice(bytes).map_err(|error| Error::image(format!("the image configuration: {error}")))?;
        let fits = |actual: &str, wanted: &str| actual.is_empty() || actual == wanted;
        if !fits(&document.os, "linux") || !fits(&document.architecture, architecture()) {
            return Err(Error::image(format!(
                "it is made for {}/{}, this machine is linux/{}",
                document.os,
                document.architecture,
                architecture()
            )));
        }
        Ok(document)
    }
}

/// The identities of the layer stacks `[0..=i]` (the image specification's ChainID).
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", "0".repeat(64)), "size": 1})
    }

    fn parse(value: &Value, declared: Option<&str>) -> Result<Document, Error> {
        Document::parse(value.to_string().as_bytes(), declared)
    }

    #[test]
    fn a_document_that_is_both_is_refused() {
        let both = json!({"schemaVersion": 2, "config": descriptor("x"), "layers": [], "manifests": []});
        assert!(parse(&both, None).unwrap_err().to_string().contains("manifest and of an index"));
    }

    #[test]
    fn the_media_type_must_fit() {
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor("x"), "layers": []});
        assert!(matches!(parse(&manifest, Some(OCI_MANIFEST)), Ok(Document::Manifest(_))));
        assert!(matches!(parse(&manifest, None), Ok(Document::Manifest(_))));
        assert!(parse(&manifest, Some(OCI_INDEX)).is_err());
        assert!(parse(&manifest, Some(DOCKER_MANIFEST)).is_err());
        let lying = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "config": descriptor("x"), "layers": []});
        assert!(parse(&lying, None).is_err());
        let unnamed = json!({"schemaVersion": 2, "config": descriptor("x"), "layers": []});
        assert!(parse(&unnamed, Some(OCI_INDEX)).is_err());
        assert!(parse(&json!({"schemaVersion": 1, "config": descriptor("x"), "layers": []}), None).is_err());
        assert!(parse(&json!({"schemaVersion": 2}), None).is_err());
    }

    #[test]
    fn the_platform_of_this_machine_is_selected() {
        let entry = |os: &str, architecture: &str, size: u64| Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: Digest::of(b""),
            size,
            platform: Some(Platform { architecture: architecture.into(), os: os.into() }),
            annotations: Default::default(),
        };
        let entries =
            [entry("windows", architecture(), 1), entry("linux", architecture(), 2), entry("linux", "s390x", 3)];
        assert_eq!(select_platform(&entries).unwrap().size, 2);
        let error = select_platform(&entries[2..]).unwrap_err().to_string();
        assert!(error.contains("linux/s390x"), "{error}");
    }

    #[test]
    fn chains_follow_the_specification() {
        let a = Digest::of(b"a");
        let b = Digest::of(b"b");
        let chain = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(chain, [a.clone(), Digest::of(format!("{a} {b}").as_bytes())]);
    }
}
