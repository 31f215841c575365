//! The local image store: configurations by digest, one directory per layer of a chain, one index file.
//!
//! The index is the truth and is replaced atomically; whatever lies in the store without being in it is left over from a crash
//! and is deleted at the next start.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    compression::decompress,
    digest::{Digest, HashingReader},
    manifest::{ImageConfig, ImageDocument, chain_ids},
    reference::Reference,
    unpack::{UnpackLimits, unpack},
};
use crate::{
    Error, Image, ImageOrigin,
    config::ImageLimits,
    durable,
    error::IoContext,
    snapshot::{Overlay, remove_tree},
};

/// Bytes of tar headers allowed for each entry, on top of the files' own.
const HEADER_BYTES: u64 = 4 << 10;
/// The name of the empty layer on which images without layers rest.
const EMPTY_LAYER: &str = "0";

/// The store.
#[derive(Debug)]
pub(crate) struct ImageStore {
    root: PathBuf,
    limits: ImageLimits,
    state: Mutex<State>,
    /// One layer is unpacked at a time: the disk is the bottleneck, and two pulls never unpack the same one.
    unpacking: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    index: Index,
    /// Layers that a running pull or import counts on.
    pins: HashMap<Digest, usize>,
    /// Images that containers use.
    leases: HashMap<Digest, usize>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Index {
    next_layer: u64,
    layers: BTreeMap<Digest, Layer>,
    images: BTreeMap<Digest, Record>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Layer {
    directory: u64,
    size_bytes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    names: BTreeSet<String>,
    digests: BTreeSet<String>,
    size_bytes: u64,
    added: Timestamp,
    #[serde(default)]
    origin: ImageOrigin,
    config: ImageConfig,
    chain: Vec<Digest>,
}

impl Record {
    fn image(&self, id: &Digest) -> Image {
        Image {
            id: id.to_string(),
            names: self.names.iter().cloned().collect(),
            digests: self.digests.iter().cloned().collect(),
            size_bytes: self.size_bytes,
            added: self.added,
            origin: self.origin,
            user: self.config.user.clone().unwrap_or_default(),
        }
    }
}

/// What a container is made from.
#[derive(Clone, Debug)]
pub(crate) struct Leased {
    pub config: ImageConfig,
    pub layers: PathBuf,
    pub lower: Vec<String>,
}

/// Whether a name in a directory belongs to the store.
type Known<'a> = &'a dyn Fn(&str) -> bool;

/// Keeps layers from being collected while they are not part of an image yet.
pub(crate) struct Pins<'a> {
    store: &'a ImageStore,
    chain: Vec<Digest>,
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        let mut state = self.store.state();
        for chain in &self.chain {
            decrement(&mut state.pins, chain);
        }
    }
}

fn decrement(counts: &mut HashMap<Digest, usize>, key: &Digest) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// One layer to add.
pub(crate) struct NewLayer<'a> {
    /// Chain ids of the image, base first.
    pub chain: &'a [Digest],
    /// Which of them.
    pub position: usize,
    /// What the uncompressed archive must hash to.
    pub diff_id: &'a Digest,
    /// Length of `source`.
    pub compressed_bytes: u64,
}

impl ImageStore {
    /// Opens or makes the store and deletes what a crash, or an import that failed, has left.
    pub(crate) fn open(root: &Path, limits: ImageLimits) -> Result<Self, Error> {
        remove_tree(&root.join("tmp"))?;
        for directory in ["tmp", "layers", "layers/0", "blobs/sha256"] {
            fs::create_dir_all(root.join(directory)).context(|| format!("making {}/{directory}", root.display()))?;
        }
        let root = fs::canonicalize(root).context(|| format!("resolving {}", root.display()))?;
        let index: Index = durable::read_json(&root.join("index.json"))?.unwrap_or_default();
        let store =
            Self { root, limits, state: Mutex::new(State { index, ..State::default() }), unpacking: Mutex::new(()) };
        store.collect()?;
        store.sweep()?;
        Ok(store)
    }

    /// The limits it was opened with.
    pub(crate) fn limits(&self) -> &ImageLimits {
        &self.limits
    }

