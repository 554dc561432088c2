//! sled 0.34, made safe against power cuts.
//!
//! On Linux its `flush()` only calls `sync_file_range`, which neither flushes the disk's
//! cache nor the file's size, so acknowledged writes were lost in half of the power cuts
//! tried. Hence: flush, then `fdatasync` on a descriptor of our own of the same file; no
//! value beyond [`crate::keys::CHUNK_BYTES`]; no background flusher to rely on.

use std::{
    fs::File,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{Engine, EngineError, Visit, WriteBatch, sync_dir};

pub(crate) struct SledEngine {
    db: sled::Db,
    /// The same inode sled writes to: syncing any descriptor of it syncs the data.
    file: File,
    path: PathBuf,
}

impl Engine for SledEngine {
    fn open(dir: &Path, cache_bytes: u64) -> Result<Self, EngineError> {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None)
            .open()?;
        db.flush()?;
        let path = dir.join("db");
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|source| EngineError::io("cannot open", &path, source))?;
        file.sync_all().map_err(|source| EngineError::io("cannot sync", &path, source))?;
        sync_dir(dir)?;
        Ok(Self { db, file, path })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.db.get(key)?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<(), EngineError> {
        for entry in self.db.range(start..end) {
            let (key, value) = entry?;
            if let ControlFlow::Break(()) = visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let mut ops = sled::Batch::default();
        for (key, value) in batch.ops {
            match value {
                Some(value) => ops.insert(key.as_slice(), value.as_ref()),
                None => ops.remove(key.as_slice()),
            }
        }
        self.db.apply_batch(ops)?;
        self.db.flush()?;
        self.file.sync_data().map_err(|source| EngineError::io("cannot sync", &self.path, source))
    }

    fn size_on_disk(&self) -> Result<u64, EngineError> {
        Ok(self.db.size_on_disk()?)
    }
}
