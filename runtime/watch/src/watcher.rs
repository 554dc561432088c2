//! A watcher: a cursor into the rings of one or several resources.

use std::sync::Arc;

use pintle_api::kinds::ResourceId;
use pintle_storage::{ReadError, Revision, Store, StoreEvent};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::{bus::Core, event::Event, object::Object, ring::Position, topic::Topic};

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With what happens next.
    Now,
    /// With what happened after a revision.
    After(Revision),
    /// With the current objects, in [`Watcher::initial`], and then what happens next.
    Initial,
}

/// The events the watcher would have to see next are not kept any more: it must list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the events to go on with are not kept any more, list again")]
pub struct Gone;

/// Sees every event of its topic once, in the order of revisions; all events of one
/// revision come in one piece.
pub struct Watcher {
    core: Arc<Core>,
    topic: Topic,
    lanes: Vec<Lane>,
    wake: Wake,
    /// Events up to here have been seen by other means than the cursor.
    floor: Revision,
    /// Reading the store's history after this revision, to reach the rings.
    replay: Option<Revision>,
    /// Everything up to here has been handed out.
    seen: Revision,
    /// For [`From::Initial`]: the objects as of the revision the watch began at, in the
    /// order of their keys.
    pub initial: Vec<Arc<Object>>,
}

struct Lane {
    resource: ResourceId,
    cursor: Position,
}

enum Wake {
    Topic(Arc<Notify>),
    Progress(watch::Receiver<Revision>),
}

/// Events handed out at a time, give or take a transaction.
const BATCH_EVENTS: usize = 1024;
/// Events read from the store's history at a time.
const REPLAY_EVENTS: usize = 512;

impl Watcher {
    pub(crate) fn one(
        core: &Arc<Core>,
        resource: ResourceId,
        topic: Topic,
        from: From,
    ) -> Result<Self, Gone> {
        let plan = core.plan(resource);
        let mut shelf = core.shelf(resource).write();
        let wake = Wake::Topic(shelf.subscribe(&topic, plan));
        let initial = match from {
            From::Initial => shelf.list(&topic, plan),
            From::Now | From::After(_) => Vec::new(),
        };
        let lane = Lane { resource, cursor: shelf.ring.end() };
        let revision = core.revision();
        drop(shelf);
        let mut watcher = Self {
            core: Arc::clone(core),
            topic,
            lanes: vec![lane],
            wake,
            floor: revision,
            replay: None,
            seen: revision,
            initial,
        };
        watcher.begin(from)?;
        Ok(watcher)
    }

    pub(crate) fn many(
        core: &Arc<Core>,
        resources: &[ResourceId],
        from: From,
    ) -> Result<Self, Gone> {
        let mut resources: Vec<_> =
            resources.iter().map(|id| core.registry.get(*id).storage_id).collect();
        resources.sort_unstable();
        resources.dedup();
        let wake = Wake::Progress(core.progress.subscribe());
        let shelves: Vec<_> = resources.iter().map(|id| core.shelf(*id).read()).collect();
        let initial = match from {
            From::Initial => {
                shelves.iter().flat_map(|shelf| shelf.objects.values().cloned()).collect()
            }
            From::Now | From::After(_) => Vec::new(),
        };
        let lanes = resources
            .iter()
            .zip(&shelves)
            .map(|(id, shelf)| Lane { resource: *id, cursor: shelf.ring.end() })
            .collect();
        let revision = core.revision();
        drop(shelves);
        let mut watcher = Self {
            core: Arc::clone(core),
            topic: Topic::All,
            lanes,
            wake,
            floor: revision,
            replay: None,
            seen: revision,
            initial,
        };
        watcher.begin(from)?;
        Ok(watcher)
    }

    /// Goes back from the present to where the watch shall begin.
    fn begin(&mut self, from: From) -> Result<(), Gone> {
        let From::After(after) = from else { return Ok(()) };
        self.seen = after;
        if !self.join(after) {
            let oldest = self.core.store.get().map_or(Revision::MAX, |store| store.compacted());
            if after < oldest {
                return Err(Gone);
            }
            self.replay = Some(after);
        }
        Ok(())
    }

    /// Puts the cursors behind a revision, if the rings hold everything after it.
    fn join(&mut self, after: Revision) -> bool {
        let core = Arc::clone(&self.core);
        if let ([lane], Wake::Topic(_)) = (self.lanes.as_mut_slice(), &self.wake)
            && self.topic != Topic::All
        {
            let mut shelf = core.shelf(lane.resource).write();
            if !shelf.ring.holds_after(after) {
                return false;
            }
            lane.cursor = shelf.ring.after(after);
            shelf.complete(&self.topic, core.plan(lane.resource), lane.cursor);
        } else {
            let shelves: Vec<_> =
                self.lanes.iter().map(|lane| core.shelf(lane.resource).read()).collect();
            if !shelves.iter().all(|shelf| shelf.ring.holds_after(after)) {
                return false;
            }
            for (lane, shelf) in self.lanes.iter_mut().zip(&shelves) {
                lane.cursor = shelf.ring.after(after);
            }
        }
        self.floor = after;
        self.replay = None;
        true
    }

