//! Giving up the past, in steps small enough that writers do not notice.
//!
//! First the new limit becomes durable; only then are versions removed that no read at or
//! after it can see. Each step travels with whatever batch the committer writes next, so
//! it costs no sync of its own under load. A compaction that is interrupted leaves garbage
//! that the next one finds.

use std::sync::atomic::Ordering;

use crate::{
    committer::Job,
    engine::Engine,
    mvcc::MvccStore,
    types::{CommitError, ReadError, Revision},
};

/// Keys looked at per step, under the index's read lock.
const STEP_KEYS: usize = 4096;
/// Engine entries removed per step.
const STEP_ENTRIES: usize = 128;

pub(crate) async fn run<E: Engine>(store: &MvccStore<E>, upto: Revision) -> Result<(), ReadError> {
    let _one = store.one_compaction().await;
    let shared = store.shared();
    let current = shared.revision.load(Ordering::Acquire);
    if upto > current {
        return Err(ReadError::Future { requested: upto, current });
    }
    if upto <= shared.compacted.load(Ordering::Acquire) {
        return Ok(());
    }
    store.ask(|reply| Job::Compact { upto, reply }).await.map_err(failed)?;
    let mut cursor = None;
    loop {
        let obsolete = shared.index.read().superseded(upto, &mut cursor, STEP_KEYS, STEP_ENTRIES);
        if !obsolete.is_empty() {
            store.ask(|reply| Job::Forget { obsolete, reply }).await.map_err(failed)?;
        }
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn failed(error: CommitError) -> ReadError {
    match error {
        CommitError::Storage(cause) => ReadError::Storage(cause),
        // The others are answers to transactions.
        _ => ReadError::Closed,
    }
}
