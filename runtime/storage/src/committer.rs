//! The one thread that writes.
//!
//! It takes what is queued, evaluates it against the index plus what came before it in the
//! same group, writes one engine batch, and answers only when the disk has it: also the
//! writers whose guard failed, because what they learn must not be taken back by a crash.

use std::{
    collections::HashMap,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, atomic::Ordering},
};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::RwLockReadGuard;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::error;

use crate::{
    engine::{Engine, WriteBatch},
    envelope::{self, LogEntry, Put},
    error::StorageError,
    index::{Change, Head, Index, Obsolete, Version},
    keys::{self, CHUNK_BYTES, Position},
    mvcc::Shared,
    types::{
        Batch, CommitError, Committed, Expect, Guard, Op, Record, Revision, StoreEvent, Txn, Value,
        limits,
    },
};

/// Jobs of one group: beyond this the answers of the first wait for the last.
const GROUP_JOBS: usize = 1024;
/// Value bytes of one group.
const GROUP_BYTES: usize = 8 << 20;
/// Keys one expiry job deletes.
const EXPIRE_KEYS: usize = 1024;

type Reply<T> = oneshot::Sender<Result<T, CommitError>>;

pub(crate) enum Job {
    /// The permit bounds the bytes that wait; it is given back with the answer.
    Txn {
        txn: Txn,
        room: OwnedSemaphorePermit,
        reply: Reply<Committed>,
    },
    Expire {
        now_unix_seconds: u64,
        reply: Reply<usize>,
    },
    Compact {
        upto: Revision,
        reply: Reply<()>,
    },
    Forget {
        obsolete: Vec<Obsolete>,
        reply: Reply<()>,
    },
}

/// Refuses what can be seen to be wrong without the store. Returns the bytes of the values.
pub(crate) fn check(txn: &Txn) -> Result<usize, CommitError> {
    let within = |what, size, limit| {
        if size <= limit { Ok(()) } else { Err(CommitError::TooLarge { what, size, limit }) }
    };
    within("operations", txn.ops.len(), limits::TXN_OPS)?;
    within("guards", txn.guards.len(), limits::TXN_OPS)?;
    let keys = txn.ops.iter().map(Op::key).chain(txn.guards.iter().map(|guard| &guard.key));
    for key in keys {
        within("key bytes", key.len(), limits::KEY_BYTES)?;
        if key.is_empty() {
            return Err(CommitError::Malformed("a key is empty".to_owned()));
        }
    }
    let mut bytes = 0;
    for op in &txn.ops {
        let Op::Put { value, .. } = op else { continue };
        let size = value.bytes.len();
        within("value bytes", size, limits::VALUE_BYTES)?;
        bytes += size;
        if value.revision_at.is_some_and(|at| at as usize > size) {
            return Err(CommitError::Malformed(
                "the place of the revision is outside the value".to_owned(),
            ));
        }
    }
    within("value bytes of all operations", bytes, limits::TXN_BYTES)?;
    if txn.ops.len() > 1 {
        let mut keys: Vec<_> = txn.ops.iter().map(Op::key).collect();
        keys.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            let key = twice[0].escape_ascii();
            return Err(CommitError::Malformed(format!("key {key} is written twice")));
        }
    }
    Ok(bytes)
}

/// Runs until every sender of the queue is gone and the queue is empty.
pub(crate) fn run<E: Engine>(shared: &Shared<E>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = Group::new(shared);
        let mut next = Some(first);
        while let Some(job) = next {
            group.take(job);
            next = if group.is_full() { None } else { jobs.try_recv().ok() };
        }
        let Group { index, work, .. } = group;
        drop(index);
        work.finish(shared);
    }
}

/// Jobs being evaluated: the index as it is plus what they will make of it.
struct Group<'a> {
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
struct Work {
    batch: WriteBatch,
    changes: Vec<Change>,
    events: Vec<StoreEvent>,
    compacted: Option<Revision>,
    forget: Vec<Obsolete>,
    answers: Vec<Answer>,
}

enum Answer {
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
    fn new<E>(shared: &'a Shared<E>) -> Self {
        Self {
            index: shared.index.read(),
            heads: HashMap::new(),
            revision: shared.revision.load(Ordering::Acquire),
            jobs: 0,
            bytes: 0,
            work: Work::default(),
        }
    }

    fn is_full(&self) -> bool {
        self.jobs >= GROUP_JOBS || self.bytes >= GROUP_BYTES
    }

    fn take(&mut self, job: Job) {
        self.jobs += 1;
        match job {
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
        };
        let (value, revision_span) = splice(value, at.revision);
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

impl Work {
    /// Disk, then readers, then followers, then writers.
    fn finish<E: Engine>(self, shared: &Shared<E>) {
        let Self { batch, changes, events, compacted, forget, answers } = self;
        if let Some(why) = shared.failure.get() {
            return fail(answers, why);
        }
        if !batch.is_empty()
            && let Err(cause) = commit(&shared.engine, batch)
        {
            // What the disk holds now is unknown, so nothing may be built upon it.
            let chain: &(dyn std::error::Error + 'static) = &cause;
            error!(error = chain, "storage failed, no further write is accepted");
            let why = shared.failure.get_or_init(|| Arc::new(cause));
            return fail(answers, why);
        }
        if let Some(upto) = compacted {
            shared.compacted.fetch_max(upto, Ordering::AcqRel);
        }
        if !changes.is_empty() || !forget.is_empty() {
            let sinks = shared.sinks.lock();
            {
                let mut index = shared.index.write();
                let last = events.last().map(|event| event.revision);
                for change in changes {
                    index.install(change);
                }
                for obsolete in &forget {
                    index.forget(obsolete);
                }
                if let Some(revision) = last {
                    shared.revision.store(revision, Ordering::Release);
                }
            }
            if !events.is_empty() {
                let batch = Batch { events };
                for sink in sinks.iter() {
                    sink(&batch);
                }
            }
        }
        // A writer that does not wait any more is none of our business.
        for answer in answers {
            match answer {
                Answer::Txn { reply, result, .. } => drop(reply.send(result)),
                Answer::Expire(reply, expired) => drop(reply.send(Ok(expired))),
                Answer::Done(reply) => drop(reply.send(Ok(()))),
            }
        }
    }
}

/// An engine that panics has failed like one that returns an error.
fn commit<E: Engine>(engine: &E, batch: WriteBatch) -> Result<(), StorageError> {
    // Nothing of the engine is used for writing afterwards, and readers see only what the
    // index names, which is what was durable before.
    panic::catch_unwind(AssertUnwindSafe(|| engine.commit(batch))).unwrap_or_else(|payload| {
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| payload.downcast_ref::<&str>().copied());
        Err(StorageError::Panic(message.unwrap_or("no message").to_owned()))
    })
}

fn fail(answers: Vec<Answer>, why: &Arc<StorageError>) {
    let why = || CommitError::Storage(Arc::clone(why));
    for answer in answers {
        match answer {
            Answer::Txn { reply, .. } => drop(reply.send(Err(why()))),
            Answer::Expire(reply, _) => drop(reply.send(Err(why()))),
            Answer::Done(reply) => drop(reply.send(Err(why()))),
        }
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
