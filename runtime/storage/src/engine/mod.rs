//! What the multi-version store needs of a storage engine, and the two engines.
//!
//! An engine is an ordered map of bytes with atomic, durable batches. It knows nothing of
//! revisions. One thread writes; any thread reads.

mod redb;
mod sled;

use std::{ops::ControlFlow, path::Path};

pub(crate) use self::{redb::RedbEngine, sled::SledEngine};
use crate::{error::StorageError, keys::EngineKey};
use bytes::Bytes;

/// Puts (`Some`) and deletes (`None`) that happen together.
#[derive(Default)]
pub(crate) struct WriteBatch {
    pub(crate) ops: Vec<(EngineKey, Option<Bytes>)>,
}

impl WriteBatch {
    pub(crate) fn put(&mut self, key: EngineKey, value: impl Into<Bytes>) {
        self.ops.push((key, Some(value.into())));
    }

    pub(crate) fn delete(&mut self, key: EngineKey) {
        self.ops.push((key, None));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// Called per entry of a scan; breaking ends it.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

pub(crate) trait Engine: Sized + Send + Sync + 'static {
    /// Opens or creates the engine's files in `dir`, which exists. What is created is
    /// durable on return.
    fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StorageError>;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// Visits `start..end` in order.
    fn scan(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError>;

    /// Applies the batch atomically and returns when the disk has it.
    fn commit(&self, batch: WriteBatch) -> Result<(), StorageError>;

    /// What the engine's files take.
    fn size_on_disk(&self) -> Result<u64, StorageError>;
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    std::fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| StorageError::io("cannot sync directory", dir, source))
}
