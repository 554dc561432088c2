//! Evaluates what waits, in one group: guards are checked, revisions assigned and the
//! engine's batch made, all in memory.

use std::{collections::HashMap, sync::atomic::Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::RwLockReadGuard;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    committer::{Hold, Job, Reply},
    engine::WriteBatch,
    envelope::{self, LogEntry, Put},
    index::{Change, Head, Index, Obsolete, Version},
    keys::{self, CHUNK_BYTES, Position},
    mvcc::Shared,
    types::{CommitError, Committed, Expect, Guard, Op, Record, Revision, StoreEvent, Txn, Value},
};

/// Jobs of one group: beyond this the answers of the first wait for the last.
const GROUP_JOBS: usize = 1024;
/// Value bytes of one group.
const GROUP_BYTES: usize = 8 << 20;
/// Keys one expiry job deletes.
const EXPIRE_KEYS: usize = 1024;

/// Jobs being evaluated: the index as it is plus what they will make of it.
pub(crate) struct Group<'a> {
    index: RwLockReadGuard<'a, Index>,
    /// Keys this group has already written.
    heads: HashMap<Bytes, Option<Head>>,
    revision: Revision,
    jobs: usize,
    bytes: usize,
    work: Work,
}

/// What is left to do once everything is evaluated.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) batch: WriteBatch,
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<StoreEvent>,
    pub(crate) compacted: Option<Revision>,
    pub(crate) forget: Vec<Obsolete>,
    pub(crate) answers: Vec<Answer>,
}

pub(crate) enum Answer {
    Txn {
        reply: Reply<Committed>,
        result: Result<Committed, CommitError>,
        /// Dropped with the answer.
        _room: OwnedSemaphorePermit,
    },
    Expire(Reply<usize>, usize),
    Done(Reply<()>),
}

