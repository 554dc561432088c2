//! The one [`Store`] implementation: reads through the index, writes through the committer.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    committer::{self, Job},
    engine::Engine,
    error::StorageError,
    generation::{Directory, Files},
    index::Index,
    lock::DirLock,
    open::Options,
    reclaim,
    store::{Sink, Store},
    types::{
        CommitError, Committed, Page, ReadError, ReclaimError, Reclaimed, Record, Revision,
        StoreEvent, Txn, limits,
    },
};

/// What opening found.
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) cluster_id: String,
}

/// What readers, the committer and a rewrite share.
pub(crate) struct Shared<E> {
    /// Exchanged only while the committer is held.
    files: RwLock<Arc<Files<E>>>,
    pub(crate) directory: Directory,
    pub(crate) options: Options,
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
    /// What the files took when they had been written anew; 0 before.
    pub(crate) rewritten_to: AtomicU64,
    /// The store is being closed: what takes long is to end.
    pub(crate) closing: AtomicBool,
    cluster_id: String,
    _lock: DirLock,
}

pub(crate) struct MvccStore<E> {
    shared: Arc<Shared<E>>,
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Job>>,
    room: Arc<Semaphore>,
    committer: Option<thread::JoinHandle<()>>,
    rewriter: Mutex<Option<thread::JoinHandle<()>>>,
    /// Held by whoever removes versions, or copies them.
    compacting: Arc<tokio::sync::Mutex<()>>,
}

/// Transactions that wait for the committer; further writers wait for room.
const QUEUE_LENGTH: usize = 2048;
/// What the values of waiting transactions may take. One transaction always fits.
const QUEUE_BYTES: usize = 64 << 20;
const _: () = assert!(limits::TXN_BYTES <= QUEUE_BYTES);

impl<E: Engine> MvccStore<E> {
    pub(crate) fn start(
        directory: Directory,
        options: Options,
        files: Files<E>,
        state: State,
        lock: DirLock,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            files: RwLock::new(Arc::new(files)),
            directory,
            options,
            index: RwLock::new(state.index),
            revision: AtomicU64::new(state.revision),
            compacted: AtomicU64::new(state.compacted),
            sinks: Mutex::new(Vec::new()),
            failure: OnceLock::new(),
            rewritten_to: AtomicU64::new(0),
            closing: AtomicBool::new(false),
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
            rewriter: Mutex::default(),
            compacting: Arc::default(),
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

    pub(crate) fn shared(&self) -> &Arc<Shared<E>> {
        &self.shared
    }

    pub(crate) fn queue(&self) -> Option<mpsc::Sender<Job>> {
        self.queue.clone()
    }

    pub(crate) async fn one_compaction(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.compacting).lock_owned().await
    }

    /// The thread that is waited for when the store is closed.
    pub(crate) fn keep_rewriter(&self, thread: thread::JoinHandle<()>) {
        // One before it has ended: it gave back the right to compact.
        *self.rewriter.lock() = Some(thread);
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
        self.shared.closing.store(true, Ordering::Release);
        // It may hold the committer, and must not be waited for by itself.
        if let Some(rewriter) = self.rewriter.get_mut().take()
            && rewriter.thread().id() != thread::current().id()
        {
            let _ = rewriter.join();
        }
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

    async fn reclaim(&self) -> Result<Option<Reclaimed>, ReclaimError> {
        reclaim::run(self).await
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
    /// The files to read from and write to. Whoever keeps them keeps reading the same.
    pub(crate) fn files(&self) -> Arc<Files<E>> {
        Arc::clone(&self.files.read())
    }

    /// Another generation, which holds the same, takes over.
    pub(crate) fn exchange(&self, files: Arc<Files<E>>) {
        let before = std::mem::replace(&mut *self.files.write(), files);
        before.supersede();
    }

    /// Why the committer did not answer.
    pub(crate) fn closed(&self) -> CommitError {
        self.failure.get().map_or(CommitError::Closed, |why| CommitError::Storage(Arc::clone(why)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        engine::{SledEngine, Visit, WriteBatch},
        open::EngineKind,
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
        let directory =
            Directory { kind: EngineKind::Sled, path: dir.path().to_owned(), cache_bytes: 1 << 20 };
        let files = directory.create::<Failing>(1).unwrap();
        let fails = Arc::clone(&files.engine.fails);
        let state =
            State { index: Index::default(), revision: 0, compacted: 0, cluster_id: String::new() };
        let lock = DirLock::acquire(dir.path()).ok().unwrap();
        let store = MvccStore::start(directory, Options::default(), files, state, lock).unwrap();
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
