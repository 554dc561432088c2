//! What all extensions are fed from: the numbered nodes, the pods that were just
//! given one, and who wants to see which events.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use pintle_api::meta::GroupVersionKind;
use serde_json::Value;

use super::bell::Bell;
use super::feed::Feed;
use super::live::{node_kind, pod_kind};
use super::numbering::Numbering;
use crate::cluster::{Change, ClusterEvent, ObjectHandle};
use crate::fields;
use crate::grants::Grants;

#[derive(Default)]
pub(super) struct View {
    pub numbering: Numbering,
    /// Events of nodes up to here are covered by a list.
    pub listed: u64,
    /// How far the event stream has come.
    pub delivered: u64,
    pub interests: Vec<Interest>,
    /// Pods with the node they were given, until the event stream shows it.
    pub assumed: HashMap<String, (ObjectHandle, String)>,
}

/// A feed lives as long as the instance that reads it.
pub(super) struct Interest {
    pub feed: Weak<Feed>,
    pub watches: Vec<GroupVersionKind>,
    pub pods: bool,
    pub grants: Arc<Grants>,
    pub bell: Arc<Bell>,
}

impl View {
    /// Every feed that is still read; forgets the others.
    pub fn each(&mut self, mut with: impl FnMut(&Interest, &Feed)) {
        self.interests.retain(|interest| {
            let Some(feed) = interest.feed.upgrade() else { return false };
            with(interest, &feed);
            true
        });
    }

    pub fn node(&mut self, node: &ObjectHandle) {
        let number = self.numbering.upsert(node);
        self.each(|_, feed| feed.node(number, node.clone()));
    }

    pub fn node_gone(&mut self, name: &str) {
        if let Some(number) = self.numbering.remove(name) {
            self.each(|_, feed| feed.node_gone(number));
        }
    }

    /// Whether extensions may say something else because of it, nodes aside.
    pub fn observe(&mut self, event: &ClusterEvent) -> bool {
        let object = &event.object;
        let kind = &**object.kind();
        if *kind == node_kind() {
            if event.revision > self.listed {
                self.observe_node(event);
            }
            return false;
        }
        let mut matters = false;
        if *kind == pod_kind() {
            let is_bound = object.field("spec.nodeName").is_some();
            if is_bound || event.change == Change::Deleted {
                self.assumed.remove(object.uid());
            }
            if !is_bound {
                return false;
            }
            self.each(|interest, feed| {
                if interest.wants_pod(object) {
                    feed.push(event);
                    matters = true;
                }
            });
            return matters;
        }
        self.each(|interest, feed| {
            if interest.watches.contains(kind) && interest.may_see(object) {
                feed.push(event);
                matters = true;
            }
        });
        matters
    }

    fn observe_node(&mut self, event: &ClusterEvent) {
        let node = &event.object;
        match (event.change, &event.previous) {
            (Change::Deleted, _) => self.node_gone(node.name()),
            (Change::Modified, Some(previous)) if is_heartbeat(previous.json(), node.json()) => {
                // The state before need not be kept alive.
                self.numbering.upsert(node);
            }
            _ => self.node(node),
        }
    }
}

impl Interest {
    pub fn wants_pod(&self, pod: &ObjectHandle) -> bool {
        self.pods && self.may_see(pod)
    }

    fn may_see(&self, object: &ObjectHandle) -> bool {
        self.grants.may_read_in(object.kind(), object.namespace())
    }
}

/// Only times moved, and what the API server keeps of writes. Answers are kept
/// until something is told, so what says nothing new is not.
fn is_heartbeat(before: &[u8], after: &[u8]) -> bool {
    let without_times = |json: &[u8]| -> Option<Value> {
        let mut node: Value = serde_json::from_slice(json).ok()?;
        let metadata = node.get_mut("metadata")?.as_object_mut()?;
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
        let conditions = node.get_mut("status").and_then(|status| status.get_mut("conditions"));
        for condition in conditions.and_then(Value::as_array_mut).into_iter().flatten() {
            condition.as_object_mut()?.remove("lastHeartbeatTime");
        }
        Some(node)
    };
    // What is cheap to tell apart mostly tells.
    let plain = ["spec", "metadata.labels", "metadata.annotations", "status.allocatable"];
    !plain.iter().any(|path| fields::differ(before, after, path))
        && without_times(before)
            .is_some_and(|before| without_times(after).is_some_and(|after| before == after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_heartbeat_says_nothing_new() {
        fn check(path: &str, value: Value, expect: bool) {
            let node = json!({
                "metadata": { "name": "n", "labels": { "zone": "a" }, "resourceVersion": "1" },
                "status": {
                    "images": [],
                    "conditions": [{ "type": "Ready", "status": "True", "lastHeartbeatTime": "1" }],
                },
            });
            let mut after = node.clone();
            *after.pointer_mut(path).unwrap() = value;
            let (node, after) = (node.to_string(), after.to_string());
            assert_eq!(is_heartbeat(node.as_bytes(), after.as_bytes()), expect, "{path}");
        }
        check("/metadata/resourceVersion", json!("2"), true);
        check("/status/conditions/0/lastHeartbeatTime", json!("2"), true);
        check("/status/conditions/0/status", json!("False"), false);
        check("/metadata/labels/zone", json!("b"), false);
        check("/status/images", json!([{ "names": ["web"] }]), false);
        assert!(!is_heartbeat(b"{}", b"nonsense"));
    }
}