    /// A new path for a temporary file or directory.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp").join(uuid::Uuid::new_v4().simple().to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made on a copy and put in place at once, so a panic elsewhere leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, state: &mut State, index: Index) -> Result<(), Error> {
        durable::write_json(&self.root.join("index.json"), &index)?;
        state.index = index;
        Ok(())
    }

    /// Deletes layers and blobs that the index does not know.
    fn sweep(&self) -> Result<(), Error> {
        let state = self.state();
        let layers: BTreeSet<String> = state.index.layers.values().map(|layer| layer.directory.to_string()).collect();
        let blobs: BTreeSet<&str> = state.index.images.keys().map(Digest::hex).collect();
        let known_layer = |name: &str| name == EMPTY_LAYER || layers.contains(name);
        let known_blob = |name: &str| blobs.contains(name);
        let places: [(&str, Known<'_>); 2] = [("layers", &known_layer), ("blobs/sha256", &known_blob)];
        for (directory, known) in places {
            let directory = self.root.join(directory);
            for entry in fs::read_dir(&directory).context(|| format!("listing {}", directory.display()))? {
                let entry = entry.context(|| format!("listing {}", directory.display()))?;
                if !entry.file_name().to_str().is_some_and(known) {
                    let path = entry.path();
                    let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                    removed.context(|| format!("removing {}", path.display()))?;
                }
            }
        }
        Ok(())
    }

    /// The image with this name, digest reference or id.
    pub(crate) fn find(&self, reference: &str) -> Option<Image> {
        let state = self.state();
        let id = resolve(&state.index, reference)?;
        state.index.images.get(&id).map(|record| record.image(&id))
    }

    /// All images.
    pub(crate) fn list(&self) -> Vec<Image> {
        self.state().index.images.iter().map(|(id, record)| record.image(id)).collect()
    }

    /// Takes an image into use; undone by [`Self::release`].
    pub(crate) fn lease(&self, reference: &str) -> Result<(String, Leased), Error> {
        let not_found = || Error::ImageNotFound { reference: reference.to_owned() };
        let mut state = self.state();
        let id = resolve(&state.index, reference).ok_or_else(not_found)?;
        let record = state.index.images.get(&id).ok_or_else(not_found)?;
        let lower = lower_directories(&state.index, &record.chain)?;
        let leased = Leased { config: record.config.clone(), layers: self.root.join("layers"), lower };
        *state.leases.entry(id.clone()).or_default() += 1;
        Ok((id.to_string(), leased))
    }

    /// Gives a lease back.
    pub(crate) fn release(&self, id: &str) {
        if let Some(id) = Digest::parse(id) {
            decrement(&mut self.state().leases, &id);
        }
    }

    /// Protects layers until the result is dropped.
    pub(crate) fn pin(&self, chain: &[Digest]) -> Pins<'_> {
        let mut state = self.state();
        for link in chain {
            *state.pins.entry(link.clone()).or_default() += 1;
        }
        Pins { store: self, chain: chain.to_vec() }
    }

    /// Whether a layer is unpacked already.
    pub(crate) fn has_layer(&self, chain: &Digest) -> bool {
        self.state().index.layers.contains_key(chain)
    }

    /// Unpacks a layer on top of those before it, unless it is there. Blocks.
    pub(crate) fn add_layer(&self, layer: &NewLayer<'_>, source: impl Read) -> Result<(), Error> {
        let _one_at_a_time = self.unpacking.lock().unwrap_or_else(PoisonError::into_inner);
        let (below, chain) = match layer.chain.split_at_checked(layer.position) {
            Some((below, [chain, ..])) => (below, chain),
            _ => return Err(Error::image("the image has fewer layers than its configuration says")),
        };
        let lower = {
            let state = self.state();
            if state.index.layers.contains_key(chain) {
                return Ok(());
            }
            if below.is_empty() { Vec::new() } else { lower_directories(&state.index, below)? }
        };
        let scratch = Scratch(self.temporary());
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| scratch.0.join(name));
        for directory in [&scratch.0, &upper, &work, &merged] {
            fs::create_dir(directory).context(|| format!("making {}", directory.display()))?;
        }
        let target = if lower.is_empty() {
            &upper
        } else {
            Overlay { layers: self.root.join("layers"), lower, upper: upper.clone(), work }.mount(&merged)?;
            &merged
        };
        let limits = UnpackLimits::new(&self.limits, layer.compressed_bytes);
        let most = limits.bytes.saturating_add(limits.entries.saturating_mul(HEADER_BYTES));
        let plain =
            decompress(source).map_err(|error| Error::image(format!("the layer cannot be decompressed: {error}")))?;
        let mut reader = HashingReader::new(plain, most);
        let size_bytes = unpack(&mut reader, target, &limits)?;
        let (digest, _) = reader.finish().map_err(|error| Error::image(format!("reading the layer: {error}")))?;
        if digest != *layer.diff_id {
            return Err(Error::image(format!(
                "a layer's content is {digest}, but the image configuration says {}",
                layer.diff_id
            )));
        }
        if target == &merged {
            nix::mount::umount2(&merged, nix::mount::MntFlags::UMOUNT_NOFOLLOW)
                .context(|| format!("unmounting {}", merged.display()))?;
        }
        let opened = fs::File::open(&upper).context(|| format!("opening {}", upper.display()))?;
        nix::unistd::syncfs(&opened).context(|| "writing the layer to disk")?;
        drop(opened);
        let mut state = self.state();
        let mut index = state.index.clone();
        index.next_layer += 1;
        let directory = index.next_layer;
        fs::rename(&upper, self.root.join("layers").join(directory.to_string()))
            .context(|| "putting the layer in place")?;
        durable::sync_directory(&self.root.join("layers"))?;
        index.layers.insert(chain.clone(), Layer { directory, size_bytes });
        self.save(&mut state, index)
    }

    /// Makes an image of layers that are all there. `names` then point at it and at nothing else.
    pub(crate) fn commit(
        &self,
        configuration: &[u8],
        document: &ImageDocument,
        names: &[String],
        digests: &[String],
        origin: ImageOrigin,
    ) -> Result<Image, Error> {
        let id = Digest::of(configuration);
        durable::write(&self.root.join("blobs/sha256").join(id.hex()), configuration)?;
        let chain = chain_ids(&document.rootfs.diff_ids);
        let mut state = self.state();
        let mut index = state.index.clone();
        let mut size_bytes = 0;
        for link in &chain {
            let layer = index.layers.get(link).ok_or_else(|| Error::image("a layer of the image is missing"))?;
            size_bytes += layer.size_bytes;
        }
        for record in index.images.values_mut() {
            record.names.retain(|name| !names.contains(name));
        }
        let record = index.images.entry(id.clone()).or_insert_with(|| Record {
            names: BTreeSet::new(),
            digests: BTreeSet::new(),
            size_bytes,
            added: Timestamp::now(),
            origin,
            config: document.config.clone().unwrap_or_default(),
            chain,
        });
        record.names.extend(names.iter().cloned());
        record.digests.extend(digests.iter().cloned());
        if origin == ImageOrigin::Imported {
            record.origin = origin;
        }
        let image = record.image(&id);
        self.save(&mut state, index)?;
        Ok(image)
    }

    /// Gives an image that is there another name; `None` if no image has that manifest digest.
    pub(crate) fn adopt_digest(
        &self,
        manifest: &Digest,
        names: &[String],
        digest: &str,
    ) -> Result<Option<Image>, Error> {
        let mut state = self.state();
        let suffix = format!("@{manifest}");
        let mut index = state.index.clone();
        let Some(id) = index
            .images
            .iter()
            .find(|(_, record)| record.digests.iter().any(|digest| digest.ends_with(&suffix)))
            .map(|(id, _)| id.clone())
        else {
            return Ok(None);
        };
        for record in index.images.values_mut() {
            record.names.retain(|name| !names.contains(name));
        }
        let Some(record) = index.images.get_mut(&id) else { return Ok(None) };
        record.names.extend(names.iter().cloned());
        record.digests.insert(digest.to_owned());
        let image = record.image(&id);
        self.save(&mut state, index)?;
        Ok(Some(image))
    }

    /// Removes a name, or a whole image when asked for by id or by its last name; then whatever nothing refers to.
    pub(crate) fn remove(&self, reference: &str) -> Result<(), Error> {
        let mut state = self.state();
        let not_found = || Error::ImageNotFound { reference: reference.to_owned() };
        let id = resolve(&state.index, reference).ok_or_else(not_found)?;
        let mut index = state.index.clone();
        let record = index.images.get_mut(&id).ok_or_else(not_found)?;
        if let Ok(parsed) = Reference::parse(reference) {
            match (&parsed.digest, parsed.tagged()) {
                (Some(digest), _) => {
                    record.digests.remove(&format!("{}@{digest}", parsed.name()));
                }
                (None, Some(name)) => {
                    record.names.remove(&name);
                }
                (None, None) => {}
            }
        }
        let by_id = id_of(&index, reference).is_some();
        let whole = by_id || index.images.get(&id).is_some_and(|record| record.names.is_empty());
        if whole {
            if let Some(users) = state.leases.get(&id) {
                return Err(Error::ImageInUse { reference: reference.to_owned(), users: *users });
            }
            index.images.remove(&id);
        }
        let directories = forget_unused(&mut index, &state.pins);
        self.save(&mut state, index)?;
        drop(state);
        if whole {
            let _ = fs::remove_file(self.root.join("blobs/sha256").join(id.hex()));
        }
        self.delete_layers(directories)
    }

    /// Deletes layers that no image and no running pull or import needs. Blocks.
    pub(crate) fn collect(&self) -> Result<(), Error> {
        let mut state = self.state();
        let mut index = state.index.clone();
        let directories = forget_unused(&mut index, &state.pins);
        if !directories.is_empty() {
            self.save(&mut state, index)?;
        }
        drop(state);
        self.delete_layers(directories)
    }

    fn delete_layers(&self, directories: Vec<u64>) -> Result<(), Error> {
        // Out of the way first: a number is never used again, and what a crash leaves is swept at the next start.
        for directory in directories {
            let path = self.root.join("layers").join(directory.to_string());
            fs::remove_dir_all(&path).context(|| format!("removing {}", path.display()))?;
        }
        Ok(())
    }
}

