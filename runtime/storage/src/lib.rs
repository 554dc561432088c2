//! The durable half of the cluster's state: a key-value store in which every
//! transaction gets one revision, every read can be made at a past revision, and
//! nothing is acknowledged (or readable) before it has reached the disk.
//!
//! Read [`Store`] first: it is the whole surface. [`open`] gives the embedded
//! implementation, one multi-version store over a small `Engine` trait, of which there are
//! two: sled (the default) and redb.
//!
//! What it does not know: Kubernetes. Keys and values are bytes; the only thing it
//! ever writes into a value is the decimal revision, at a place the caller names.
//! It owns no clock either: expiry and compaction are told what time or revision it is.
//!
//! How a write travels: [`Store::commit`] puts a [`Txn`] on a bounded queue. One
//! committer thread drains the queue, checks the guards against the in-memory index,
//! assigns revisions, writes one engine batch, waits for the disk, makes the batch
//! readable, hands it to the followers and only then answers. The time the disk takes
//! is the time in which the next batch gathers, so group commit needs no timer.

mod committer;
mod compaction;
mod engine;
mod envelope;
mod error;
mod generation;
mod group;
mod index;
mod keys;
mod lock;
mod mvcc;
mod open;
mod read;
mod reclaim;
mod store;
mod types;

pub use error::StorageError;
pub use generation::engine_in;
pub use open::{EngineKind, OpenError, Options, open};
pub use store::{Sink, Store};
pub use types::{
    Batch, CommitError, Committed, Expect, Guard, Op, Page, ReadError, ReclaimError, Reclaimed,
    Record, Revision, StoreEvent, Txn, Value, limits,
};
