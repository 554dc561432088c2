//! The one way into the store, and what its refusals mean.

use bytes::Bytes;
use pintle_api::kinds::Resource;
use pintle_api::status::StatusError;
use pintle_storage::{CommitError, Committed, Expect, Guard, Op, Revision, Txn};

use super::Verbs;
use crate::encode::Encoded;

/// What became of an attempt.
pub(super) enum Attempt<T> {
    Done(T),
    /// A guard did not hold: the key, which tells whose.
    Lost(Bytes),
}

impl Verbs {
    async fn commit(&self, txn: Txn) -> Result<Attempt<Committed>, StatusError> {
        match self.store.commit(txn).await {
            Ok(committed) => Ok(Attempt::Done(committed)),
            Err(CommitError::Guard { key, .. }) => Ok(Attempt::Lost(key)),
            Err(error) => Err(refused(error)),
        }
    }

    /// Writes an object; returns its bytes as stored.
    pub(super) async fn put(
        &self,
        row: &Resource,
        key: Bytes,
        encoded: Encoded,
        guards: Vec<Guard>,
    ) -> Result<Attempt<(Bytes, Revision)>, StatusError> {
        let now_seconds = (self.clock.now_unix_ms() / 1000) as u64;
        let op = Op::Put {
            key,
            value: encoded.into_stored(),
            expires_at_unix_seconds: row.ttl_seconds.map(|ttl| now_seconds + ttl),
        };
        Ok(match self.commit(Txn { guards, ops: vec![op] }).await? {
            Attempt::Lost(key) => Attempt::Lost(key),
            Attempt::Done(mut committed) => match committed.records.pop().flatten() {
                Some(record) => Attempt::Done((record.value, committed.revision)),
                None => {
                    return Err(StatusError::internal("the store returned no record for a put"));
                }
            },
        })
    }

    /// Removes an object that is still at `revision`.
    pub(super) async fn remove(
        &self,
        key: Bytes,
        revision: Revision,
    ) -> Result<Attempt<Revision>, StatusError> {
        let guard = Guard { key: key.clone(), expect: Expect::ModRevision(revision) };
        let txn = Txn { guards: vec![guard], ops: vec![Op::Delete { key }] };
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
