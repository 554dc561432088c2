//! Filling the bus from the store at start.

use std::sync::Arc;

use pintle_storage::{ReadError, Store};
use thiserror::Error;

use crate::bus::Bus;

#[derive(Debug, Error)]
pub enum LoadError {
    #[error("cannot read the stored objects")]
    Read(#[from] ReadError),
    #[error("the watch bus has been loaded before")]
    Twice,
}

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
        // All at once: the store reads best in an order of its own, and what it reads
        // stays in memory anyway.
        let page = store.range(START, END, Some(revision), 0).await?;
        self.core.start(page.records, revision);
        Ok(())
    }
}
