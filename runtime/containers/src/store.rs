//! Images by digest, on disk.
//!
//! ```text
//! oci-layout, index.json       the store is itself an OCI layout; index.json names the images
//! blobs/sha256/<hex>           manifests, configs and layers as imported
//! snapshots/<chain id>/fs      unpacked layers, see [`Snapshots`](crate::Snapshots)
//! roots/<key>/                 root file systems in use
//! staging/                     work in progress; emptied at open
//! lock                         held while the store changes
//! ```
//!
//! Everything arrives by rename from `staging`, after its digest was checked. Whoever changes the
//! store holds the lock, so an agent and a command line tool can use it at the same time.

mod archive;
mod import;
mod index;
mod limits;
mod manifest;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pintle_shim::layout::make_private_dir;
use rustix::fs::{FlockOperation, flock};

use crate::image::{Image, ImageRecord};
use crate::snapshot::Snapshots;
use crate::unpack::UnpackError;
pub(crate) use archive::{Staging, decompress};
pub use limits::ImportLimits;
use manifest::Manifest;

/// The images of a node. Its methods block.
#[derive(Debug, Clone)]
pub struct ContentStore {
    root: Arc<PathBuf>,
    limits: ImportLimits,
}

/// Held while the store changes.
pub(crate) struct StoreLock {
    _file: File,
}

impl ContentStore {
    /// Opens or creates the store, and removes what an interrupted import left.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(root, ImportLimits::default())
    }

    pub fn open_with(root: impl AsRef<Path>, limits: ImportLimits) -> Result<Self, StoreError> {
        let root = root.as_ref();
        let store = ContentStore {
            root: Arc::new(
                std::path::absolute(root).map_err(|e| StoreError::io("resolve", root, e))?,
            ),
            limits,
        };
        let dirs = [
            store.root.to_path_buf(),
            store.blobs(),
            store.staging(),
            store.snapshots_dir(),
            store.roots(),
        ];
        for dir in &dirs {
            make_private_dir(dir).map_err(|e| StoreError::io("create", dir, e))?;
        }
        let _lock = store.lock()?;
        archive::Staging::clean(&store)?;
        let layout = store.root.join("oci-layout");
        if !layout.exists() {
            fs::write(&layout, "{\"imageLayoutVersion\":\"1.0.0\"}")
                .map_err(|e| StoreError::io("write", &layout, e))?;
        }
        Ok(store)
    }

    /// Imports every image of an OCI layout (a directory or a tar) or of a `docker save` archive,
    /// compressed or not. `name` overrides the recorded name of a single image. Layers are
    /// unpacked, so an image that is listed can be run.
    pub fn import(
        &self,
        source: &Path,
        name: Option<&str>,
    ) -> Result<Vec<ImageRecord>, StoreError> {
        if source.is_dir() {
            return import::directory(self, source, name);
        }
        let file = File::open(source).map_err(|e| StoreError::io("open", source, e))?;
        self.import_reader(file, name)
    }

    /// [`import`](Self::import) of an archive as it comes, from a pipe or a request.
    pub fn import_reader(
        &self,
        reader: impl io::Read,
        name: Option<&str>,
    ) -> Result<Vec<ImageRecord>, StoreError> {
        import::archive(self, reader, name)
    }

    /// All images, by name.
    pub fn list(&self) -> Result<Vec<ImageRecord>, StoreError> {
        Ok(index::read(self)?.into_iter().map(|entry| entry.record).collect())
    }

    /// Forgets a name, and removes what no other name and no running container needs. False when
    /// there is no such name.
    pub fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let _lock = self.lock()?;
        let wanted = index::find(self, name)?.map(|entry| entry.record.name);
        let Some(wanted) = wanted else {
            return Ok(false);
        };
        let mut entries = index::read(self)?;
        entries.retain(|entry| entry.record.name != wanted);
        index::write(self, &entries)?;
        self.collect_garbage(&entries)?;
        Ok(true)
    }

    /// Looks an image up by name, by `name@digest`, or by digest. Docker's short forms (`busybox`
    /// for `docker.io/library/busybox:latest`) are understood.
    pub fn resolve(&self, name: &str) -> Result<Option<Image>, StoreError> {
        let Some(entry) = index::find(self, name)? else {
            return Ok(None);
        };
        let manifest = Manifest::load(self, &entry.record.digest)?;
        manifest.image(self, &entry.record).map(Some)
    }

    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(self.clone())
    }

    pub(crate) fn limits(&self) -> &ImportLimits {
        &self.limits
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn snapshots_dir(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.root.join("roots")
    }

    /// Waits for other processes that change the store.
    pub(crate) fn lock(&self) -> Result<StoreLock, StoreError> {
        let path = self.root.join("lock");
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| StoreError::io("open", &path, e))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|e| StoreError::io("lock", &path, e.into()))?;
        Ok(StoreLock { _file: file })
    }

    /// Removes blobs and snapshots that nothing refers to. The caller holds the lock.
    fn collect_garbage(&self, entries: &[index::Entry]) -> Result<(), StoreError> {
        let (mut blobs, mut chains) = (BTreeSet::new(), BTreeSet::new());
        for entry in entries {
            // An image that cannot be read must not make its blobs garbage.
            let manifest = Manifest::load(self, &entry.record.digest)?;
            blobs.insert(Digest::parse(&entry.record.digest)?);
            blobs.extend(manifest.digests());
            let image = manifest.image(self, &entry.record)?;
            chains.extend(image.layers.into_iter().map(|layer| layer.chain_id));
        }
        chains.extend(self.snapshots().chains_in_use()?);
        for path in read_dir(&self.blobs())? {
            if !file_name(&path).is_some_and(|hex| blobs.iter().any(|digest| digest.hex() == hex)) {
                remove_all(&path)?;
            }
        }
        for path in read_dir(&self.snapshots_dir())? {
            if !file_name(&path)
                .is_some_and(|chain| chains.iter().any(|used| chain_dir(used) == chain))
            {
                remove_all(&path)?;
            }
        }
        Ok(())
    }
}