    /// Waits for the next events. May be dropped while it waits without losing any.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, Gone> {
        loop {
            if let Some(after) = self.replay {
                let events = self.replay(after).await?;
                if !events.is_empty() {
                    return Ok(events);
                }
                continue;
            }
            let events = match &mut self.wake {
                Wake::Topic(wake) => {
                    // Listening starts before looking, so that nothing slips between.
                    let wake = Arc::clone(wake);
                    let mut woken = std::pin::pin!(wake.notified());
                    woken.as_mut().enable();
                    let events = self.take()?;
                    if events.is_empty() {
                        woken.await;
                    }
                    events
                }
                Wake::Progress(progress) => {
                    progress.mark_unchanged();
                    let events = self.take()?;
                    if events.is_empty()
                        && let Wake::Progress(progress) = &mut self.wake
                    {
                        progress.changed().await.map_err(|_| Gone)?;
                    }
                    events
                }
            };
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// What is there without waiting; empty if nothing is.
    pub fn try_next(&mut self) -> Result<Vec<Arc<Event>>, Gone> {
        if self.replay.is_some() { Ok(Vec::new()) } else { self.take() }
    }

    /// The revision up to which the watcher has seen everything: what a bookmark may say.
    pub fn revision(&self) -> Revision {
        if self.replay.is_some() {
            return self.seen;
        }
        let shelves: Vec<_> =
            self.lanes.iter().map(|lane| self.core.shelf(lane.resource).read()).collect();
        let drained = self.lanes.iter().zip(&shelves).all(|(lane, shelf)| {
            shelf.is_drained(&self.topic, self.core.plan(lane.resource), lane.cursor)
        });
        if drained { self.seen.max(self.core.revision()) } else { self.seen }
    }

    fn take(&mut self) -> Result<Vec<Arc<Event>>, Gone> {
        let core = Arc::clone(&self.core);
        let mut taken = Vec::new();
        // All locked before any is read: the lanes then show the same revision.
        let shelves: Vec<_> =
            self.lanes.iter().map(|lane| core.shelf(lane.resource).read()).collect();
        // Several lanes must not stop at different revisions.
        let limit = if self.lanes.len() == 1 { BATCH_EVENTS } else { usize::MAX };
        let mut drained = true;
        for (lane, shelf) in self.lanes.iter_mut().zip(&shelves) {
            let plan = core.plan(lane.resource);
            drained &=
                shelf.take(&self.topic, plan, &mut lane.cursor, self.floor, limit, &mut taken)?;
        }
        self.seen = match taken.last() {
            _ if drained => self.seen.max(core.revision()),
            Some(last) => last.revision,
            None => self.seen,
        };
        drop(shelves);
        if self.lanes.len() > 1 {
            // Stable: within a revision, the order of resources.
            taken.sort_by_key(|event| event.revision);
        }
        Ok(taken)
    }

    /// Reads a piece of the store's history and tries to reach the rings.
    async fn replay(&mut self, after: Revision) -> Result<Vec<Arc<Event>>, Gone> {
        let core = Arc::clone(&self.core);
        let store = core.store.get().ok_or(Gone)?;
        // What the bus has now, the store has had for longer.
        let current = core.revision();
        let prefix = self.prefix();
        let history = store
            .events(prefix.as_bytes(), after, REPLAY_EVENTS)
            .await
            .map_err(|error| gone(&error))?;
        let complete = history.len() < REPLAY_EVENTS;
        let mut reached = history.last().map_or(after, |event| event.revision);
        if complete {
            reached = reached.max(current);
        }
        let mut events = Vec::new();
        for event in history {
            if let Some(event) = self.historic(store.as_ref(), event).await? {
                events.push(Arc::new(event));
            }
        }
        self.seen = reached;
        if !self.join(reached) {
            self.replay = Some(reached);
        }
        Ok(events)
    }

    /// The keys the watcher can be concerned with all start with this.
    fn prefix(&self) -> String {
        let [lane] = self.lanes.as_slice() else { return "/registry/".to_owned() };
        let row = self.core.registry.get(lane.resource);
        match &self.topic {
            Topic::Namespace(namespace) => row.namespace_prefix(namespace),
            Topic::Name(namespace, name) => row.key(namespace, name),
            Topic::All | Topic::Field(..) => row.registry_prefix().to_owned(),
        }
    }

    /// An event as the ring would have held it; `None` if it does not concern the watcher.
    async fn historic(&self, store: &dyn Store, event: StoreEvent) -> Result<Option<Event>, Gone> {
        let Ok(key) = std::str::from_utf8(&event.key) else { return Ok(None) };
        let Some((row, namespace, name)) = self.core.registry.by_key(key) else { return Ok(None) };
        if !self.lanes.iter().any(|lane| self.core.index(lane.resource) == row.id.index()) {
            return Ok(None);
        }
        let (registry, plan) = (self.core.registry, self.core.plan(row.id));
        let object =
            |record| Arc::new(Object::new(registry, row.id, plan, namespace, name, &record));
        let created = event
            .record
            .as_ref()
            .is_some_and(|record| record.create_revision == record.mod_revision);
        let previous = if created {
            None
        } else {
            let before = store.get(&event.key, Some(event.revision - 1)).await;
            before.map_err(|error| gone(&error))?.map(object)
        };
        let event = match (event.record, previous) {
            (Some(record), previous) => Event::put(object(record), previous),
            (None, Some(last)) => Event::delete(last, event.revision),
            (None, None) => return Ok(None),
        };
        let concerned = self.topic.matches(&event.object)
            || event.previous.as_deref().is_some_and(|object| self.topic.matches(object));
        Ok(concerned.then_some(event))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let ([lane], Wake::Topic(_)) = (self.lanes.as_slice(), &self.wake)
            && self.topic != Topic::All
        {
            let plan = self.core.plan(lane.resource);
            self.core.shelf(lane.resource).write().unsubscribe(&self.topic, plan);
        }
    }
}

fn gone(error: &ReadError) -> Gone {
    if !matches!(error, ReadError::Compacted { .. }) {
        warn!(error = %error, "a watch cannot be resumed from the store's history");
    }
    Gone
}