/// Takes layers out of the index that nothing needs; returns their directories.
fn forget_unused(index: &mut Index, pins: &HashMap<Digest, usize>) -> Vec<u64> {
    let used: BTreeSet<&Digest> = index.images.values().flat_map(|record| &record.chain).chain(pins.keys()).collect();
    let unused: Vec<Digest> = index.layers.keys().filter(|link| !used.contains(link)).cloned().collect();
    unused.iter().filter_map(|link| index.layers.remove(link)).map(|layer| layer.directory).collect()
}

/// A temporary directory that may have something mounted in it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.0) {
            tracing::warn!(path = %self.0.display(), error = %error.chain(), "a temporary directory could not be removed");
        }
    }
}

fn lower_directories(index: &Index, chain: &[Digest]) -> Result<Vec<String>, Error> {
    if chain.is_empty() {
        return Ok(vec![EMPTY_LAYER.to_owned()]);
    }
    chain
        .iter()
        .map(|link| index.layers.get(link).map(|layer| layer.directory.to_string()))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::image("a layer of the image is missing; remove the image and pull it again"))
}

/// Fewest hex digits that are taken for an id; shorter ones are names.
const SHORT_ID: usize = 12;

fn id_of(index: &Index, reference: &str) -> Option<Digest> {
    let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
    if hex.len() < SHORT_ID || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut matching = index.images.keys().filter(|id| id.hex().starts_with(hex));
    let found = matching.next()?;
    matching.next().is_none().then(|| found.clone())
}

fn resolve(index: &Index, reference: &str) -> Option<Digest> {
    if let Some(id) = id_of(index, reference) {
        return Some(id);
    }
    let parsed = Reference::parse(reference).ok()?;
    let found = |matches: &dyn Fn(&Record) -> bool| {
        index.images.iter().find(|(_, record)| matches(record)).map(|(id, _)| id.clone())
    };
    match &parsed.digest {
        Some(digest) => {
            let wanted = format!("{}@{digest}", parsed.name());
            found(&|record| record.digests.contains(&wanted))
        }
        None => {
            let wanted = parsed.tagged()?;
            found(&|record| record.names.contains(&wanted))
        }
    }
}
