//! The one thread that writes.
//!
//! It takes what is queued, evaluates it against the index plus what came before it in the
//! same group, writes one engine batch, and answers only when the disk has it: also the
//! writers whose guard failed, because what they learn must not be taken back by a crash.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::error;

use crate::{
    engine::{Engine, WriteBatch},
    error::StorageError,
    group::{Answer, Group, Work},
    index::Obsolete,
    mvcc::Shared,
    types::{Batch, CommitError, Committed, Op, Revision, Txn, limits},
};

pub(crate) type Reply<T> = oneshot::Sender<Result<T, CommitError>>;

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
    Hold(Hold),
}

/// Between two groups nothing is written until the other side lets go, also by dying.
pub(crate) struct Hold {
    pub(crate) held: oneshot::Sender<()>,
    pub(crate) until: oneshot::Receiver<()>,
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
        let (mut next, mut hold) = (Some(first), None);
        while let Some(job) = next {
            hold = group.take(job);
            let full = hold.is_some() || group.is_full();
            next = if full { None } else { jobs.try_recv().ok() };
        }
        group.evaluated().finish(shared);
        if let Some(Hold { held, until }) = hold
            && held.send(()).is_ok()
        {
            // Sent or dropped: it is over.
            let _ = until.blocking_recv();
        }
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
            && let Err(cause) = commit(&shared.files().engine, batch)
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