impl<'a> Group<'a> {
    pub(crate) fn new<E>(shared: &'a Shared<E>) -> Self {
        Self {
            index: shared.index.read(),
            heads: HashMap::new(),
            revision: shared.revision.load(Ordering::Acquire),
            jobs: 0,
            bytes: 0,
            work: Work::default(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.jobs >= GROUP_JOBS || self.bytes >= GROUP_BYTES
    }

    /// Evaluates a job. A hold comes back: it begins when everything before it is done.
    pub(crate) fn take(&mut self, job: Job) -> Option<Hold> {
        self.jobs += 1;
        match job {
            Job::Hold(hold) => return Some(hold),
            Job::Txn { txn, room, reply } => {
                let result = self.txn(txn);
                self.work.answers.push(Answer::Txn { reply, result, _room: room });
            }
            Job::Expire { now_unix_seconds, reply } => {
                let expired = self.expire(now_unix_seconds);
                self.work.answers.push(Answer::Expire(reply, expired));
            }
            Job::Compact { upto, reply } => {
                self.work.batch.put(keys::meta(keys::COMPACTED), upto.to_string().into_bytes());
                self.work.compacted = self.work.compacted.max(Some(upto));
                self.work.answers.push(Answer::Done(reply));
            }
            Job::Forget { obsolete, reply } => {
                for version in obsolete.iter().flat_map(|one| &one.versions) {
                    let at = version.at();
                    for n in 0..keys::chunks(version.length()) {
                        self.work.batch.delete(keys::chunk(at, n));
                    }
                    self.work.batch.delete(keys::log(at));
                }
                self.work.forget.extend(obsolete);
                self.work.answers.push(Answer::Done(reply));
            }
        }
        None
    }

    /// Lets go of the index.
    pub(crate) fn evaluated(self) -> Work {
        self.work
    }

    fn head(&self, key: &[u8]) -> Option<Head> {
        self.heads.get(key).copied().unwrap_or_else(|| self.index.head(key))
    }

    fn txn(&mut self, txn: Txn) -> Result<Committed, CommitError> {
        for Guard { key, expect } in txn.guards {
            let actual = self.head(&key).map(|head| head.mod_revision);
            let holds = match expect {
                Expect::Absent => actual.is_none(),
                Expect::Present => actual.is_some(),
                Expect::ModRevision(revision) => actual == Some(revision),
            };
            if !holds {
                return Err(CommitError::Guard { key, actual });
            }
        }
        let revision = self.revision + 1;
        let (mut records, mut sub) = (Vec::with_capacity(txn.ops.len()), 0);
        for op in txn.ops {
            let at = Position { revision, sub };
            match op {
                Op::Put { key, value, expires_at_unix_seconds } => {
                    records.push(Some(self.put(at, key, value, expires_at_unix_seconds)?));
                    sub += 1;
                }
                Op::Delete { key } => {
                    records.push(None);
                    if self.head(&key).is_some() {
                        self.delete(at, key)?;
                        sub += 1;
                    }
                }
            }
        }
        if sub > 0 {
            self.revision = revision;
        }
        Ok(Committed { revision: self.revision, records })
    }

    fn expire(&mut self, now: u64) -> usize {
        let mut expired = 0;
        for key in self.index.due(now, EXPIRE_KEYS) {
            // An earlier job of this group may have renewed or deleted it.
            let due = self.head(&key).and_then(|head| head.expires_at).is_some_and(|at| at <= now);
            let at = Position { revision: self.revision + 1, sub: 0 };
            if due && self.delete(at, key).is_ok() {
                self.revision += 1;
                expired += 1;
            }
        }
        expired
    }

    fn put(
        &mut self,
        at: Position,
        key: Bytes,
        value: Value,
        expires_at: Option<u64>,
    ) -> Result<Record, CommitError> {
        let before = self.head(&key);
        let head = Head {
            create_revision: before.map_or(at.revision, |head| head.create_revision),
            mod_revision: at.revision,
            version: before.map_or(0, |head| head.version) + 1,
            expires_at,
            revision_span: None,
        };
        let (value, revision_span) = splice(value, at.revision);
        let head = Head { revision_span, ..head };
        let put = Put {
            create_revision: head.create_revision,
            version: head.version,
            // `check` has bounded it.
            length: value.len() as u32,
            revision_span,
            expires_at_unix_seconds: expires_at,
        };
        self.log(at, LogEntry { key: &key, put: Some(put) })?;
        for (n, offset) in (0..).zip((0..value.len()).step_by(CHUNK_BYTES)) {
            let end = value.len().min(offset + CHUNK_BYTES);
            self.work.batch.put(keys::chunk(at, n), value.slice(offset..end));
        }
        self.bytes += value.len();
        let record = Record {
            key: key.clone(),
            value,
            revision_span,
            create_revision: head.create_revision,
            mod_revision: at.revision,
            version: head.version,
        };
        self.change(at, key, Version::put(at, put.length), Some(head), Some(record.clone()));
        Ok(record)
    }

    fn delete(&mut self, at: Position, key: Bytes) -> Result<(), CommitError> {
        self.log(at, LogEntry { key: &key, put: None })?;
        self.change(at, key, Version::delete(at), None, None);
        Ok(())
    }

    fn log(&mut self, at: Position, entry: LogEntry<'_>) -> Result<(), CommitError> {
        let encoded =
            envelope::encode(entry).map_err(|error| CommitError::Malformed(error.to_string()))?;
        self.work.batch.put(keys::log(at), encoded);
        Ok(())
    }

    fn change(
        &mut self,
        at: Position,
        key: Bytes,
        version: Version,
        head: Option<Head>,
        record: Option<Record>,
    ) {
        self.heads.insert(key.clone(), head);
        self.work.changes.push(Change { key: key.clone(), version, head });
        self.work.events.push(StoreEvent { key, revision: at.revision, record });
    }
}

/// Writes the revision's digits into the value.
fn splice(value: Value, revision: Revision) -> (Bytes, Option<(u32, u8)>) {
    let Value { bytes, revision_at: Some(at) } = value else {
        return (value.bytes, None);
    };
    let digits = revision.to_string();
    let (before, after) = bytes.split_at(at as usize);
    let mut spliced = BytesMut::with_capacity(bytes.len() + digits.len());
    spliced.put_slice(before);
    spliced.put_slice(digits.as_bytes());
    spliced.put_slice(after);
    // A u64 has at most 20 digits.
    (spliced.freeze(), Some((at, digits.len() as u8)))
}
