//! The nouns of the store: transactions, records, events and the errors they end in.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use thiserror::Error;

use crate::{error::StorageError, open::OpenError};

/// The cluster's one counter. Revision 0 is the empty store; the first write gets 1.
pub type Revision = u64;

/// Bounds that keep one request from hurting the others.
pub mod limits {
    /// Kubernetes accepts request bodies of 1.5 MiB; stored objects are that plus what
    /// the server itself adds (managed fields, defaults).
    pub const VALUE_BYTES: usize = 2 * 1024 * 1024;
    /// All values of one transaction together.
    pub const TXN_BYTES: usize = 4 * VALUE_BYTES;
    /// Operations, and also guards, in one transaction.
    pub const TXN_OPS: usize = 1024;
    /// `/registry/<group>/<plural>/<namespace>/<name>`, each part at most 253 bytes.
    pub const KEY_BYTES: usize = 1280;
}

/// A value on its way in.
#[derive(Clone, Debug)]
pub struct Value {
    pub bytes: Bytes,
    /// Where in `bytes` the committer splices the decimal digits of the transaction's
    /// revision. For a JSON object this is the place between two quotes.
    pub revision_at: Option<u32>,
}

impl Value {
    /// A value that does not want to know its revision.
    pub fn plain(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), revision_at: None }
    }
}

/// One version of one key, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Bytes,
    /// Already contains the revision where the writer asked for it.
    pub value: Bytes,
    /// Offset and length of those digits, for whoever has to write others there.
    pub revision_span: Option<(u32, u8)>,
    /// The revision that created the key (the last time it came into being).
    pub create_revision: Revision,
    /// The revision that wrote this version.
    pub mod_revision: Revision,
    /// 1 for the first version after the creation.
    pub version: u64,
}

/// What a guard wants to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Present,
    ModRevision(Revision),
}

/// A condition on one key; all guards of a transaction must hold.
#[derive(Clone, Debug)]
pub struct Guard {
    pub key: Bytes,
    pub expect: Expect,
}

/// One write of a transaction. A key may occur once per transaction.
#[derive(Clone, Debug)]
pub enum Op {
    Put {
        key: Bytes,
        value: Value,
        expires_at_unix_seconds: Option<u64>,
    },
    /// Deleting what does not exist is no change: no event, no revision.
    Delete {
        key: Bytes,
    },
}

impl Op {
    pub fn key(&self) -> &Bytes {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }
}

/// Guards and writes that happen together, at one revision, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    pub guards: Vec<Guard>,
    pub ops: Vec<Op>,
}

impl Txn {
    /// A transaction of one unguarded put.
    pub fn put(key: impl Into<Bytes>, value: Value) -> Self {
        Self {
            guards: Vec::new(),
            ops: vec![Op::Put { key: key.into(), value, expires_at_unix_seconds: None }],
        }
    }

    /// A transaction of one unguarded delete.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self { guards: Vec::new(), ops: vec![Op::Delete { key: key.into() }] }
    }

    /// The same transaction, on condition.
    pub fn guard(mut self, key: impl Into<Bytes>, expect: Expect) -> Self {
        self.guards.push(Guard { key: key.into(), expect });
        self
    }
}

/// The answer to a transaction that happened.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The transaction's revision; the revision at which it was looked at when it
    /// changed nothing.
    pub revision: Revision,
    /// One entry per operation, `None` for deletes.
    pub records: Vec<Option<Record>>,
}

/// What happened to one key at one revision.
#[derive(Clone, Debug)]
pub struct StoreEvent {
    pub key: Bytes,
    pub revision: Revision,
    /// `None` when the key was deleted.
    pub record: Option<Record>,
}

/// What one commit of the engine made durable: whole transactions, in revision order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub events: Vec<StoreEvent>,
}

/// The answer to a range.
#[derive(Clone, Debug)]
pub struct Page {
    pub records: Vec<Record>,
    /// There are keys in the range after the last record.
    pub more: bool,
    /// The revision the page was read at.
    pub revision: Revision,
}

/// Why a transaction did not happen.
#[derive(Clone, Debug, Error)]
pub enum CommitError {
    #[error("a guard on key {} does not hold, its revision is {}", printable(key), found(*actual))]
    Guard {
        key: Bytes,
        /// The key's mod revision, `None` when it does not exist.
        actual: Option<Revision>,
    },
    #[error("the transaction is too large: {what} {size} exceeds {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    #[error("the transaction is malformed: {0}")]
    Malformed(String),
    #[error("the store is closed")]
    Closed,
    /// The engine failed once; the store accepts nothing any more, because it can no
    /// longer tell what the disk holds. Reopen it.
    #[error("storage failed, no write is accepted until the store is reopened")]
    Storage(#[source] Arc<StorageError>),
}

/// Why a read has no answer.
#[derive(Clone, Debug, Error)]
pub enum ReadError {
    #[error("revision {requested} has been compacted, the oldest readable one is {oldest}")]
    Compacted { requested: Revision, oldest: Revision },
    #[error("revision {requested} is in the future, the current one is {current}")]
    Future { requested: Revision, current: Revision },
    #[error("the store is closed")]
    Closed,
    #[error("cannot read from storage")]
    Storage(#[source] Arc<StorageError>),
}

/// What [`crate::Store::reclaim`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reclaimed {
    /// What the files took before and take now.
    pub before_bytes: u64,
    pub after_bytes: u64,
    /// How long writers waited for the exchange.
    pub pause: Duration,
}

/// Why the files are as they were.
#[derive(Debug, Error)]
pub enum ReclaimError {
    #[error("cannot make another generation of storage files")]
    Generation(#[source] OpenError),
    #[error("cannot copy into another generation of storage files")]
    Copy(#[source] StorageError),
    #[error("cannot start a thread for writing storage files anew")]
    Thread(#[source] std::io::Error),
    #[error("writes come faster than they can be copied, the storage files stay as they are")]
    Overtaken,
    #[error("the store is closed")]
    Closed,
    /// As for [`CommitError::Storage`]: reopen it.
    #[error("storage failed, no write is accepted until the store is reopened")]
    Storage(#[source] Arc<StorageError>),
}

fn printable(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

fn found(actual: Option<Revision>) -> String {
    actual.map_or_else(|| "none (it does not exist)".to_owned(), |revision| revision.to_string())
}
