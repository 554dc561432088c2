//! Reading a tar of unknown origin into a staging directory, nothing of it trusted.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::{ContentStore, Digest, ImportLimits, StoreError, read_dir, remove_all};

/// A directory for work in progress. Removed at the end; should the process die instead, its lock
/// is free and the next open of the store removes it.
pub(crate) struct Staging {
    dir: PathBuf,
    _lock: File,
}

impl Staging {
    pub fn new(store: &ContentStore) -> Result<Self, StoreError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let dir = store.staging().join(format!(
            "{}-{}-{}",
            std::process::id(),
            since.as_nanos(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        ));
        // Under the store's lock, so that no cleaner sees the directory before it is locked.
        let _store = store.lock()?;
        fs::create_dir(&dir).map_err(|e| StoreError::io("create", &dir, e))?;
        let lock = File::open(&dir).map_err(|e| StoreError::io("open", &dir, e))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| StoreError::io("lock", &dir, e.into()))?;
        Ok(Staging { dir, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Removes what processes that no longer exist left. The caller holds the store's lock.
    pub fn clean(store: &ContentStore) -> Result<(), StoreError> {
        for dir in read_dir(&store.staging())? {
            let in_use = File::open(&dir)
                .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err());
            if !in_use {
                remove_all(&dir)?;
            }
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove_all(&self.dir) {
            tracing::warn!(path = %self.dir.display(), error = %error, "cannot remove staging");
        }
    }
}

/// A file in staging.
#[derive(Debug, Clone)]
pub(super) struct StagedFile {
    pub path: PathBuf,
    pub digest: Digest,
    pub size: u64,
}

/// The files of an archive, by their names in it.
pub(super) struct Files {
    files: BTreeMap<String, StagedFile>,
    links: BTreeMap<String, String>,
}

impl Files {
    pub fn get(&self, name: &str) -> Option<&StagedFile> {
        let mut name = name;
        // `docker save` used to store a layer that occurs twice as a link.
        for _ in 0..8 {
            if let Some(file) = self.files.get(name) {
                return Some(file);
            }
            name = self.links.get(name)?;
        }
        None
    }
}

/// Stages every file of the archive under a name of our own.
pub(super) fn stage(
    reader: impl Read,
    staging: &Staging,
    limits: &ImportLimits,
) -> Result<Files, StoreError> {
    let mut content = decompress(reader).map_err(StoreError::Damaged)?;
    let mut header = Vec::new();
    content.by_ref().take(TAR_BLOCK).read_to_end(&mut header).map_err(StoreError::Damaged)?;
    if !may_be_tar(&header) {
        return Err(StoreError::NotAnArchive);
    }
    let mut archive = tar::Archive::new(io::Cursor::new(header).chain(content));
    let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
    let mut count = 0;
    for entry in archive.entries().map_err(StoreError::Damaged)? {
        let mut entry = entry.map_err(StoreError::Damaged)?;
        count += 1;
        if count > limits.archive_entries {
            return Err(StoreError::TooLarge {
                what: "the number of entries in the archive".into(),
                size: count,
                limit: limits.archive_entries,
            });
        }
        let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let bad = |reason| StoreError::BadEntry { entry: raw.clone(), reason };
        let name = normalize(Path::new(&raw)).ok_or_else(|| bad("its path leaves the archive"))?;
        match entry.header().entry_type() {
            EntryType::Directory => {}
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let path = staging.path().join(count.to_string());
                let file = copy_hashed(&mut entry, &path, &raw, limits.blob_bytes)?;
                files.insert(name, file);
            }
            EntryType::Symlink | EntryType::Link => {
                let target = entry
                    .link_name()
                    .map_err(StoreError::Damaged)?
                    .ok_or_else(|| bad("it links to nothing"))?
                    .into_owned();
                let base = match entry.header().entry_type() {
                    EntryType::Symlink => Path::new(&name).parent().unwrap_or(Path::new("")),
                    _ => Path::new(""),
                };
                let target =
                    resolve(base, &target).ok_or_else(|| bad("it links outside the archive"))?;
                links.insert(name, target);
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(bad("only files, directories and links belong in an image archive")),
        }
    }
    Ok(Files { files, links })
}

/// Copies into staging and computes the digest on the way.
pub(super) fn copy_hashed(
    reader: &mut impl Read,
    path: &Path,
    what: &str,
    limit: u64,
) -> Result<StagedFile, StoreError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| StoreError::io("create", path, e))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(StoreError::Damaged(error)),
        };
        size += count as u64;
        if size > limit {
            return Err(StoreError::TooLarge { what: what.to_owned(), size, limit });
        }
        hash.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(|e| StoreError::io("write", path, e))?;
    }
    Ok(StagedFile { path: path.to_owned(), digest: Digest::from_hash(&hash.finalize()), size })
}

/// Undoes gzip or zstd, found out from the first bytes.
pub(crate) fn decompress<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    let mut reader = BufReader::with_capacity(128 << 10, reader);
    let mut magic = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut magic)?;
    let whole = io::Cursor::new(magic.clone()).chain(reader);
    Ok(if magic.starts_with(GZIP) {
        // Several gzip members in a row are one stream, as pigz and estargz write them.
        Box::new(flate2::read::MultiGzDecoder::new(whole))
    } else if magic.starts_with(ZSTD) {
        Box::new(zstd::stream::read::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    })
}

const TAR_BLOCK: u64 = 512;

/// Whether this is the first block of a tar: the sum of its bytes, those of the sum itself
/// taken as spaces, stands in it. What is too short or all zero is left to the reader of entries.
fn may_be_tar(block: &[u8]) -> bool {
    if block.len() < TAR_BLOCK as usize || block.iter().all(|byte| *byte == 0) {
        return block.iter().all(|byte| *byte == 0);
    }
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    let Ok(stated) = header.cksum() else { return false };
    header.set_cksum();
    header.cksum().is_ok_and(|real| real == stated)
}

/// `./a/b` as `a/b`; `None` for a path that is absolute or climbs.
fn normalize(path: &Path) -> Option<String> {
    resolve(Path::new(""), path)
}

fn resolve(base: &Path, path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = base.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir if !base.as_os_str().is_empty() => drop(parts.pop()?),
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |base: &str, path: &str, expect: Option<&str>| {
            assert_eq!(
                resolve(Path::new(base), Path::new(path)).as_deref(),
                expect,
                "{base} {path}"
            );
        };
        check("", "./a//b/", Some("a/b"));
        check("", "../a", None);
        check("", "a/../../b", None);
        check("", "/etc/passwd", None);
        check("x", "../y/layer.tar", Some("y/layer.tar"));
        check("x", "../../y", None);
        check("x", "/y", None);
    }

    #[test]
    fn compression_is_found_out() {
        let gzip = {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(b"hello").unwrap();
            encoder.finish().unwrap()
        };
        let zstd = zstd::encode_all(&b"hello"[..], 1).unwrap();
        for input in [b"hello".to_vec(), gzip, zstd] {
            let mut out = Vec::new();
            decompress(&input[..]).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, b"hello");
        }
        let mut out = Vec::new();
        decompress(&b"h"[..]).unwrap().read_to_end(&mut out).unwrap();
        assert_eq!(out, b"h");
    }
}
