//! The trait everything above storage is written against.

use async_trait::async_trait;

use crate::types::{
    Batch, CommitError, Committed, Page, ReadError, ReclaimError, Reclaimed, Record, Revision,
    StoreEvent, Txn,
};

/// Sees every batch after the disk has it and before its writers are answered. It runs
/// on the committer: it must be quick and must not call back into the store's `commit`.
pub type Sink = Box<dyn Fn(&Batch) + Send + Sync>;

/// A strictly serializable, revisioned key-value store.
///
/// Strictly: a read that starts after a write was acknowledged sees it, and no read ever
/// sees what a crash could take back.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Runs a transaction. Returns when it is durable and the followers have it.
    ///
    /// Dropping the future does not take the transaction back once it is queued.
    async fn commit(&self, txn: Txn) -> Result<Committed, CommitError>;

    /// One key, now or at a revision.
    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<Option<Record>, ReadError>;

    /// Keys in `start..end` (an empty `end` means to the last key) in key order, at most
    /// `limit` of them (0: all), now or at a revision.
    async fn range(
        &self,
        start: &[u8],
        end: &[u8],
        at: Option<Revision>,
        limit: usize,
    ) -> Result<Page, ReadError>;

    /// What happened to keys with `prefix` after a revision, oldest first. A revision is
    /// never cut in two, so the answer may exceed `max` by one transaction; fewer than
    /// `max` events means there were no more.
    async fn events(
        &self,
        prefix: &[u8],
        after: Revision,
        max: usize,
    ) -> Result<Vec<StoreEvent>, ReadError>;

    /// The newest durable revision.
    fn revision(&self) -> Revision;

    /// The oldest revision that can still be read.
    fn compacted(&self) -> Revision;

    /// Gives up the past before `upto`: reads below it fail from now on, and what only
    /// they needed is removed in small steps between the commits.
    async fn compact(&self, upto: Revision) -> Result<(), ReadError>;

    /// Writes the files anew if they have grown far larger than what they hold, beside the
    /// commits. `None`: they have not. Best after [`Store::compact`], when they hold least.
    ///
    /// Dropping the future does not end it; closing the store does.
    async fn reclaim(&self) -> Result<Option<Reclaimed>, ReclaimError>;

    /// Deletes the keys whose time has come, in the order of their revisions, as ordinary
    /// transactions. Returns how many.
    async fn expire(&self, now_unix_seconds: u64) -> Result<usize, CommitError>;

    /// When the next key expires: until then there is no reason to call [`Store::expire`],
    /// unless a key with an earlier time is written.
    fn next_expiry(&self) -> Option<u64>;

    /// Registers a sink. It sees every batch after the returned revision, in order,
    /// without a gap.
    fn follow(&self, sink: Sink) -> Revision;

    /// The identity the store got when it was created.
    fn cluster_id(&self) -> &str;
}
