//! The recent events of one resource.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use pintle_storage::Revision;

use crate::{event::Event, object::Object, pinned::RevisionGone};

/// A place in a ring; counts all events the ring ever held.
pub(crate) type Position = u64;

#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Held>,
    /// The position of the oldest event held.
    base: Position,
    bytes: usize,
    /// Events up to this revision may be missing.
    forgotten: Revision,
    hasher: RandomState,
}

/// An event with what is asked of every event of a ring, side by side in memory.
#[derive(Debug)]
struct Held {
    at: Duration,
    /// Of the state before; `Revision::MAX` if there was none.
    previous: Revision,
    /// Of the object's key.
    hash: u64,
    event: Arc<Event>,
}

/// How much a ring holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: usize,
    pub(crate) history: Duration,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self {
            events: VecDeque::new(),
            base: 0,
            bytes: 0,
            forgotten: 0,
            hasher: RandomState::new(),
        }
    }

    /// Everything up to a revision is known from elsewhere.
    pub(crate) fn start_after(&mut self, revision: Revision) {
        self.forgotten = self.forgotten.max(revision);
    }

    pub(crate) fn push(&mut self, now: Duration, event: Arc<Event>) -> Position {
        self.bytes += event.cost_bytes();
        let previous = event.previous.as_ref().map_or(Revision::MAX, |object| object.revision);
        let hash = self.hasher.hash_one((event.object.namespace(), event.object.name()));
        self.events.push_back(Held { at: now, previous, hash, event });
        self.end() - 1
    }

    /// Lets go of what is older than the history, and of more when the bytes demand it.
    pub(crate) fn trim(&mut self, now: Duration, bounds: Bounds) {
        while let Some(Held { at, event, .. }) = self.events.front() {
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
        self.base + self.events.partition_point(|held| held.event.revision <= revision) as Position
    }

    /// The states at a revision of all objects that changed after it, if the ring reaches
    /// back so far. The first event of an object after a revision is the one whose state
    /// before is not newer; an object that did not exist then has none.
    pub(crate) fn undone(
        &self,
        revision: Revision,
    ) -> Result<impl Iterator<Item = &Arc<Object>>, RevisionGone> {
        let held = self.held_after(revision)?.filter(move |held| held.previous <= revision);
        Ok(held.filter_map(|held| held.event.previous.as_ref()))
    }

    /// The state at a revision of one object that changed after it, or is gone.
    pub(crate) fn undone_one(
        &self,
        revision: Revision,
        namespace: &str,
        name: &str,
    ) -> Result<Option<&Arc<Object>>, RevisionGone> {
        let hash = self.hasher.hash_one((namespace, name));
        let mut held = self.held_after(revision)?;
        let found = held.find_map(|held| {
            let object = held.event.previous.as_ref()?;
            let same = held.hash == hash
                && held.previous <= revision
                && object.name() == name
                && object.namespace() == namespace;
            same.then_some(object)
        });
        Ok(found)
    }

    /// All events after a revision, if the ring reaches back so far.
    pub(crate) fn events_after(
        &self,
        revision: Revision,
    ) -> Result<impl Iterator<Item = &Arc<Event>>, RevisionGone> {
        Ok(self.held_after(revision)?.map(|held| &held.event))
    }

    fn held_after(&self, revision: Revision) -> Result<impl Iterator<Item = &Held>, RevisionGone> {
        if !self.holds_after(revision) {
            return Err(RevisionGone { revision });
        }
        // Both ends are within the ring.
        let from = (self.after(revision) - self.base) as usize;
        Ok(self.events.range(from..))
    }

    pub(crate) fn get(&self, position: Position) -> Option<&Arc<Event>> {
        let index = usize::try_from(position.checked_sub(self.base)?).ok()?;
        self.events.get(index).map(|held| &held.event)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pintle_api::kinds::{Registry, ResourceId};
    use pintle_storage::Record;

    use super::*;
    use crate::parse::Plan;

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
