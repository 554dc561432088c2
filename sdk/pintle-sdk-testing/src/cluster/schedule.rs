//! The scheduler of a cluster: its decisions performed as a host does.

use pintle_sdk::scheduler::Decision;
use pintle_sdk::types::POD;
use pintle_sdk::{NoExtensions, Object, ObjectRef};
use serde_json::json;

use super::Cluster;
use crate::faults::{ActionFate, Faults};
use crate::fields::{at, text};

impl Cluster {
    /// Asks the scheduler about every pod that waits and performs what it
    /// decides; true if a pod was bound or makes room for itself.
    pub fn schedule(&mut self) -> bool {
        self.deliver();
        let Some(mut desk) = self.desk.take() else { return false };
        desk.sync();
        let mut decided = false;
        if !desk.pending(self.view()).is_empty() {
            let context = self.world.context();
            let decisions = desk.decide(&context, self.view(), &NoExtensions);
            let mut forgotten = Vec::new();
            for (pod, decision) in decisions {
                self.note(format!("scheduler: {}: {decision:?}", pod.reference));
                match decision {
                    Decision::Bind { node, .. } if self.bind(&pod, &node) => {
                        desk.note_bound(&pod.uid);
                        decided = true;
                    }
                    Decision::Bind { .. } => forgotten.push(pod.uid),
                    Decision::Preempt { node, victims, .. } => {
                        decided |= self.make_room(&pod, &node, &victims);
                    }
                    Decision::Unschedulable { message, .. } => self.explain(&pod, &message),
                    Decision::Ignore(_) => {}
                }
            }
            desk.forget(forgotten);
        }
        self.desk = Some(desk);
        decided
    }

    /// False: the pod is another one by now, or meets a conflict.
    fn bind(&mut self, pod: &Object, node: &str) -> bool {
        let fate = self.faults.as_mut().map_or(ActionFate::Performed, Faults::action);
        let waits = self.world.object(&pod.reference).is_some_and(|known| {
            text(known, "metadata.uid") == pod.uid
                && text(known, "spec.nodeName").is_empty()
                && at(known, "metadata.deletionTimestamp").is_none()
        });
        if !waits || fate == ActionFate::Conflict {
            return false;
        }
        self.world.patch(&pod.reference, json!({"spec": {"nodeName": node}}));
        true
    }

    fn make_room(&mut self, pod: &Object, node: &str, victims: &[String]) -> bool {
        let places: Vec<ObjectRef> = self
            .world
            .of_kind(&POD)
            .filter(|(_, known)| {
                victims.iter().any(|uid| uid == text(known, "metadata.uid"))
                    && at(known, "metadata.deletionTimestamp").is_none()
            })
            .map(|(reference, _)| reference.clone())
            .collect();
        for place in &places {
            self.world.delete(place);
        }
        if self.world.object(&pod.reference).is_some() {
            self.world.patch_status(&pod.reference, json!({"nominatedNodeName": node}));
        }
        !places.is_empty()
    }

    fn explain(&mut self, pod: &Object, message: &str) {
        let same = |known: &serde_json::Value| text(known, "metadata.uid") == pod.uid;
        if self.world.object(&pod.reference).is_some_and(same) {
            let condition = json!([{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": message}]);
            self.world.patch_status(&pod.reference, json!({ "conditions": condition }));
        }
    }
}
