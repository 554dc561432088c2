//! Deltas on their way into one scheduler instance.
//!
//! Only the latest state of an object matters, so a delta replaces the one
//! before of the same object: the feed is bounded by the number of objects,
//! and stays in the order of revisions.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use pintle_api::meta::GroupVersionKind;

use crate::cluster::{Change, ClusterEvent, ObjectHandle};

#[derive(Clone)]
pub(crate) enum Delta {
    Upsert(ObjectHandle),
    Remove(ObjectHandle),
}

#[derive(Default)]
pub(crate) struct Feed(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    deltas: BTreeMap<(u64, u64), (String, Delta)>,
    by_uid: HashMap<String, (u64, u64)>,
    sequence: u64,
    /// Per kind, the revision at which the instance has had a full list.
    floors: Vec<(GroupVersionKind, u64)>,
}

impl Feed {
    pub fn push(&self, event: &ClusterEvent) {
        let mut inner = self.0.lock();
        let listed = inner.floors.iter().find(|(kind, _)| kind == &**event.object.kind());
        if listed.is_some_and(|(_, revision)| event.revision <= *revision) {
            return;
        }
        inner.sequence += 1;
        let place = (event.revision, inner.sequence);
        let uid = event.object.uid().to_owned();
        if let Some(before) = inner.by_uid.insert(uid.clone(), place) {
            inner.deltas.remove(&before);
        }
        let delta = match event.change {
            Change::Added | Change::Modified => Delta::Upsert(event.object.clone()),
            Change::Deleted => Delta::Remove(event.object.clone()),
        };
        inner.deltas.insert(place, (uid, delta));
    }

    /// The instance gets a list of `kind` at `revision`: older deltas of it are void.
    pub fn listed(&self, kind: &GroupVersionKind, revision: u64) {
        let mut inner = self.0.lock();
        inner.floors.retain(|(listed, _)| listed != kind);
        inner.floors.push((kind.clone(), revision));
        let stale: Vec<_> = inner
            .deltas
            .iter()
            .filter(|((at, _), (_, delta))| {
                *at <= revision && delta.object().kind().as_ref() == kind
            })
            .map(|(place, (uid, _))| (*place, uid.clone()))
            .collect();
        for (place, uid) in stale {
            inner.deltas.remove(&place);
            inner.by_uid.remove(&uid);
        }
    }

    /// The oldest deltas.
    pub fn take(&self, max: usize) -> Vec<Delta> {
        let mut inner = self.0.lock();
        let mut taken = Vec::with_capacity(max.min(inner.deltas.len()));
        while taken.len() < max
            && let Some((_, (uid, delta))) = inner.deltas.pop_first()
        {
            inner.by_uid.remove(&uid);
            taken.push(delta);
        }
        taken
    }

    /// All deltas. The lock is held for a moment only, however many they are:
    /// the event stream must not wait for a thread of low priority.
    pub fn take_all(&self) -> Vec<Delta> {
        let deltas = {
            let mut inner = self.0.lock();
            let by_uid = std::mem::take(&mut inner.by_uid);
            (std::mem::take(&mut inner.deltas), by_uid)
        };
        deltas.0.into_values().map(|(_, delta)| delta).collect()
    }

    pub fn len(&self) -> usize {
        self.0.lock().deltas.len()
    }
}

impl Delta {
    pub fn object(&self) -> &ObjectHandle {
        match self {
            Self::Upsert(object) | Self::Remove(object) => object,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{event, object};
    use serde_json::json;

    fn node(revision: u64, name: &str) -> ObjectHandle {
        object(revision, json!({ "kind": "Node", "metadata": { "name": name } }))
    }

    fn taken(feed: &Feed) -> Vec<String> {
        let name = |delta: &Delta| match delta {
            Delta::Upsert(object) => format!("+{}@{}", object.name(), object.revision()),
            Delta::Remove(object) => format!("-{}@{}", object.name(), object.revision()),
        };
        feed.take(usize::MAX).iter().map(name).collect()
    }

    #[test]
    fn only_the_latest_of_an_object_is_kept_in_order() {
        let feed = Feed::default();
        for (revision, name) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
            feed.push(&event(Change::Modified, &node(revision, name), None));
        }
        feed.push(&event(Change::Deleted, &node(5, "b"), None));
        assert_eq!(feed.len(), 3);
        assert_eq!(taken(&feed), ["+a@3", "+c@4", "-b@5"]);
        assert_eq!(feed.len(), 0);
    }

    #[test]
    fn what_a_list_covers_is_void_before_and_after() {
        let feed = Feed::default();
        feed.push(&event(Change::Added, &node(3, "a"), None));
        feed.push(&event(Change::Added, &node(9, "b"), None));
        feed.listed(&GroupVersionKind::new("", "v1", "Node"), 5);
        feed.push(&event(Change::Added, &node(5, "c"), None));
        feed.push(&event(Change::Added, &node(6, "d"), None));
        assert_eq!(taken(&feed), ["+d@6", "+b@9"]);
    }
}