/// The directory of a chain id: its hex digits.
pub(crate) fn chain_dir(chain_id: &str) -> &str {
    chain_id.strip_prefix("sha256:").unwrap_or(chain_id)
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

pub(crate) fn read_dir(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(|e| StoreError::io("read", dir, e))
}

pub(crate) fn remove_all(path: &Path) -> Result<(), StoreError> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// `sha256:` and 64 lower-case hex digits; safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(String);

impl Digest {
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let valid = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match valid {
            true => Ok(Digest(text.to_owned())),
            false => Err(StoreError::BadDigest(text.chars().take(100).collect())),
        }
    }

    pub fn from_hash(hash: &[u8]) -> Self {
        Digest(format!("sha256:{}", hex::encode(hash)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("archive is truncated or damaged")]
    Damaged(#[source] io::Error),
    #[error("not a tar archive, neither plain nor packed by gzip or zstd")]
    NotAnArchive,
    #[error("archive entry {entry:?}: {reason}")]
    BadEntry { entry: String, reason: &'static str },
    #[error(
        "not an image: neither index.json (OCI layout) nor manifest.json (docker save) is in it"
    )]
    NotAnImage,
    #[error("{0:?} is not a sha256 digest")]
    BadDigest(String),
    #[error("content of {expected} has the digest {actual}: the archive is damaged or was changed")]
    DigestMismatch { expected: String, actual: String },
    #[error("{0} is missing from the image")]
    MissingBlob(String),
    #[error("{what} is {size} bytes, more than the limit of {limit}")]
    TooLarge { what: String, size: u64, limit: u64 },
    #[error("{what} is malformed")]
    Malformed {
        what: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{what}: {reason}")]
    Unsupported { what: String, reason: String },
    #[error("the image has no name; give it one with --name")]
    NoName,
    #[error("{0:?} cannot be an image's name; it looks like registry.example/team/web:1")]
    BadName(String),
    #[error("{count} images are in the archive, so one name cannot be given to them")]
    ManyImages { count: usize },
    #[error("cannot unpack layer {digest}")]
    Unpack {
        digest: String,
        #[source]
        source: UnpackError,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        StoreError::Io { action, path: path.to_owned(), source }
    }
}
