//! The recent events of one resource.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use pintle_storage::Revision;

use crate::event::Event;

/// A place in a ring; counts all events the ring ever held.
pub(crate) type Position = u64;

#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<(Duration, Arc<Event>)>,
    /// The position of the oldest event held.
    base: Position,
    bytes: usize,
    /// Events up to this revision may be missing.
    forgotten: Revision,
}

/// How much a ring holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: usize,
    pub(crate) history: Duration,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self { events: VecDeque::new(), base: 0, bytes: 0, forgotten: 0 }
    }

    /// Everything up to a revision is known from elsewhere.
    pub(crate) fn start_after(&mut self, revision: Revision) {
        self.forgotten = self.forgotten.max(revision);
    }

    pub(crate) fn push(&mut self, now: Duration, event: Arc<Event>) -> Position {
        self.bytes += event.cost_bytes();
        self.events.push_back((now, event));
        self.end() - 1
    }

    /// Lets go of what is older than the history, and of more when the bytes demand it.
    pub(crate) fn trim(&mut self, now: Duration, bounds: Bounds) {
        while let Some((at, event)) = self.events.front() {
            if self.bytes <= bounds.bytes && now.saturating_sub(*at) <= bounds.history {
                break;
            }
            self.bytes -= event.cost_bytes();
            self.forgotten = self.forgotten.max(event.revision);
            self.base += 1;
            self.events.pop_front();
        }
        if self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }

    pub(crate) fn base(&self) -> Position {
        self.base
    }

    pub(crate) fn end(&self) -> Position {
        self.base + self.events.len() as Position
    }

    /// Whether every event after a revision is here.
    pub(crate) fn holds_after(&self, revision: Revision) -> bool {
        revision >= self.forgotten
    }

    /// The position of the first event after a revision.
    pub(crate) fn after(&self, revision: Revision) -> Position {
        self.base + self.events.partition_point(|(_, event)| event.revision <= revision) as Position
    }

    pub(crate) fn get(&self, position: Position) -> Option<&Arc<Event>> {
        let index = usize::try_from(position.checked_sub(self.base)?).ok()?;
        self.events.get(index).map(|(_, event)| event)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pintle_api::kinds::{Registry, ResourceId};
    use pintle_storage::Record;

    use super::*;
    use crate::{object::Object, parse::Plan};

    fn event(revision: Revision) -> Arc<Event> {
        let record = Record {
            key: Bytes::new(),
            value: Bytes::from_static(b"{}"),
            revision_span: None,
            create_revision: revision,
            mod_revision: revision,
            version: 1,
        };
        let (registry, plan) = (Registry::builtin(), Plan::default());
        let object = Object::new(registry, ResourceId(0), &plan, "", "x", &record);
        Arc::new(Event::put(Arc::new(object), None))
    }

    /// Two events per second, one revision each.
    fn ring(revisions: u64) -> Ring {
        let mut ring = Ring::new();
        ring.start_after(10);
        for n in 1..=revisions {
            ring.push(Duration::from_millis(500 * n), event(10 + n));
        }
        ring
    }

    #[test]
    fn trimming_obeys_both_bounds() {
        let cost = event(1).cost_bytes();
        let check = |bytes: usize, seconds: u64, now: u64, expect: u64| {
            let mut ring = ring(10);
            let bounds = Bounds { bytes: bytes * cost, history: Duration::from_secs(seconds) };
            ring.trim(Duration::from_secs(now), bounds);
            assert_eq!(ring.end() - ring.base(), expect, "{bytes} {seconds} {now}");
            assert_eq!(ring.end(), 10);
            assert_eq!(ring.bytes, expect as usize * cost);
            // What is gone is known to be gone.
            let oldest = 20 - expect;
            assert!(ring.holds_after(oldest) && !ring.holds_after(oldest - 1));
        };
        check(100, 100, 5, 10);
        check(4, 100, 5, 4);
        check(0, 100, 5, 0);
        check(100, 2, 5, 5);
        check(100, 2, 60, 0);
        check(3, 2, 5, 3);
    }

    #[test]
    fn positions_outlive_trimming() {
        let mut ring = ring(10);
        assert!(ring.holds_after(10) && !ring.holds_after(9));
        let cost = event(1).cost_bytes();
        ring.trim(Duration::ZERO, Bounds { bytes: 4 * cost, history: Duration::MAX });
        for (revision, expect) in [(0, 6), (16, 6), (17, 7), (19, 9), (20, 10), (99, 10)] {
            assert_eq!(ring.after(revision), expect, "after {revision}");
        }
        assert_eq!(ring.get(6).map(|event| event.revision), Some(17));
        assert!(ring.get(5).is_none() && ring.get(10).is_none());
    }
}
