//! The one [`Store`] implementation: reads through the index, writes through the committer.

use std::{
    io,
    ops::ControlFlow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    committer::{self, Job},
    engine::Engine,
    envelope::{self, LogEntry, Put},
    error::StorageError,
    index::{Index, Version},
    keys::{self, Position},
    lock::DirLock,
    store::{Sink, Store},
    types::{CommitError, Committed, Page, ReadError, Record, Revision, StoreEvent, Txn, limits},
};

/// What opening found.
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) cluster_id: String,
}

/// What readers and the committer share.
pub(crate) struct Shared<E> {
    pub(crate) engine: E,
    pub(crate) index: RwLock<Index>,
    /// Changes only while the index is locked for writing, so that under a read lock the
    /// two belong together.
    pub(crate) revision: AtomicU64,
    pub(crate) compacted: AtomicU64,
    /// Held while a batch becomes visible and is handed out, so that a follower knows
    /// exactly where it came in.
    pub(crate) sinks: Mutex<Vec<Sink>>,
    /// Set once, when the engine fails; nothing is accepted afterwards.
    pub(crate) failure: OnceLock<Arc<StorageError>>,
    cluster_id: String,
    _lock: DirLock,
}

pub(crate) struct MvccStore<E> {
    shared: Arc<Shared<E>>,
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Job>>,
    room: Arc<Semaphore>,
    committer: Option<thread::JoinHandle<()>>,
    compacting: tokio::sync::Mutex<()>,
}

/// Transactions that wait for the committer; further writers wait for room.
const QUEUE_LENGTH: usize = 2048;
/// What the values of waiting transactions may take. One transaction always fits.
const QUEUE_BYTES: usize = 64 << 20;
const _: () = assert!(limits::TXN_BYTES <= QUEUE_BYTES);

impl<E: Engine> MvccStore<E> {
    pub(crate) fn start(engine: E, state: State, lock: DirLock) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            engine,
            index: RwLock::new(state.index),
            revision: AtomicU64::new(state.revision),
            compacted: AtomicU64::new(state.compacted),
            sinks: Mutex::new(Vec::new()),
            failure: OnceLock::new(),
            cluster_id: state.cluster_id,
            _lock: lock,
        });
        let (queue, jobs) = mpsc::channel(QUEUE_LENGTH);
        let committer = thread::Builder::new().name("committer".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || committer::run(&shared, jobs)
        })?;
        Ok(Self {
            shared,
            queue: Some(queue),
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            committer: Some(committer),
            compacting: tokio::sync::Mutex::new(()),
        })
    }

    /// Queues a job and waits for its answer.
    pub(crate) async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, CommitError>>) -> Job,
    ) -> Result<T, CommitError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(CommitError::Closed)?;
        queue.send(job(reply)).await.map_err(|_| self.shared.closed())?;
        answer.await.map_err(|_| self.shared.closed())?
    }

    pub(crate) fn shared(&self) -> &Shared<E> {
        &self.shared
    }

    pub(crate) async fn one_compaction(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.compacting.lock().await
    }

    /// Runs a read that may take long on a thread where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared<E>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || read(&shared)).await.map_err(|_| ReadError::Closed)?
    }
}

impl<E> Drop for MvccStore<E> {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(committer) = self.committer.take()
            && committer.thread().id() != thread::current().id()
        {
            // A panic there was reported when it happened.
            let _ = committer.join();
        }
    }
}

#[async_trait]
impl<E: Engine> Store for MvccStore<E> {
    async fn commit(&self, txn: Txn) -> Result<Committed, CommitError> {
        // `check` has bounded it.
        let bytes = committer::check(&txn)? as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        let room = room.map_err(|_| CommitError::Closed)?;
        self.ask(|reply| Job::Txn { txn, room, reply }).await
    }

    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<Option<Record>, ReadError> {
        // Two lookups, nearly always in the engine's cache: cheaper than changing threads.
        self.shared.get(key, at)
    }

    async fn range(
        &self,
        start: &[u8],
        end: &[u8],
        at: Option<Revision>,
        limit: usize,
    ) -> Result<Page, ReadError> {
        let (start, end) = (start.to_vec(), end.to_vec());
        self.blocking(move |shared| shared.range(&start, &end, at, limit)).await
    }

    async fn events(
        &self,
        prefix: &[u8],
        after: Revision,
        max: usize,
    ) -> Result<Vec<StoreEvent>, ReadError> {
        let prefix = prefix.to_vec();
        self.blocking(move |shared| shared.events(&prefix, after, max)).await
    }

    fn revision(&self) -> Revision {
        self.shared.revision.load(Ordering::Acquire)
    }

    fn compacted(&self) -> Revision {
        self.shared.compacted.load(Ordering::Acquire)
    }

