//! Writing the files anew, beside the commits.
//!
//! A thread of a low priority copies everything into the next generation while the committer
//! goes on writing to the current one, and then, over and over, what was written meanwhile.
//! When little is left the committer is held between two groups: the rest is copied, the next
//! generation is durable and complete, `CURRENT` names it, and it takes over. Until that
//! rename a crash finds the current generation, after it the next one, and both hold every
//! write that was acknowledged.
//!
//! Nothing is removed from the current generation meanwhile: a copy that had passed a version
//! before it was forgotten, and came to the delete that superseded it afterwards, would bring
//! the key back to life. Compactions wait.

use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tracing::{error, info};

use crate::{
    committer::{Hold, Job},
    engine::{Engine, WriteBatch},
    error::StorageError,
    generation::{Files, Generation},
    keys::{self, EngineKey},
    mvcc::{MvccStore, Shared},
    types::{ReclaimError, Reclaimed, Revision},
};

/// Copied per engine batch. Each waits for the disk, and the commits beside it wait longer
/// the larger it is.
const STEP_BYTES: usize = 1 << 20;
/// So many revisions may be left when the committer is held: a few milliseconds.
const FEW: Revision = 256;
/// Rounds of catching up before giving up.
const ROUNDS: usize = 64;
/// Of the thread, as `nice` has it.
const NICE: i32 = 10;

pub(crate) async fn run<E: Engine>(
    store: &MvccStore<E>,
) -> Result<Option<Reclaimed>, ReclaimError> {
    let alone = store.one_compaction().await;
    let shared = Arc::clone(store.shared());
    let before_bytes = shared.files().engine.size_on_disk().map_err(ReclaimError::Copy)?;
    let held = shared.index.read().bytes();
    let options = &shared.options;
    // What an engine needs besides what it holds is not got rid of by writing it again.
    let least = shared.rewritten_to.load(Ordering::Relaxed);
    let worthwhile = options
        .rewrite_above_bytes
        .max(held.saturating_mul(options.rewrite_factor))
        .max(least.saturating_mul(options.rewrite_factor.min(2)));
    if before_bytes <= worthwhile {
        return Ok(None);
    }
    let queue = store.queue().ok_or(ReclaimError::Closed)?;
    let (tell, told) = oneshot::channel();
    let rewriter = thread::Builder::new()
        .name("rewriter".to_owned())
        .spawn(move || {
            // Failing to is harmless.
            let _ = rustix::process::nice(NICE);
            let _: Result<_, _> = tell.send(rewrite(&shared, &queue, before_bytes, alone));
        })
        .map_err(ReclaimError::Thread)?;
    store.keep_rewriter(rewriter);
    let panicked = |_| ReclaimError::Copy(StorageError::Panic("see the log".to_owned()));
    told.await.map_err(panicked)?.map(Some)
}

fn rewrite<E: Engine>(
    shared: &Shared<E>,
    queue: &mpsc::Sender<Job>,
    before_bytes: u64,
    _alone: OwnedMutexGuard<()>,
) -> Result<Reclaimed, ReclaimError> {
    let began = Instant::now();
    let old = shared.files();
    let number = old.number + 1;
    let new: Files<E> = shared.directory.create(number).map_err(ReclaimError::Generation)?;
    let result = copy_and_exchange(shared, queue, &old.engine, new);
    let (after_bytes, pause) = result?;
    shared.rewritten_to.store(after_bytes, Ordering::Relaxed);
    info!(
        before_bytes,
        after_bytes,
        elapsed_ms = began.elapsed().as_millis() as u64,
        pause_ms = pause.as_millis() as u64,
        "storage files written anew"
    );
    Ok(Reclaimed { before_bytes, after_bytes, pause })
}

