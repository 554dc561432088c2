//! A scheduler beside a world: told what changed, asked about what waits.

use std::collections::BTreeSet;

use pintle_sdk::scheduler::{Decision, Delta, Description};
use pintle_sdk::types::{NODE, POD};
use pintle_sdk::{Context, Extensions, Object, ObjectRef};
use serde_json::Value;

use crate::fields::{at, text};
use crate::subject::{SchedulerSubject, Subject};
use crate::world::{Change, ChangeKind, World};

pub(crate) struct Desk {
    subject: Subject<dyn SchedulerSubject>,
    config: Value,
    scheduler: Box<dyn SchedulerSubject>,
    description: Description,
    untold: Vec<Delta>,
    /// Uids of pods that were bound; watches may not have said so yet.
    bound: BTreeSet<String>,
}

impl Desk {
    pub fn of(subject: &Subject<dyn SchedulerSubject>, config: Value) -> Self {
        let scheduler = subject.start(&config);
        let description = scheduler.describe();
        Desk {
            subject: subject.clone(),
            config,
            scheduler,
            description,
            untold: Vec::new(),
            bound: BTreeSet::new(),
        }
    }

    /// A fresh instance, fed with the present.
    pub fn restart(&mut self, world: &World) {
        self.scheduler = self.subject.start(&self.config);
        self.untold.clear();
        self.bound.clear();
        self.tell(&world.present());
    }

    pub fn tell(&mut self, changes: &[Change]) {
        for change in changes {
            if !self.wants(&change.reference, &change.object) {
                continue;
            }
            let object = Object {
                uid: text(&change.object, "metadata.uid").to_owned(),
                revision: text(&change.object, "metadata.resourceVersion").parse().unwrap_or(0),
                json: change.object.to_string().into_bytes(),
                reference: change.reference.clone(),
            };
            if change.reference.kind == POD {
                self.bound.remove(&object.uid);
            }
            self.untold.push(match change.kind {
                ChangeKind::Deleted => Delta::Remove(object),
                _ => Delta::Upsert(object),
            });
        }
    }

    /// Tells the scheduler what it has not been told yet.
    pub fn sync(&mut self) {
        if !self.untold.is_empty() {
            self.scheduler.sync(std::mem::take(&mut self.untold));
        }
    }

    /// Asks about every pod that waits in `world`.
    pub fn decide(
        &mut self,
        context: &Context,
        world: &World,
        extensions: &dyn Extensions,
    ) -> Vec<(Object, Decision)> {
        self.sync();
        let pods = self.pending(world);
        if pods.is_empty() {
            return Vec::new();
        }
        let decisions = self.scheduler.schedule(context, extensions, pods.clone());
        assert_eq!(decisions.len(), pods.len(), "one decision per pod");
        for (pod, decision) in pods.iter().zip(&decisions) {
            if let Decision::Bind { pod_uid, .. }
            | Decision::Preempt { pod_uid, .. }
            | Decision::Unschedulable { pod_uid, .. } = decision
            {
                assert_eq!(*pod_uid, pod.uid, "decisions come in the order of the pods");
            }
        }
        pods.into_iter().zip(decisions).collect()
    }

    /// The pod was bound; it is not asked about again, whatever watches say.
    pub fn note_bound(&mut self, uid: &str) {
        self.bound.insert(uid.to_owned());
    }

    pub fn forget(&mut self, uids: Vec<String>) {
        if !uids.is_empty() {
            self.scheduler.forget(uids);
        }
    }

    /// Pods that wait for this scheduler, the oldest first.
    pub fn pending(&self, world: &World) -> Vec<Object> {
        let mut pods: Vec<Object> = world
            .of_kind(&POD)
            .filter(|(_, pod)| {
                text(pod, "spec.nodeName").is_empty()
                    && at(pod, "metadata.deletionTimestamp").is_none()
                    && self.is_mine(text(pod, "spec.schedulerName"))
                    && !self.bound.contains(text(pod, "metadata.uid"))
            })
            .filter_map(|(reference, _)| world.envelope(reference))
            .collect();
        pods.sort_by_key(|pod| pod.revision);
        pods
    }

    fn is_mine(&self, name: &str) -> bool {
        let name = if name.is_empty() { "default-scheduler" } else { name };
        self.description.scheduler_names.iter().any(|mine| mine == name)
    }

    fn wants(&self, reference: &ObjectRef, object: &Value) -> bool {
        let is_bound = || !text(object, "spec.nodeName").is_empty();
        reference.kind == NODE
            || (reference.kind == POD && is_bound())
            || self.description.watches.contains(&reference.kind)
    }
}