    async fn compact(&self, upto: Revision) -> Result<(), ReadError> {
        crate::compaction::run(self, upto).await
    }

    async fn expire(&self, now_unix_seconds: u64) -> Result<usize, CommitError> {
        let mut expired = 0;
        loop {
            let some = self.ask(|reply| Job::Expire { now_unix_seconds, reply }).await?;
            expired += some;
            if some == 0 {
                return Ok(expired);
            }
        }
    }

    fn next_expiry(&self) -> Option<u64> {
        self.shared.index.read().next_expiry()
    }

    fn follow(&self, sink: Sink) -> Revision {
        let mut sinks = self.shared.sinks.lock();
        sinks.push(sink);
        self.revision()
    }

    fn cluster_id(&self) -> &str {
        &self.shared.cluster_id
    }
}

impl<E> Shared<E> {
    /// Why the committer did not answer.
    pub(crate) fn closed(&self) -> CommitError {
        self.failure.get().map_or(CommitError::Closed, |why| CommitError::Storage(Arc::clone(why)))
    }

    /// The revision to read at, if it can be read.
    fn readable(&self, at: Option<Revision>) -> Result<Revision, ReadError> {
        let current = self.revision.load(Ordering::Acquire);
        let Some(requested) = at else {
            return Ok(current);
        };
        let oldest = self.compacted.load(Ordering::Acquire);
        if requested > current {
            Err(ReadError::Future { requested, current })
        } else if requested < oldest {
            Err(ReadError::Compacted { requested, oldest })
        } else {
            Ok(requested)
        }
    }
}

