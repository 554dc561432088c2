//! From an archive or directory to named images in the store.
//!
//! Everything is staged, checked and unpacked first, beside whatever else uses the store; then
//! moved into place under the lock, the names last. An import that fails leaves nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::archive::{self, Files, StagedFile, Staging};
use super::manifest::{self, Descriptor, Manifest, Parsed};
use super::{ContentStore, Digest, StoreError, chain_dir, index};
use crate::image::{ImageRecord, Layer};
use crate::snapshot;

/// Indexes inside indexes that are followed.
const MAX_DEPTH: usize = 4;

pub(super) fn archive(
    store: &ContentStore,
    reader: impl Read,
    name: Option<&str>,
) -> Result<Vec<ImageRecord>, StoreError> {
    let staging = Staging::new(store)?;
    let files = archive::stage(reader, &staging, store.limits())?;
    Import::new(store, &staging, Source::Archive(files)).run(name)
}

pub(super) fn directory(
    store: &ContentStore,
    dir: &Path,
    name: Option<&str>,
) -> Result<Vec<ImageRecord>, StoreError> {
    let staging = Staging::new(store)?;
    Import::new(store, &staging, Source::Directory(dir.to_owned())).run(name)
}

enum Source {
    Archive(Files),
    Directory(PathBuf),
}

/// One image, with every blob that it needs in staging.
struct Prepared {
    names: Vec<String>,
    digest: Digest,
    manifest_size: u64,
    manifest: Manifest,
    created: Option<String>,
    layers: Vec<Layer>,
}

struct Import<'a> {
    store: &'a ContentStore,
    staging: &'a Staging,
    source: Source,
    staged: BTreeMap<Digest, StagedFile>,
    /// Unpacked in staging, by chain id.
    unpacked: BTreeMap<String, PathBuf>,
}

