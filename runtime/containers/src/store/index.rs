//! `index.json`: which names there are and which manifests they mean.

use serde::{Deserialize, Serialize};

use super::{ContentStore, Digest, StoreError, manifest};
use crate::image::ImageRecord;
use pintle_shim::layout::{read_json, write_json};

const NAME: &str = "org.opencontainers.image.ref.name";
const CREATED: &str = "org.opencontainers.image.created";
const SIZE: &str = "io.pintle.image.size";

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub record: ImageRecord,
    media_type: String,
    manifest_size: u64,
}

impl Entry {
    pub fn new(record: ImageRecord, media_type: String, manifest_size: u64) -> Self {
        Entry { record, media_type, manifest_size }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    manifests: Vec<manifest::Descriptor>,
}

pub(super) fn read(store: &ContentStore) -> Result<Vec<Entry>, StoreError> {
    let path = store.root().join("index.json");
    let index: Index =
        read_json(&path).map_err(|e| StoreError::io("read", &path, e))?.unwrap_or_default();
    let mut entries: Vec<Entry> = index
        .manifests
        .into_iter()
        .map(|descriptor| {
            let note = |key: &str| descriptor.annotations.get(key).cloned();
            Entry {
                record: ImageRecord {
                    name: note(NAME).unwrap_or_default(),
                    digest: descriptor.digest.clone(),
                    size: note(SIZE).and_then(|size| size.parse().ok()).unwrap_or(descriptor.size),
                    created: note(CREATED),
                },
                media_type: descriptor.media_type.clone(),
                manifest_size: descriptor.size,
            }
        })
        .collect();
    entries.sort_by(|a, b| a.record.name.cmp(&b.record.name));
    Ok(entries)
}

/// Durable: an import that was reported must survive a power cut.
pub(super) fn write(store: &ContentStore, entries: &[Entry]) -> Result<(), StoreError> {
    let path = store.root().join("index.json");
    let manifests = entries
        .iter()
        .map(|entry| {
            let record = &entry.record;
            let mut annotations = std::collections::BTreeMap::from([
                (NAME.to_owned(), record.name.clone()),
                (SIZE.to_owned(), record.size.to_string()),
            ]);
            annotations.extend(record.created.clone().map(|created| (CREATED.to_owned(), created)));
            manifest::Descriptor {
                media_type: entry.media_type.clone(),
                digest: record.digest.clone(),
                size: entry.manifest_size,
                annotations,
                platform: None,
            }
        })
        .collect();
    let index = Index { schema_version: 2, manifests };
    write_json(&path, &index, true).map_err(|e| StoreError::io("write", &path, e))
}

/// Sets a name, in place of what it meant before.
pub(super) fn put(entries: &mut Vec<Entry>, entry: Entry) {
    entries.retain(|other| other.record.name != entry.record.name);
    entries.push(entry);
}

pub(super) fn find(store: &ContentStore, name: &str) -> Result<Option<Entry>, StoreError> {
    let entries = read(store)?;
    if let Some((_, digest)) = name.rsplit_once('@') {
        return Ok(entries.into_iter().find(|entry| entry.record.digest == digest));
    }
    if Digest::parse(name).is_ok() {
        // Either digest may be what the caller was given as the image's id.
        for entry in entries {
            if entry.record.digest == name
                || manifest::Manifest::load(store, &entry.record.digest)?.config() == name
            {
                return Ok(Some(entry));
            }
        }
        return Ok(None);
    }
    let wanted = canonical_name(name);
    Ok(entries.into_iter().find(|entry| canonical_name(&entry.record.name) == wanted))
}

/// The full form of Docker's short names.
pub(super) fn canonical_name(name: &str) -> String {
    let (repository, tag) = match name.rsplit_once(':') {
        // A colon before the last slash belongs to a port.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    };
    let full = match repository.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => {
            repository.to_owned()
        }
        Some(_) => format!("docker.io/{repository}"),
        None => format!("docker.io/library/{repository}"),
    };
    format!("{full}:{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        for (input, expect) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1", "docker.io/library/busybox:1"),
            ("me/app", "docker.io/me/app:latest"),
            ("localhost/app:v1", "localhost/app:v1"),
            ("host:5000/app", "host:5000/app:latest"),
            ("docker.io/library/busybox", "docker.io/library/busybox:latest"),
        ] {
            assert_eq!(canonical_name(input), expect, "{input}");
        }
    }
}
