//! sled 0.34, made safe against power cuts.
//!
//! On Linux its `flush()` only calls `sync_file_range`, which neither flushes the disk's
//! cache nor the file's size, so acknowledged writes were lost in half of the power cuts
//! tried. Hence: flush, then `fdatasync` on a descriptor of our own of the same file; no
//! value beyond [`crate::keys::CHUNK_BYTES`]; no background flusher to rely on.

use std::{
    fs::{self, File},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{Engine, Visit, WriteBatch, sync_dir};
use crate::{error::StorageError, open::EngineKind};

pub(crate) struct SledEngine {
    db: sled::Db,
    /// The same inode sled writes to: syncing any descriptor of it syncs the data.
    file: File,
    path: PathBuf,
}

impl Engine for SledEngine {
    fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        let path = dir.join("db");
        wait_for_background_threads(&path)?;
        remove_unfinished_snapshots(dir)?;
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None)
            .open()
            .map_err(failed)?;
        db.flush().map_err(failed)?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|source| StorageError::io("cannot open", &path, source))?;
        file.sync_all().map_err(|source| StorageError::io("cannot sync", &path, source))?;
        // sled writes its settings once and never syncs them; damaged ones cannot be opened.
        let settings = dir.join("conf");
        File::open(&settings)
            .and_then(|file| file.sync_all())
            .map_err(|source| StorageError::io("cannot sync", &settings, source))?;
        sync_dir(dir)?;
        Ok(Self { db, file, path })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.db.get(key).map_err(failed)?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        for entry in self.db.range(start..end) {
            let (key, value) = entry.map_err(failed)?;
            if let ControlFlow::Break(()) = visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), StorageError> {
        let mut ops = sled::Batch::default();
        for (key, value) in batch.ops {
            match value {
                Some(value) => ops.insert(key.as_slice(), value.as_ref()),
                None => ops.remove(key.as_slice()),
            }
        }
        self.db.apply_batch(ops).map_err(failed)?;
        self.db.flush().map_err(failed)?;
        self.file.sync_data().map_err(|source| StorageError::io("cannot sync", &self.path, source))
    }

    fn size_on_disk(&self) -> Result<u64, StorageError> {
        self.db.size_on_disk().map_err(failed)
    }
}

/// When a database is closed, sled's background threads may hold its file and the lock on it a
/// little longer, and opening it again in the same process would fail. No other process can
/// have it: the data directory has a lock of its own.
fn wait_for_background_threads(path: &Path) -> Result<(), StorageError> {
    match File::options().read(true).write(true).open(path) {
        Ok(file) => file.lock().map_err(|source| StorageError::io("cannot lock", path, source)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StorageError::io("cannot open", path, source)),
    }
}

/// While it opens, sled writes a snapshot of its page table as `snap.N.generating` and renames
/// it to `snap.N`. If it is killed in between, it takes the unfinished file for the newest
/// snapshot the next time and refuses to open. The finished one before it is still there.
fn remove_unfinished_snapshots(dir: &Path) -> Result<(), StorageError> {
    let remove = || {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "generating") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    };
    remove().map_err(|source| StorageError::io("cannot tidy up", dir, source))
}

fn failed(error: sled::Error) -> StorageError {
    StorageError::engine(EngineKind::Sled, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;

    #[test]
    fn a_kill_while_opening_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let open = || SledEngine::open(dir.path(), 1 << 20).unwrap();
        let mut batch = WriteBatch::default();
        batch.put(keys::meta("a"), "1");
        open().commit(batch).unwrap();
        drop(open());
        fs::write(dir.path().join("snap.FFFFFFFFFFFFFFFF.generating"), "half a snapshot").unwrap();
        assert_eq!(open().get(&keys::meta("a")).unwrap().unwrap(), "1");
    }
}
