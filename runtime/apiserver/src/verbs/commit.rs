//! The one way into the store, and what its refusals mean.

use bytes::Bytes;
use pintle_api::kinds::Resource;
use pintle_api::status::StatusError;
use pintle_storage::{CommitError, Committed, Expect, Guard, Op, Revision, Txn};

use super::Verbs;
use super::claims::Holding;
use crate::encode::Encoded;

/// What became of an attempt.
pub(super) enum Attempt<T> {
    Done(T),
    /// A guard did not hold: the key, which tells whose.
    Lost(Bytes),
}

impl Verbs {
    pub(super) async fn commit(&self, txn: Txn) -> Result<Attempt<Committed>, StatusError> {
        match self.store.commit(txn).await {
            Ok(committed) => Ok(Attempt::Done(committed)),
            Err(CommitError::Guard { key, .. }) => Ok(Attempt::Lost(key)),
            Err(error) => Err(refused(error)),
        }
    }

    /// Writes an object, and takes and gives back what it claims; returns its bytes
    /// as stored.
    pub(super) async fn put(
        &self,
        row: &Resource,
        key: Bytes,
        encoded: Encoded,
        mut guards: Vec<Guard>,
        holding: &Holding,
    ) -> Result<Attempt<(Bytes, Revision)>, StatusError> {
        let now_seconds = (self.clock.now_unix_ms() / 1000) as u64;
        // Claims come after the object's own guards: whose object it is, is asked first.
        guards.extend(holding.guards());
        let mut ops = holding.ops(&key);
        ops.push(Op::Put {
            key,
            value: encoded.into_stored(),
            expires_at_unix_seconds: row.ttl_seconds.map(|ttl| now_seconds + ttl),
        });
        Ok(match self.commit(Txn { guards, ops }).await? {
            Attempt::Lost(key) => Attempt::Lost(key),
            Attempt::Done(mut committed) => match committed.records.pop().flatten() {
                Some(record) => Attempt::Done((record.value, committed.revision)),
                None => {
                    return Err(StatusError::internal("the store returned no record for a put"));
                }
            },
        })
    }

    /// Removes an object that is still at `revision`, and what it claimed.
    pub(super) async fn remove(
        &self,
        key: Bytes,
        revision: Revision,
        holding: &Holding,
    ) -> Result<Attempt<Revision>, StatusError> {
        let guard = Guard { key: key.clone(), expect: Expect::ModRevision(revision) };
        let mut ops = holding.ops(&key);
        ops.push(Op::Delete { key });
        let txn = Txn { guards: vec![guard], ops };
        Ok(match self.commit(txn).await? {
            Attempt::Lost(key) => Attempt::Lost(key),
            Attempt::Done(committed) => Attempt::Done(committed.revision),
        })
    }
}

fn refused(error: CommitError) -> StatusError {
    match error {
        CommitError::TooLarge { .. } => StatusError::request_entity_too_large(&error.to_string()),
        CommitError::Closed => StatusError::service_unavailable("the server is shutting down"),
        CommitError::Guard { .. } | CommitError::Malformed(_) | CommitError::Storage(_) => {
            tracing::error!(%error, "write refused by storage");
            StatusError::internal(error)
        }
    }
}
