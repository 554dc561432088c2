//! One subscription for all plugins. Each batch of events is shown to every
//! sink in turn, synchronously: a sink only turns events into keys or deltas,
//! both bounded by the number of objects, so none can hold up the others.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, EventBatch, EventStream, StreamGone};

/// To begin a stream in a moment without a commit.
const MAX_ATTEMPTS: usize = 100;

/// Something that wants to know what happens in the cluster.
pub(crate) trait Sink: Send + Sync {
    /// Called for every batch, of concern or not: `batch.revision` is how far
    /// the stream has come.
    fn observe(&self, batch: &EventBatch);

    /// Events were lost; what was derived from them has to be derived from lists
    /// again. The stream goes on behind `revision`.
    fn resync(&self, revision: u64);
}

pub(crate) struct Hub {
    cluster: Arc<dyn Cluster>,
    inner: Mutex<Inner>,
    /// How far all sinks have been shown the stream.
    shown: watch::Sender<u64>,
}

struct Inner {
    sinks: Vec<(u64, Arc<dyn Sink>)>,
    next_id: u64,
    delivered: u64,
}

/// Ends the delivery to its sink when dropped.
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.inner.lock().sinks.retain(|(id, _)| *id != self.id);
    }
}

impl Hub {
    pub fn new(cluster: Arc<dyn Cluster>) -> Arc<Self> {
        let inner = Mutex::new(Inner { sinks: Vec::new(), next_id: 0, delivered: 0 });
        Arc::new(Self { cluster, inner, shown: watch::Sender::new(0) })
    }

    /// Waits until all sinks have been shown the stream up to `revision`; false
    /// if that takes longer than `longest`.
    pub async fn reached(&self, revision: u64, longest: Duration) -> bool {
        if *self.shown.borrow() >= revision {
            return true;
        }
        let mut shown = self.shown.subscribe();
        let reached = shown.wait_for(|shown| *shown >= revision);
        tokio::time::timeout(longest, reached).await.is_ok()
    }

    /// Shows `sink` everything after the returned revision.
    pub fn add(self: &Arc<Self>, sink: Arc<dyn Sink>) -> (Subscription, u64) {
        let mut inner = self.inner.lock();
        inner.next_id += 1;
        let id = inner.next_id;
        inner.sinks.push((id, sink));
        (Subscription { hub: self.clone(), id }, inner.delivered)
    }

    pub async fn run(&self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let (revision, mut stream) = self.subscribe();
            let sinks = {
                let mut inner = self.inner.lock();
                inner.delivered = inner.delivered.max(revision);
                inner.sinks.clone()
            };
            for (_, sink) in sinks {
                sink.resync(revision);
            }
            self.shown.send_if_modified(|shown| raise(shown, revision));
            loop {
                let next = tokio::select! {
                    () = shutdown.cancelled() => return,
                    next = stream.next() => next,
                };
                match next {
                    Ok(batch) => self.show(&batch),
                    Err(StreamGone) => {
                        tracing::warn!(
                            "plugins could not follow the event stream; they list again"
                        );
                        break;
                    }
                }
            }
        }
    }

    /// A stream, and the revision behind which it begins.
    fn subscribe(&self) -> (u64, Box<dyn EventStream>) {
        let mut revision = self.cluster.revision();
        for _ in 0..MAX_ATTEMPTS {
            let stream = self.cluster.subscribe();
            let now = self.cluster.revision();
            if now == revision {
                return (revision, stream);
            }
            // Something was committed meanwhile, before or after the stream began.
            revision = now;
        }
        // What was committed meanwhile is in the stream, and harmless to see twice.
        (revision, self.cluster.subscribe())
    }

    fn show(&self, batch: &EventBatch) {
        // Held during delivery, so that a sink that is added sees whole batches only.
        let mut inner = self.inner.lock();
        for (_, sink) in &inner.sinks {
            sink.observe(batch);
        }
        inner.delivered = inner.delivered.max(batch.revision);
        drop(inner);
        self.shown.send_if_modified(|shown| raise(shown, batch.revision));
    }
}

fn raise(shown: &mut u64, revision: u64) -> bool {
    let further = revision > *shown;
    *shown = revision.max(*shown);
    further
}
