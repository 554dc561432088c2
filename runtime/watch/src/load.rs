//! Filling the bus from the store at start.

use std::sync::Arc;

use pintle_storage::{ReadError, Store, StoreEvent};
use thiserror::Error;

use crate::bus::Bus;

#[derive(Debug, Error)]
pub enum LoadError {
    #[error("cannot read the stored objects")]
    Read(#[from] ReadError),
    #[error("the watch bus has been loaded before")]
    Twice,
}

/// Records read from the store at a time.
const PAGE: usize = 4096;
const START: &[u8] = b"/registry/";
/// `0` follows `/`.
const END: &[u8] = b"/registry0";

impl Bus {
    /// Reads everything and follows the store from there on, without a gap. Once.
    pub async fn load(&self, store: Arc<dyn Store>) -> Result<(), LoadError> {
        if self.core.store.set(Arc::clone(&store)).is_err() {
            return Err(LoadError::Twice);
        }
        // Weak: the bus holds the store, so the store must not hold the bus.
        let core = Arc::downgrade(&self.core);
        let revision = store.follow(Box::new(move |batch| {
            if let Some(core) = core.upgrade() {
                core.publish(batch);
            }
        }));
        let (mut records, mut start) = (Vec::new(), START.to_vec());
        loop {
            let page = store.range(&start, END, Some(revision), PAGE).await?;
            if let Some(last) = page.records.last() {
                start = last.key.to_vec();
                start.push(0);
            }
            records.extend(page.records.into_iter().map(|record| StoreEvent {
                key: record.key.clone(),
                revision: record.mod_revision,
                record: Some(record),
            }));
            if !page.more {
                break;
            }
        }
        self.core.start(records, revision);
        Ok(())
    }
}
