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
