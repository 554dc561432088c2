//! Events of what went well: nobody waits for them. They are written one after the
//! other while there are pods to bind, and several at a time when there are none:
//! in a burst of thousands they come after it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::unit::Shared;
use crate::action::Action;

/// What more comes is not written: by then nobody reads them one by one.
const MOST_WAITING: usize = 16 * 1024;

/// Events being written at a time when nothing more urgent is to be done.
const AT_EASE: usize = 16;

#[derive(Default)]
pub(crate) struct Announcements(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Action>,
    /// Somebody writes them, and looks again before ending.
    is_written: bool,
}

impl Announcements {
    /// Whether somebody has to begin to write.
    fn put(&self, event: Action) -> bool {
        let mut queue = self.0.lock();
        if queue.waiting.len() < MOST_WAITING {
            queue.waiting.push_back(event);
        }
        !std::mem::replace(&mut queue.is_written, true)
    }

    /// The oldest; after `None` whoever writes has to end.
    fn take(&self) -> Option<Action> {
        let mut queue = self.0.lock();
        let event = queue.waiting.pop_front();
        if event.is_none() {
            // What a burst needed is given back.
            *queue = Queue::default();
        }
        event
    }
}

impl Shared {
    /// Has the event written before long.
    pub(super) fn announce(self: &Arc<Self>, event: Action) {
        if self.announcements.put(event) {
            self.runtime.spawn(write(self.clone()));
        }
    }

    fn has_more_urgent_work(&self) -> bool {
        let inbox = self.inbox.lock();
        inbox.in_flight > 0 || inbox.pending.depth() > 0
    }
}

async fn write(shared: Arc<Shared>) {
    let mut writing = JoinSet::new();
    while let Some(event) = shared.announcements.take() {
        let most = if shared.has_more_urgent_work() { 1 } else { AT_EASE };
        while writing.len() >= most && writing.join_next().await.is_some() {}
        let shared = shared.clone();
        writing.spawn(async move {
            if let Err(error) = shared.cluster.apply(&shared.identity, event).await {
                let plugin = shared.identity.name();
                tracing::debug!(plugin, %error, "an event was not recorded");
            }
        });
    }
    writing.detach_all();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::decisions;
    use crate::testing::object;

    #[test]
    fn one_writer_at_a_time_and_a_bounded_queue() {
        let pod = object(1, serde_json::json!({"kind": "Pod", "metadata": {"name": "a"}}));
        let event = || decisions::event(&*pod, false, "Scheduled", "Binding", String::new());
        let announcements = Announcements::default();
        assert!(announcements.put(event()), "the first finds nobody writing");
        for _ in 0..MOST_WAITING {
            assert!(!announcements.put(event()));
        }
        let mut written = 0;
        while announcements.take().is_some() {
            written += 1;
        }
        assert_eq!(written, MOST_WAITING);
        assert!(announcements.put(event()), "the writer has ended");
    }
}
