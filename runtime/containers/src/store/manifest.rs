//! OCI and Docker manifests and configs, as far as running an image needs them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::{ContentStore, Digest, StoreError};
use crate::image::{Image, ImageConfig, ImageRecord, Layer};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// An image manifest or an index of them: which of the two shows in what it lists.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Clone)]
pub(super) struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// What a manifest turned out to be.
pub(super) enum Parsed {
    Manifest(Manifest),
    /// Of several platforms: the one of this machine.
    Index(Digest),
}

pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Debug, Deserialize)]
struct ConfigDocument {
    created: Option<String>,
    #[serde(default)]
    config: Option<RunConfig>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RunConfig {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    labels: Option<BTreeMap<String, String>>,
}

fn parse_json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes)
        .map_err(|source| StoreError::Malformed { what: what.to_owned(), source })
}

/// The architecture of this machine, as Go and so OCI call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

impl Manifest {
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Manifest { config, layers }
    }

    pub fn parse(what: &str, bytes: &[u8], limit: usize) -> Result<Parsed, StoreError> {
        let document: Document = parse_json(what, bytes)?;
        let unsupported =
            |reason: String| StoreError::Unsupported { what: what.to_owned(), reason };
        if document.schema_version != 2 {
            return Err(unsupported(format!(
                "manifests of schema version {} are not supported",
                document.schema_version
            )));
        }
        if let Some(config) = document.config {
            if document.layers.len() > limit {
                return Err(StoreError::TooLarge {
                    what: "the number of layers".into(),
                    size: document.layers.len() as u64,
                    limit: limit as u64,
                });
            }
            return Ok(Parsed::Manifest(Manifest::new(config, document.layers)));
        }
        let fits = |descriptor: &&Descriptor| {
            descriptor
                .platform
                .as_ref()
                .is_none_or(|p| p.os == "linux" && p.architecture == architecture())
        };
        match document.manifests.iter().find(fits) {
            Some(descriptor) => Ok(Parsed::Index(Digest::parse(&descriptor.digest)?)),
            None => Err(unsupported(format!("no manifest for linux/{}", architecture()))),
        }
    }

    pub fn to_json(&self) -> Result<Vec<u8>, StoreError> {
        let document = Document {
            schema_version: 2,
            media_type: Some(MANIFEST_TYPE.into()),
            config: Some(self.config.clone()),
            layers: self.layers.clone(),
            manifests: Vec::new(),
        };
        serde_json::to_vec(&document)
            .map_err(|source| StoreError::Malformed { what: "the new manifest".into(), source })
    }

    /// Reads a stored manifest.
    pub fn load(store: &ContentStore, digest: &str) -> Result<Self, StoreError> {
        let digest = Digest::parse(digest)?;
        match Self::parse(digest.as_str(), &read_blob(store, &digest)?, store.limits().layers)? {
            Parsed::Manifest(manifest) => Ok(manifest),
            Parsed::Index(_) => Err(StoreError::Unsupported {
                what: digest.to_string(),
                reason: "an index was stored in place of a manifest".into(),
            }),
        }
    }

    pub fn config(&self) -> &str {
        &self.config.digest
    }

    pub fn config_digest(&self) -> Result<Digest, StoreError> {
        Digest::parse(&self.config.digest)
    }

    pub fn layer_digests(&self) -> Result<Vec<Digest>, StoreError> {
        self.layers.iter().map(|layer| Digest::parse(&layer.digest)).collect()
    }

    /// Every blob it refers to.
    pub fn digests(&self) -> Vec<Digest> {
        self.layers
            .iter()
            .chain([&self.config])
            .filter_map(|descriptor| Digest::parse(&descriptor.digest).ok())
            .collect()
    }

    /// Bytes of everything it refers to.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum::<u64>() + self.config.size
    }

    pub fn image(&self, store: &ContentStore, record: &ImageRecord) -> Result<Image, StoreError> {
        let config = read_blob(store, &self.config_digest()?)?;
        let (run, diff_ids, _) = parse_config(&self.config.digest, &config)?;
        Ok(Image {
            name: record.name.clone(),
            id: self.config.digest.clone(),
            digest: record.digest.clone(),
            size: record.size,
            config: run,
            layers: self.chain(&diff_ids)?,
        })
    }

    /// The layers with the ids of the file systems that they lead to.
    pub fn chain(&self, diff_ids: &[Digest]) -> Result<Vec<Layer>, StoreError> {
        if diff_ids.len() != self.layers.len() {
            return Err(StoreError::Unsupported {
                what: self.config.digest.clone(),
                reason: format!(
                    "the config lists {} layers, the manifest {}",
                    diff_ids.len(),
                    self.layers.len()
                ),
            });
        }
        let mut chain: Option<String> = None;
        let mut layers = Vec::new();
        for (descriptor, diff_id) in self.layers.iter().zip(diff_ids) {
            let next = match &chain {
                None => diff_id.to_string(),
                Some(below) => {
                    Digest::from_hash(&Sha256::digest(format!("{below} {diff_id}").as_bytes()))
                        .to_string()
                }
            };
            layers.push(Layer {
                digest: descriptor.digest.clone(),
                diff_id: diff_id.to_string(),
                chain_id: next.clone(),
                size: descriptor.size,
            });
            chain = Some(next);
        }
        Ok(layers)
    }
}

/// What to run, the layers' uncompressed digests, and when the image was made.
pub(super) fn parse_config(
    what: &str,
    bytes: &[u8],
) -> Result<(ImageConfig, Vec<Digest>, Option<String>), StoreError> {
    let document: ConfigDocument = parse_json(what, bytes)?;
    let run = document.config.unwrap_or_default();
    let env = run.env.unwrap_or_default();
    let config = ImageConfig {
        entrypoint: run.entrypoint.unwrap_or_default(),
        cmd: run.cmd.unwrap_or_default(),
        env: env
            .iter()
            .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .filter(|(name, _)| !name.is_empty())
            .collect(),
        working_dir: run.working_dir.unwrap_or_default(),
        user: run.user.unwrap_or_default(),
        stop_signal: run.stop_signal.unwrap_or_default(),
        exposed: run.exposed_ports.unwrap_or_default().into_keys().collect(),
        labels: run.labels.unwrap_or_default(),
    };
    let diff_ids =
        document.rootfs.diff_ids.iter().map(|id| Digest::parse(id)).collect::<Result<_, _>>()?;
    Ok((config, diff_ids, document.created))
}

/// Reads a small blob whole.
pub(super) fn read_blob(store: &ContentStore, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    let path = store.blob(digest);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::MissingBlob(digest.to_string()));
        }
        Err(error) => return Err(StoreError::io("open", &path, error)),
    };
    let mut bytes = Vec::new();
    file.take(store.limits().metadata_bytes)
        .read_to_end(&mut bytes)
        .map_err(|e| StoreError::io("read", &path, e))?;
    Ok(bytes)
}