impl<E: Engine> Shared<E> {
    fn get(&self, key: &[u8], at: Option<Revision>) -> Result<Option<Record>, ReadError> {
        let mut missing = None;
        loop {
            let version = {
                let index = self.index.read();
                let revision = self.readable(at)?;
                index.version_at(key, revision)
            };
            let Some(version) = version else {
                return Ok(None);
            };
            if let Some(record) = self.record(Bytes::copy_from_slice(key), version)? {
                return Ok(Some(record));
            }
            self.compacted_meanwhile(version, &mut missing)?;
        }
    }

    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        at: Option<Revision>,
        limit: usize,
    ) -> Result<Page, ReadError> {
        let mut missing = None;
        'again: loop {
            let (revision, (found, more)) = {
                let index = self.index.read();
                let revision = self.readable(at)?;
                (revision, index.range(start, end, revision, limit))
            };
            let mut records = Vec::with_capacity(found.len());
            for (key, version) in found {
                match self.record(key, version)? {
                    Some(record) => records.push(record),
                    None => {
                        self.compacted_meanwhile(version, &mut missing)?;
                        continue 'again;
                    }
                }
            }
            return Ok(Page { records, more, revision });
        }
    }

    fn events(
        &self,
        prefix: &[u8],
        after: Revision,
        max: usize,
    ) -> Result<Vec<StoreEvent>, ReadError> {
        let current = self.revision.load(Ordering::Acquire);
        self.readable(Some(after.min(current)))?;
        if after >= current {
            return Ok(Vec::new());
        }
        let mut found: Vec<(Bytes, Position, Option<Put>)> = Vec::new();
        let mut damage = None;
        self.engine
            .scan(&keys::log_after(after), &keys::log_after(current), &mut |key, value| {
                let Some(at) = keys::parse_log(key) else {
                    return ControlFlow::Continue(());
                };
                if found.len() >= max
                    && found.last().is_none_or(|(_, last, _)| last.revision != at.revision)
                {
                    return ControlFlow::Break(());
                }
                match envelope::decode(value) {
                    Ok(entry) if entry.key.starts_with(prefix) => {
                        found.push((Bytes::copy_from_slice(entry.key), at, entry.put));
                        ControlFlow::Continue(())
                    }
                    Ok(_) => ControlFlow::Continue(()),
                    Err(error) => {
                        damage = Some(StorageError::entry(at.revision, error));
                        ControlFlow::Break(())
                    }
                }
            })
            .map_err(storage)?;
        if let Some(damage) = damage {
            return Err(storage(damage));
        }
        let mut events = Vec::with_capacity(found.len());
        for (key, at, put) in found {
            let record = match put {
                None => None,
                Some(put) => match self.value(at, put.length)? {
                    Some(value) => Some(record(key.clone(), value, at, put)),
                    None => {
                        self.readable(Some(after))?;
                        return Err(lost(at));
                    }
                },
            };
            events.push(StoreEvent { key, revision: at.revision, record });
        }
        // A compaction that overtook the scan has left gaps in it.
        self.readable(Some(after))?;
        Ok(events)
    }

    /// A version's record; `None` when it is not in the engine (any more).
    fn record(&self, key: Bytes, version: Version) -> Result<Option<Record>, ReadError> {
        let at = version.at();
        let Some(bytes) = self.engine.get(&keys::log(at)).map_err(storage)? else {
            return Ok(None);
        };
        let entry = envelope::decode(&bytes)
            .map_err(|error| storage(StorageError::entry(at.revision, error)))?;
        let LogEntry { put: Some(put), .. } = entry else {
            return Err(lost(at));
        };
        let value = self.value(at, put.length)?;
        Ok(value.map(|value| record(key, value, at, put)))
    }

    /// A value from its chunks; `None` when one is not there (any more).
    fn value(&self, at: Position, length: u32) -> Result<Option<Bytes>, ReadError> {
        let chunks = keys::chunks(length);
        if chunks == 1 {
            return self.engine.get(&keys::chunk(at, 0)).map_err(storage);
        }
        let mut value = BytesMut::with_capacity(length as usize);
        for n in 0..chunks {
            match self.engine.get(&keys::chunk(at, n)).map_err(storage)? {
                Some(chunk) => value.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
        Ok(Some(value.freeze()))
    }

    /// A version the index named was not in the engine. Once: a compaction overtook the
    /// read, which has to look again. The same version twice: it is lost.
    fn compacted_meanwhile(
        &self,
        version: Version,
        missing: &mut Option<Version>,
    ) -> Result<(), ReadError> {
        if missing.replace(version) == Some(version) {
            return Err(lost(version.at()));
        }
        Ok(())
    }
}

fn record(key: Bytes, value: Bytes, at: Position, put: Put) -> Record {
    Record {
        key,
        value,
        revision_span: put.revision_span,
        create_revision: put.create_revision,
        mod_revision: at.revision,
        version: put.version,
    }
}

fn lost(at: Position) -> ReadError {
    storage(StorageError::Missing { revision: at.revision })
}

fn storage(error: StorageError) -> ReadError {
    ReadError::Storage(Arc::new(error))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::{
        engine::{SledEngine, Visit, WriteBatch},
        types::Value,
    };

    /// sled on a disk that can be told to fail.
    struct Failing {
        engine: SledEngine,
        fails: Arc<AtomicBool>,
    }

    impl Engine for Failing {
        fn open(dir: &std::path::Path, cache_bytes: u64) -> Result<Self, StorageError> {
            let engine = SledEngine::open(dir, cache_bytes)?;
            Ok(Self { engine, fails: Arc::default() })
        }

        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
            self.engine.get(key)
        }

        fn scan(
            &self,
            start: &[u8],
            end: &[u8],
            visit: &mut Visit<'_>,
        ) -> Result<(), StorageError> {
            self.engine.scan(start, end, visit)
        }

        fn commit(&self, batch: WriteBatch) -> Result<(), StorageError> {
            // The write arrives, the sync fails: what the disk holds is not known.
            self.engine.commit(batch)?;
            if self.fails.load(Ordering::Relaxed) {
                let path = std::path::Path::new("db");
                return Err(StorageError::io(
                    "cannot sync",
                    path,
                    io::Error::other("disk failure"),
                ));
            }
            Ok(())
        }

        fn size_on_disk(&self) -> Result<u64, StorageError> {
            self.engine.size_on_disk()
        }
    }

    #[tokio::test]
    async fn after_a_failed_sync_nothing_is_accepted_and_nothing_unsure_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Failing::open(dir.path(), 1 << 20).unwrap();
        let fails = Arc::clone(&engine.fails);
        let state =
            State { index: Index::default(), revision: 0, compacted: 0, cluster_id: String::new() };
        let lock = DirLock::acquire(dir.path()).ok().unwrap();
        let store = MvccStore::start(engine, state, lock).unwrap();
        let published = Arc::new(AtomicU64::new(0));
        let sink = Arc::clone(&published);
        store.follow(Box::new(move |batch| {
            sink.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
        }));
        let put = |value: &'static str| Txn::put("/a", Value::plain(value));
        store.commit(put("1")).await.unwrap();

        fails.store(true, Ordering::Relaxed);
        let error = store.commit(put("2")).await.unwrap_err();
        assert!(
            matches!(&error, CommitError::Storage(why) if matches!(**why, StorageError::Io { .. }))
        );
        // The disk's recovery does not help: only reopening tells what it holds.
        fails.store(false, Ordering::Relaxed);
        assert!(matches!(store.commit(put("3")).await, Err(CommitError::Storage(_))));
        assert!(matches!(store.expire(u64::MAX).await, Err(CommitError::Storage(_))));
        assert!(matches!(store.compact(1).await, Err(ReadError::Storage(_))));

        assert_eq!((store.revision(), published.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(store.get(b"/a", None).await.unwrap().unwrap().value, "1");
    }
}