/// `index.json`.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// An element of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl<'a> Import<'a> {
    fn new(store: &'a ContentStore, staging: &'a Staging, source: Source) -> Self {
        Import { store, staging, source, staged: BTreeMap::new(), unpacked: BTreeMap::new() }
    }

    fn run(mut self, name: Option<&str>) -> Result<Vec<ImageRecord>, StoreError> {
        // Newer `docker save` writes both; the OCI layout says more.
        let mut images = if let Some(index) = self.document("index.json")? {
            self.read_layout(&index)?
        } else if let Some(list) = self.document("manifest.json")? {
            self.read_docker(&list)?
        } else {
            return Err(StoreError::NotAnImage);
        };
        match (name, images.as_mut_slice()) {
            (_, []) => return Err(StoreError::NotAnImage),
            (Some(name), [image]) => image.names = vec![name.to_owned()],
            (Some(_), _) => return Err(StoreError::ManyImages { count: images.len() }),
            (None, images) if images.iter().any(|image| image.names.is_empty()) => {
                return Err(StoreError::NoName);
            }
            (None, _) => {}
        }
        let names = images.iter().flat_map(|image| &image.names);
        if let Some(bad) = names.into_iter().find(|name| !is_name(name)) {
            return Err(StoreError::BadName(bad.chars().take(100).collect()));
        }
        for image in &images {
            self.unpack(&image.layers)?;
        }
        self.commit(images)
    }

    fn read_layout(&mut self, bytes: &[u8]) -> Result<Vec<Prepared>, StoreError> {
        let index: Index = parse("index.json", bytes)?;
        let mut images: Vec<Prepared> = Vec::new();
        let mut refused = None;
        for descriptor in &index.manifests {
            let (digest, manifest, manifest_size) = match self.manifest_of(descriptor) {
                Ok(found) => found,
                // For another platform; an error only when none is for this one.
                Err(error @ StoreError::Unsupported { .. }) => {
                    refused = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let note = |key: &str| descriptor.annotations.get(key).cloned();
            let names: Vec<_> = note("io.containerd.image.name")
                .or_else(|| note("org.opencontainers.image.ref.name"))
                .into_iter()
                .collect();
            if let Some(same) = images.iter_mut().find(|image| image.digest == digest) {
                same.names.extend(names);
                continue;
            }
            images.push(self.prepare(names, digest, manifest, manifest_size)?);
        }
        match (images.is_empty(), refused) {
            (true, Some(error)) => Err(error),
            _ => Ok(images),
        }
    }

    /// Follows indexes down to the manifest for this machine.
    fn manifest_of(
        &mut self,
        descriptor: &Descriptor,
    ) -> Result<(Digest, Manifest, u64), StoreError> {
        let mut digest = Digest::parse(&descriptor.digest)?;
        for _ in 0..MAX_DEPTH {
            let bytes = self.metadata(&digest)?;
            match Manifest::parse(digest.as_str(), &bytes, self.store.limits().layers)? {
                Parsed::Manifest(manifest) => return Ok((digest, manifest, bytes.len() as u64)),
                Parsed::Index(next) => digest = next,
            }
        }
        Err(StoreError::Unsupported {
            what: digest.to_string(),
            reason: format!("indexes are nested more than {MAX_DEPTH} deep"),
        })
    }

    fn read_docker(&mut self, bytes: &[u8]) -> Result<Vec<Prepared>, StoreError> {
        let list: Vec<DockerImage> = parse("manifest.json", bytes)?;
        let mut images = Vec::new();
        for image in list {
            let config = self.named(&image.config)?;
            let layers = image
                .layers
                .iter()
                .map(|layer| self.named(layer))
                .collect::<Result<Vec<_>, _>>()?;
            let describe = |file: &StagedFile, kind: &str| Descriptor {
                media_type: kind.to_owned(),
                digest: file.digest.to_string(),
                size: file.size,
                annotations: BTreeMap::new(),
                platform: None,
            };
            let manifest = Manifest::new(
                describe(&config, manifest::CONFIG_TYPE),
                layers.iter().map(|layer| describe(layer, manifest::LAYER_TYPE)).collect(),
            );
            for file in layers.into_iter().chain([config]) {
                self.staged.insert(file.digest.clone(), file);
            }
            let json = manifest.to_json()?;
            let path = self.staging.path().join(format!("manifest-{}", images.len()));
            let file = archive::copy_hashed(&mut &json[..], &path, "manifest", u64::MAX)?;
            let digest = file.digest.clone();
            self.staged.insert(digest.clone(), file);
            let names = image.repo_tags.unwrap_or_default();
            images.push(self.prepare(names, digest, manifest, json.len() as u64)?);
        }
        Ok(images)
    }

    /// Brings every blob of the image into staging and checks that they fit together.
    fn prepare(
        &mut self,
        names: Vec<String>,
        digest: Digest,
        manifest: Manifest,
        manifest_size: u64,
    ) -> Result<Prepared, StoreError> {
        let config = self.metadata(&manifest.config_digest()?)?;
        let (_, diff_ids, created) = manifest::parse_config(manifest.config(), &config)?;
        let layers = manifest.chain(&diff_ids)?;
        for layer in manifest.layer_digests()? {
            self.blob(&layer)?;
        }
        Ok(Prepared { names, digest, manifest_size, manifest, created, layers })
    }

    fn unpack(&mut self, layers: &[Layer]) -> Result<(), StoreError> {
        for layer in layers {
            let done = self.store.snapshots_dir().join(chain_dir(&layer.chain_id)).exists();
            if done || self.unpacked.contains_key(&layer.chain_id) {
                continue;
            }
            let blob = self.blob(&Digest::parse(&layer.digest)?)?;
            let target = self.staging.path().join(format!("layer-{}", self.unpacked.len()));
            snapshot::unpack_layer(self.store, layer, &blob.path, &target)?;
            self.unpacked.insert(layer.chain_id.clone(), target);
        }
        Ok(())
    }

    /// Moves everything into place and sets the names.
    fn commit(self, images: Vec<Prepared>) -> Result<Vec<ImageRecord>, StoreError> {
        // One sync for all that was staged: a name must not come back after a power cut without
        // its content.
        File::open(self.staging.path())
            .and_then(|dir| Ok(rustix::fs::syncfs(&dir)?))
            .map_err(|e| StoreError::io("sync", self.staging.path(), e))?;
        let _lock = self.store.lock()?;
        for (digest, file) in &self.staged {
            let path = self.store.blob(digest);
            if !path.exists() {
                fs::rename(&file.path, &path).map_err(|e| StoreError::io("store", &path, e))?;
            }
        }
        for (chain, dir) in &self.unpacked {
            let path = self.store.snapshots_dir().join(chain_dir(chain));
            if !path.exists() {
                fs::rename(dir, &path).map_err(|e| StoreError::io("store", &path, e))?;
            }
        }
        let mut entries = index::read(self.store)?;
        let mut records = Vec::new();
        for image in images {
            // One that was there may have been collected since it was looked for.
            for layer in &image.layers {
                snapshot::ensure_layer(self.store, self.staging, layer)?;
            }
            for name in image.names {
                let record = ImageRecord {
                    name,
                    digest: image.digest.to_string(),
                    size: image.manifest.size() + image.manifest_size,
                    created: image.created.clone(),
                };
                records.push(record.clone());
                let entry =
                    index::Entry::new(record, manifest::MANIFEST_TYPE.into(), image.manifest_size);
                index::put(&mut entries, entry);
            }
        }
        index::write(self.store, &entries)?;
        Ok(records)
    }

    /// A small file of the source by name.
    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = match &self.source {
            Source::Archive(files) => match files.get(name) {
                Some(file) => file.path.clone(),
                None => return Ok(None),
            },
            Source::Directory(dir) => dir.join(name),
        };
        match open_plain(&path) {
            Ok(file) => self.read_small(file, name).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("open", &path, error)),
        }
    }

    /// A file of a docker archive by name.
    fn named(&self, name: &str) -> Result<StagedFile, StoreError> {
        match &self.source {
            Source::Archive(files) => files.get(name).cloned(),
            Source::Directory(_) => None,
        }
        .ok_or_else(|| StoreError::MissingBlob(name.to_owned()))
    }

    fn metadata(&mut self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let file = self.blob(digest)?;
        let open = File::open(&file.path).map_err(|e| StoreError::io("open", &file.path, e))?;
        self.read_small(open, digest.as_str())
    }

    fn read_small(&self, file: File, what: &str) -> Result<Vec<u8>, StoreError> {
        let limit = self.store.limits().metadata_bytes;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(StoreError::Damaged)?;
        let size = bytes.len() as u64;
        if size > limit {
            return Err(StoreError::TooLarge { what: what.to_owned(), size, limit });
        }
        Ok(bytes)
    }

    /// A blob of the source in staging, or of the store, its digest checked.
    fn blob(&mut self, digest: &Digest) -> Result<StagedFile, StoreError> {
        if let Some(file) = self.staged.get(digest) {
            return Ok(file.clone());
        }
        let name = format!("blobs/sha256/{}", digest.hex());
        let found = match &self.source {
            Source::Archive(files) => files.get(&name).cloned(),
            Source::Directory(dir) => {
                let path = dir.join(&name);
                match open_plain(&path) {
                    Ok(mut file) => {
                        let target = self.staging.path().join(digest.hex());
                        let limit = self.store.limits().blob_bytes;
                        Some(archive::copy_hashed(&mut file, &target, &name, limit)?)
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                    Err(error) => return Err(StoreError::io("open", &path, error)),
                }
            }
        };
        let file = found.ok_or_else(|| StoreError::MissingBlob(digest.to_string()))?;
        if file.digest != *digest {
            return Err(StoreError::DigestMismatch {
                expected: digest.to_string(),
                actual: file.digest.to_string(),
            });
        }
        self.staged.insert(digest.clone(), file.clone());
        Ok(file)
    }
}

/// Opens a file, not what a link points to.
fn open_plain(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes)
        .map_err(|source| StoreError::Malformed { what: what.to_owned(), source })
}

/// Whether a text may name an image: what registries allow, so that a name is safe to print and
/// to type.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte);
    name.len() <= 512
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(allowed)
}
