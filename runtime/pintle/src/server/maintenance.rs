//! What time alone brings about: old revisions are compacted, files that have grown
//! written anew, expired objects (Events) deleted. These are the only things in the server done by the clock,
//! because nothing else announces that time has passed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pintle_apiserver::Clock;
use pintle_storage::Store;
use pintle_watch::Bus;
use tokio::sync::watch;
use tracing::warn;

/// How long a revision can still be listed and watched from, as kube-apiserver's
/// `--etcd-compaction-interval`.
const HISTORY: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_secs(30);

pub async fn run(
    store: Arc<dyn Store>,
    bus: Bus,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) {
    // What was there at the start gets old as well.
    let mut marks = VecDeque::from([bus.revision()]);
    let keep = (HISTORY.as_secs() / TICK.as_secs()) as usize;
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
        marks.push_back(bus.revision());
        if marks.len() > keep
            && let Some(revision) = marks.pop_front()
            && let Err(error) = store.compact(revision).await
        {
            warn!(%error, revision, "old revisions cannot be compacted");
        }
        tokio::select! {
            // The store ends it when it is closed.
            _ = stop.wait_for(|stop| *stop) => return,
            reclaimed = store.reclaim() => if let Err(error) = reclaimed {
                warn!(error = &error as &dyn std::error::Error, "storage files stay as large as they are");
            }
        }
        let now = u64::try_from(clock.now_unix_ms() / 1000).unwrap_or(0);
        if let Err(error) = store.expire(now).await {
            warn!(%error, "expired objects cannot be deleted");
        }
    }
}
