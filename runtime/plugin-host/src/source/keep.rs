//! Components that were fetched or verified, kept by their digest, so that a
//! restart needs no registry.
//!
//! Two kinds of files: `<component>.wasm`, and `<artifact>.source.json` that
//! says which component an artifact holds and who signed it. Nothing here is
//! trusted when it is read again: bytes are hashed, signatures verified anew.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Signature;
use crate::artifact::{Digest, MAX_COMPONENT_BYTES};

const RECORD: &str = ".source.json";
const COMPONENT: &str = ".wasm";
/// More than anybody has plugins and versions of them to go back to.
const MOST_RECORDS: usize = 64;
const MAX_RECORD_BYTES: u64 = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub component: Bytes,
    /// None where it did not come from a registry.
    pub manifest: Option<Digest>,
    pub signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    component: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    signatures: Vec<Signature>,
}

/// By which digest something is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum By<'a> {
    Manifest(&'a Digest),
    Component(&'a Digest),
}

pub(super) struct Keep {
    directory: PathBuf,
}

impl Keep {
    /// In the directory of compiled components, which is private to this user.
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    pub fn put(&self, kept: &Kept) -> std::io::Result<()> {
        let component = Digest::of(&kept.component);
        self.write(&format!("{}{COMPONENT}", component.hex()), &kept.component)?;
        let record = Record {
            component: component.to_string(),
            manifest: kept.manifest.as_ref().map(Digest::to_string),
            signatures: kept.signatures.clone(),
        };
        let name = kept.manifest.as_ref().unwrap_or(&component);
        self.write(&format!("{}{RECORD}", name.hex()), &serde_json::to_vec(&record)?)?;
        self.prune();
        Ok(())
    }

    pub fn find(&self, by: By<'_>) -> Option<Kept> {
        match by {
            By::Manifest(digest) => {
                let kept = self.read(&self.directory.join(format!("{}{RECORD}", digest.hex())))?;
                (kept.manifest.as_ref() == Some(digest)).then_some(kept)
            }
            By::Component(digest) => {
                let records = self.records();
                let holds = |path: &&PathBuf| {
                    self.record(path).is_some_and(|record| record.component == digest.as_str())
                };
                // One with signatures is worth more than one without.
                let mut found: Vec<_> =
                    records.iter().filter(holds).filter_map(|path| self.read(path)).collect();
                found.sort_by_key(|kept| kept.signatures.len());
                found.pop()
            }
        }
    }

    fn records(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let is_record = |path: &PathBuf| path.to_string_lossy().ends_with(RECORD);
        entries.map(|entry| entry.path()).filter(is_record).collect()
    }

    fn record(&self, path: &Path) -> Option<Record> {
        let small = fs::symlink_metadata(path)
            .is_ok_and(|file| file.is_file() && file.len() <= MAX_RECORD_BYTES);
        if !small {
            return None;
        }
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// What a record speaks of, if the bytes are those that it names.
    fn read(&self, path: &Path) -> Option<Kept> {
        let record = self.record(path)?;
        let digest = Digest::parse(&record.component)?;
        let file = self.directory.join(format!("{}{COMPONENT}", digest.hex()));
        let length = fs::symlink_metadata(&file).ok().filter(fs::Metadata::is_file)?.len();
        if length > MAX_COMPONENT_BYTES as u64 {
            return None;
        }
        let component = Bytes::from(fs::read(&file).ok()?);
        if Digest::of(&component) != digest {
            tracing::warn!(path = %file.display(), "dropping a kept component that is damaged");
            let _ = fs::remove_file(&file);
            return None;
        }
        // What is used stays longest; without it the oldest goes first.
        let _ = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
        let manifest = match &record.manifest {
            Some(text) => Some(Digest::parse(text)?),
            None => None,
        };
        Some(Kept { component, manifest, signatures: record.signatures })
    }

    /// Whole or not at all, also after a power cut.
    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.directory.join(format!("{name}-{}-{number}.tmp", std::process::id()));
        let made = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&unfinished, self.directory.join(name)));
        if made.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        made?;
        fs::File::open(&self.directory)?.sync_all()
    }

    /// Forgets the records that were not used for longest, and the components
    /// that no record names any more.
    fn prune(&self) {
        let mut records = self.records();
        if records.len() <= MOST_RECORDS {
            return;
        }
        let used = |path: &PathBuf| {
            fs::metadata(path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        records.sort_by_key(|path| std::cmp::Reverse(used(path)));
        for path in records.split_off(MOST_RECORDS) {
            let _ = fs::remove_file(path);
        }
        let named: Vec<String> = records
            .iter()
            .filter_map(|path| self.record(path))
            .map(|record| format!("{}{COMPONENT}", record.component.trim_start_matches("sha256:")))
            .collect();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(COMPONENT) && !named.contains(&name) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn kept(text: &'static str, manifest: Option<&str>) -> Kept {
        Kept {
            component: Bytes::from_static(text.as_bytes()),
            manifest: manifest.map(|text| Digest::of(text.as_bytes())),
            signatures: vec![Signature { payload: String::new(), signature: "x".into() }],
        }
    }

    #[test]
    fn what_is_put_is_found_by_either_digest() {
        let directory = tempfile::tempdir().unwrap();
        let keep = Keep::at(directory.path());
        let (one, other) = (kept("one", Some("manifest")), kept("other", None));
        keep.put(&one).unwrap();
        keep.put(&other).unwrap();
        assert_eq!(keep.find(By::Manifest(&Digest::of(b"manifest"))), Some(one.clone()));
        assert_eq!(keep.find(By::Component(&Digest::of(b"one"))), Some(one));
        assert_eq!(keep.find(By::Component(&Digest::of(b"other"))), Some(other));
        assert_eq!(keep.find(By::Manifest(&Digest::of(b"other"))), None, "it has no manifest");
        assert_eq!(keep.find(By::Component(&Digest::of(b"neither"))), None);
        for entry in fs::read_dir(directory.path()).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn damaged_bytes_are_not_found() {
        let directory = tempfile::tempdir().unwrap();
        let keep = Keep::at(directory.path());
        keep.put(&kept("one", Some("manifest"))).unwrap();
        let file = directory.path().join(format!("{}.wasm", Digest::of(b"one").hex()));
        fs::write(&file, "two").unwrap();
        assert_eq!(keep.find(By::Manifest(&Digest::of(b"manifest"))), None);
        assert!(!file.exists());
    }

    #[test]
    fn the_keep_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let keep = Keep::at(directory.path());
        for number in 0..MOST_RECORDS + 3 {
            let text: &'static str = Box::leak(number.to_string().into_boxed_str());
            keep.put(&kept(text, None)).unwrap();
        }
        assert_eq!(keep.records().len(), MOST_RECORDS);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2 * MOST_RECORDS);
    }
}