fn copy_and_exchange<E: Engine>(
    shared: &Shared<E>,
    queue: &mpsc::Sender<Job>,
    old: &E,
    new: Files<E>,
) -> Result<(u64, Duration), ReclaimError> {
    // Whatever ends this early, the half of a generation that was made goes with it.
    let mut unfinished = Unfinished(Some(new));
    let Some(new) = &unfinished.0 else { return Err(ReclaimError::Closed) };
    let going_on = || {
        if shared.closing.load(Ordering::Acquire) || shared.failure.get().is_some() {
            return Err(ReclaimError::Closed);
        }
        Ok(())
    };
    let mut copied = shared.revision.load(Ordering::Acquire);
    // One prefix after the other: `c`, `l`, `m` are all there is.
    copy(old, &new.engine, b"c", b"n", &going_on)?;
    let mut rounds = 0;
    loop {
        let reached = shared.revision.load(Ordering::Acquire);
        if reached - copied <= FEW {
            break;
        }
        rounds += 1;
        if rounds > ROUNDS {
            return Err(ReclaimError::Overtaken);
        }
        copy_revisions(old, &new.engine, copied, reached, &going_on)?;
        copied = reached;
    }
    let next = Generation { number: new.number, new: false };
    shared.directory.announce(&next).map_err(ReclaimError::Generation)?;

    let began = Instant::now();
    let (held, holding) = oneshot::channel();
    let (_let_go, until) = oneshot::channel::<()>();
    queue.blocking_send(Job::Hold(Hold { held, until })).map_err(|_| ReclaimError::Closed)?;
    holding.blocking_recv().map_err(|_| ReclaimError::Closed)?;
    going_on()?;
    let reached = shared.revision.load(Ordering::Acquire);
    copy_revisions(old, &new.engine, copied, reached, &going_on)?;
    copy(old, &new.engine, b"m", b"n", &going_on)?;
    if let Err(cause) = shared.directory.replace_current() {
        // Which of the two generations the disk names is not known, so neither may be
        // written to.
        let chain: &(dyn std::error::Error + 'static) = &cause;
        error!(error = chain, "storage failed, no further write is accepted");
        let exchange = || Arc::new(StorageError::Exchange(Box::new(cause)));
        let why = Arc::clone(shared.failure.get_or_init(exchange));
        // Both stay, for whoever opens them.
        drop(unfinished.0.take());
        return Err(ReclaimError::Storage(why));
    }
    let Some(new) = unfinished.0.take() else { return Err(ReclaimError::Closed) };
    let after_bytes = new.engine.size_on_disk().unwrap_or_default();
    shared.exchange(Arc::new(new));
    Ok((after_bytes, began.elapsed()))
}

/// A generation that is removed again unless it is taken out.
struct Unfinished<E>(Option<Files<E>>);

impl<E> Drop for Unfinished<E> {
    fn drop(&mut self) {
        if let Some(files) = &self.0 {
            files.supersede();
        }
    }
}

type GoingOn<'a> = &'a dyn Fn() -> Result<(), ReclaimError>;

/// What was written after one revision, up to and with another.
fn copy_revisions<E: Engine>(
    old: &E,
    new: &E,
    after: Revision,
    upto: Revision,
    going_on: GoingOn<'_>,
) -> Result<(), ReclaimError> {
    copy(old, new, &keys::chunks_after(after), &keys::chunks_after(upto), going_on)?;
    copy(old, new, &keys::log_after(after), &keys::log_after(upto), going_on)
}

/// Copies `start..end`, each step durable before the next one is read.
fn copy<E: Engine>(
    old: &E,
    new: &E,
    start: &[u8],
    end: &[u8],
    going_on: GoingOn<'_>,
) -> Result<(), ReclaimError> {
    let mut start = EngineKey::from_slice(start);
    loop {
        going_on()?;
        let (mut batch, mut bytes, mut next) = (WriteBatch::default(), 0, None);
        old.scan(&start, end, &mut |key, value| {
            if bytes >= STEP_BYTES {
                next = Some(EngineKey::from_slice(key));
                return ControlFlow::Break(());
            }
            bytes += key.len() + value.len();
            batch.put(EngineKey::from_slice(key), value.to_vec());
            ControlFlow::Continue(())
        })
        .map_err(ReclaimError::Copy)?;
        if !batch.is_empty() {
            new.commit(batch).map_err(ReclaimError::Copy)?;
        }
        match next {
            Some(next) => start = next,
            None => return Ok(()),
        }
    }
}
