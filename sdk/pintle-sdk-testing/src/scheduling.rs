//! A world with a scheduler at work in it.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use pintle_sdk::scheduler::{Decision, Scheduler};
use pintle_sdk::types::{NODE, Node, POD, Pod};
use pintle_sdk::{Extensions, NoExtensions, Object, ObjectRef};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::fields::text;
use crate::subject::{self, SchedulerSubject, Subject};
use crate::world::World;

/// A world whose pending pods a scheduler decides about. Dereferences to its
/// [`World`]: what a test does to the world reaches the scheduler as deltas
/// before its next decision, as it does from the host.
///
/// Decisions are performed: a binding sets `spec.nodeName`, a preemption takes
/// the victims away and nominates the pod. A decision that makes no sense (a
/// node that does not exist, more or fewer decisions than pods) panics.
pub struct Scheduling {
    world: World,
    desk: Desk,
}

impl Deref for Scheduling {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Scheduling {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Scheduling {
    /// The scheduler `S` itself; `config` is the JSON of `spec.config`. Panics
    /// when the configuration is refused, for tests.
    pub fn with<S: Scheduler + 'static>(config: Value) -> Self {
        Scheduling::of(&subject::scheduler::<S>(), config, World::new())
    }

    /// A scheduler, whatever it is made of, which starts with `world` present.
    pub fn of(subject: &Subject<dyn SchedulerSubject>, config: Value, world: World) -> Self {
        let mut world = world;
        world.take_changes();
        let mut desk = Desk::of(subject, config);
        desk.tell(&world.present());
        Scheduling { world, desk }
    }

    /// Decides about all pending pods and performs the decisions; by pod.
    pub fn schedule(&mut self) -> BTreeMap<ObjectRef, Decision> {
        self.schedule_with(&NoExtensions, |_| true)
    }

    /// As [`Scheduling::schedule`], with what extensions say. A binding that
    /// `accept` refuses meets a conflict: the pod stays without node and the
    /// scheduler is told to forget it.
    pub fn schedule_with(
        &mut self,
        extensions: &dyn Extensions,
        mut accept: impl FnMut(&ObjectRef) -> bool,
    ) -> BTreeMap<ObjectRef, Decision> {
        let changes = self.world.take_changes();
        self.desk.tell(&changes);
        self.desk.sync();
        if self.pending().is_empty() {
            return BTreeMap::new();
        }
        let context = self.world.context();
        let decisions = self.desk.decide(&context, &self.world, extensions);
        let mut forgotten = Vec::new();
        let mut result = BTreeMap::new();
        for (pod, decision) in decisions {
            if !self.perform(&pod, &decision, &mut accept) {
                forgotten.push(pod.uid.clone());
            }
            result.insert(pod.reference, decision);
        }
        self.desk.forget(forgotten);
        result
    }

    /// Which node a pod of namespace `default` is on; `None` while it waits.
    pub fn node_of(&self, pod: &str) -> Option<String> {
        let object = self.world.object(&POD.named("default", pod))?;
        Some(text(object, "spec.nodeName")).filter(|node| !node.is_empty()).map(str::to_owned)
    }

    /// Pods that wait for this scheduler, the oldest first.
    pub fn pending(&self) -> Vec<Object> {
        self.desk.pending(&self.world)
    }

    /// False: the pod was not bound after all.
    fn perform(
        &mut self,
        pod: &Object,
        decision: &Decision,
        accept: &mut impl FnMut(&ObjectRef) -> bool,
    ) -> bool {
        match decision {
            Decision::Bind { node, .. } => {
                self.assert_node(node);
                if !accept(&pod.reference) {
                    return false;
                }
                self.world.patch(&pod.reference, json!({"spec": {"nodeName": node}}));
            }
            Decision::Preempt { node, victims, .. } => {
                self.assert_node(node);
                for victim in victims {
                    let place = self.pod_with(victim);
                    self.world.remove(&place);
                }
                self.world.patch_status(&pod.reference, json!({"nominatedNodeName": node}));
            }
            Decision::Unschedulable { .. } | Decision::Ignore(_) => {}
        }
        true
    }

    fn assert_node(&self, node: &str) {
        assert!(self.world.object(&NODE.named("", node)).is_some(), "there is no node {node}");
    }

    fn pod_with(&self, uid: &str) -> ObjectRef {
        let pods = self.world.all(&POD);
        let Some(pod) = pods.into_iter().find(|pod| text(pod, "metadata.uid") == uid) else {
            panic!("the victim {uid} does not exist");
        };
        POD.named(text(pod, "metadata.namespace"), text(pod, "metadata.name"))
    }
}

/// What is promised on nodes beyond what they have, one line each: the sum of
/// requests per resource, and the number of pods.
pub fn overcommitted(world: &World) -> Vec<String> {
    let read = |json: &Value| json.to_string().into_bytes();
    let pods: Vec<Pod> = world
        .all(&POD)
        .into_iter()
        .filter_map(|pod| pintle_sdk::serde_json::from_slice(&read(pod)).ok())
        .filter(|pod: &Pod| !pod.is_finished())
        .collect();
    let mut lines = Vec::new();
    for node in world.all(&NODE) {
        let Ok(node) = pintle_sdk::serde_json::from_slice::<Node>(&read(node)) else { continue };
        let name = &node.metadata.name;
        let on: Vec<&Pod> = pods.iter().filter(|pod| pod.spec.node_name == *name).collect();
        for (resource, room) in &node.status.allocatable {
            if resource == "pods" {
                if i64::try_from(on.len()).unwrap_or(i64::MAX) > room.value() {
                    lines.push(format!("node {name}: {} pods, room for {room}", on.len()));
                }
                continue;
            }
            let used: pintle_sdk::quantity::Quantity =
                on.iter().map(|pod| pod.requests(resource)).sum();
            // What is asked for by nobody cannot be too much, whatever the node says.
            if used > *room && !used.is_zero() {
                lines.push(format!("node {name}: {resource} {used} of {room}"));
            }
        }
    }
    lines
}
