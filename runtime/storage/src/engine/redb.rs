//! redb: a copy-on-write B-tree in one file. Slower to write than sled under many writers,
//! but its file stays near the size of its data and it needs no help to survive power cuts.

use std::{ops::ControlFlow, path::Path, path::PathBuf};

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::{Engine, Visit, WriteBatch, sync_dir};
use crate::{error::StorageError, open::EngineKind};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pintle");
const FILE: &str = "pintle.redb";

pub(crate) struct RedbEngine {
    db: Database,
    path: PathBuf,
}

impl Engine for RedbEngine {
    fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        let path = dir.join(FILE);
        let db = Database::builder()
            .set_cache_size(usize::try_from(cache_bytes).unwrap_or(usize::MAX))
            .create(&path)
            .map_err(failed)?;
        // Reading a table that was never opened for writing is an error.
        let txn = db.begin_write().map_err(failed)?;
        txn.open_table(TABLE).map_err(failed)?;
        txn.commit().map_err(failed)?;
        sync_dir(dir)?;
        Ok(Self { db, path })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let txn = self.db.begin_read().map_err(failed)?;
        let table = txn.open_table(TABLE).map_err(failed)?;
        let value = table.get(key).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn scan(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        let txn = self.db.begin_read().map_err(failed)?;
        let table = txn.open_table(TABLE).map_err(failed)?;
        for entry in table.range(start..end).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            if let ControlFlow::Break(()) = visit(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), StorageError> {
        let mut txn = self.db.begin_write().map_err(failed)?;
        txn.set_durability(Durability::Immediate).map_err(failed)?;
        {
            let mut table = txn.open_table(TABLE).map_err(failed)?;
            for (key, value) in &batch.ops {
                match value {
                    Some(value) => {
                        table.insert(key.as_slice(), value.as_ref()).map_err(failed)?;
                    }
                    None => {
                        table.remove(key.as_slice()).map_err(failed)?;
                    }
                }
            }
        }
        txn.commit().map_err(failed)
    }

    fn size_on_disk(&self) -> Result<u64, StorageError> {
        std::fs::metadata(&self.path)
            .map(|metadata| metadata.len())
            .map_err(|source| StorageError::io("cannot stat", &self.path, source))
    }
}

fn failed(error: impl Into<redb::Error>) -> StorageError {
    StorageError::engine(EngineKind::Redb, error.into())
}
