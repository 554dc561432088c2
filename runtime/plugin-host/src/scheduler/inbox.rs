//! What the event stream and others leave for the worker of a scheduler.

use std::collections::HashMap;
use std::time::Instant;

use serde_json::Value;

use super::joining::Join;
use super::live::{is_node, is_pod};
use super::pending::Pending;
use super::pod::PodView;
use super::unit::Next;
use crate::cluster::{Change, ClusterEvent, ObjectHandle};
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
    pub listed: u64,
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

    fn take_in_pod(&mut self, event: &ClusterEvent, now: Instant) -> Wake {
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
