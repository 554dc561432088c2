//! What the event stream and others leave for the worker of a scheduler.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use serde_json::Value;

use super::joining::Join;
use super::live::{is_node, is_pod};
use super::pending::Pending;
use super::pod::PodView;
use super::unit::Next;
use crate::cluster::{Change, ClusterEvent, Listing, ObjectHandle};
use crate::fields;
use crate::program::scheduler_interface::Wake;

#[derive(Default)]
pub(crate) struct Inbox {
    pub scheduler_names: Vec<String>,
    pub pending: Pending,
    /// Bindings on their way.
    pub in_flight: usize,
    /// Pods that were not bound after all, to be told to the instance.
    pub forget: Vec<String>,
    /// Pods with the node they were given, until the event stream shows it.
    pub assumed: HashMap<String, (ObjectHandle, String)>,
    /// Pod events up to here are covered by a list.
    listed: u64,
    /// What happens to pods while they are listed: the list may not have it.
    meanwhile: Option<Vec<ClusterEvent>>,
    pub feed_full: bool,
    /// Followers that wait to be let in.
    pub joins: Vec<Join>,
    /// How far the event stream has come.
    pub delivered: u64,
    pub next: Option<Next>,
    pub resync: bool,
    pub stop: bool,
}

impl Inbox {
    /// Updates what waits; returns what this event may have made possible.
    pub fn take_in(&mut self, event: &ClusterEvent, now: Instant) -> Wake {
        let kind = &**event.object.kind();
        if is_pod(kind) {
            return self.take_in_pod(event, now);
        }
        if is_node(kind) {
            let matters = match (&event.previous, event.change) {
                (_, Change::Deleted) => false,
                (Some(previous), Change::Modified) => {
                    node_changed(previous.json(), event.object.json())
                }
                _ => true,
            };
            return if matters { Wake::NODE_CHANGED } else { Wake::empty() };
        }
        Wake::OTHER_CHANGED
    }

    /// A list of all pods is about to be made.
    pub fn begin_listing(&mut self) {
        self.meanwhile = Some(Vec::new());
    }

    /// The pods that wait are those of the list, and of what has happened since.
    pub fn listed(&mut self, listing: Listing, now: Instant) {
        let (mut waiting, mut unbound) = (HashSet::new(), HashSet::new());
        for pod in listing.objects {
            let view = PodView::of(&*pod);
            if view.is_bound() {
                continue;
            }
            unbound.insert(pod.uid().to_owned());
            if view.is_pending_for(&self.scheduler_names) {
                waiting.insert(pod.uid().to_owned());
                let priority = view.priority();
                self.pending.put(pod, priority, true, now);
            }
        }
        self.pending.retain(|uid| waiting.contains(uid));
        self.assumed.retain(|uid, _| unbound.contains(uid));
        self.listed = listing.revision;
        for event in self.meanwhile.take().unwrap_or_default() {
            if event.revision > listing.revision {
                self.take_in_pod(&event, now);
            }
        }
    }

    fn take_in_pod(&mut self, event: &ClusterEvent, now: Instant) -> Wake {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.push(event.clone());
        }
        let uid = event.object.uid();
        let view = PodView::of(&*event.object);
        if event.change == Change::Deleted {
            self.pending.remove(uid);
            self.assumed.remove(uid);
            return if view.is_bound() { Wake::POD_REMOVED } else { Wake::empty() };
        }
        if view.is_bound() {
            self.pending.remove(uid);
            self.assumed.remove(uid);
            let before = event.previous.as_ref().map(|previous| PodView::of(&**previous));
            let was_bound = before.as_ref().is_some_and(PodView::is_bound);
            let released = view.is_terminal() && !before.as_ref().is_some_and(PodView::is_terminal);
            return match (was_bound, released) {
                (_, true) => Wake::POD_REMOVED,
                (false, _) => Wake::POD_ADDED,
                (true, _) => Wake::empty(),
            };
        }
        if event.revision <= self.listed {
            return Wake::empty();
        }
        if view.is_pending_for(&self.scheduler_names) {
            let changed = event.previous.as_ref().is_none_or(|previous| {
                ["spec", "metadata.labels"]
                    .iter()
                    .any(|path| fields::texts_differ(previous.raw(path), event.object.raw(path)))
            });
            self.pending.put(event.object.clone(), view.priority(), changed, now);
        } else {
            self.pending.remove(uid);
        }
        Wake::empty()
    }
}

/// Anything but a heartbeat: those only move the times in the conditions.
fn node_changed(before: &[u8], after: &[u8]) -> bool {
    let plain = [
        "spec",
        "metadata.labels",
        "metadata.annotations",
        "status.allocatable",
        "status.capacity",
    ];
    plain.iter().any(|path| fields::differ(before, after, path))
        || conditions(before) != conditions(after)
}

fn conditions(node: &[u8]) -> Vec<(String, String)> {
    let text =
        |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    let parsed: Option<Vec<Value>> = fields::raw(node, "status.conditions")
        .and_then(|conditions| serde_json::from_str(conditions).ok());
    parsed
        .iter()
        .flatten()
        .map(|condition| (text(condition, "type"), text(condition, "status")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    fn pod(name: &str, revision: u64, node: Option<&str>) -> ObjectHandle {
        let spec = json!({"nodeName": node});
        let value =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        object(revision, value)
    }

    fn event(change: Change, object: ObjectHandle) -> ClusterEvent {
        ClusterEvent { revision: object.revision(), change, object, previous: None }
    }

    /// What happens between the list and its being taken in is neither lost nor undone.
    #[test]
    fn a_list_does_not_hide_what_has_happened_since() {
        fn check(listed: &[ObjectHandle], meanwhile: Vec<ClusterEvent>, expect: &[&str]) {
            let now = Instant::now();
            let names = vec!["default-scheduler".to_owned()];
            let mut inbox = Inbox { scheduler_names: names, ..Inbox::default() };
            inbox.begin_listing();
            for event in &meanwhile {
                inbox.take_in(event, now);
            }
            inbox.listed(Listing { revision: 5, objects: listed.to_vec() }, now);
            let taken = inbox.pending.take(usize::MAX, now);
            let names: Vec<&str> = taken.iter().map(|pod| pod.name()).collect();
            assert_eq!(names, expect);
        }
        let (old, new) = (pod("old", 3, None), pod("new", 6, None));
        let only_old = [old.clone()];
        check(&only_old, vec![], &["old"]);
        check(&only_old, vec![event(Change::Added, new.clone())], &["old", "new"]);
        check(&only_old, vec![event(Change::Deleted, pod("old", 6, None))], &[]);
        check(&only_old, vec![event(Change::Modified, pod("old", 6, Some("n")))], &[]);
        // The list is newer than these, and it is right.
        check(&only_old, vec![event(Change::Added, pod("gone", 4, None))], &["old"]);
        check(&[pod("old", 5, Some("n"))], vec![event(Change::Added, old)], &[]);
    }
}
