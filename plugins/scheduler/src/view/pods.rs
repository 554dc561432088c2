//! The pods of the view: which there are, and what room they take.

use std::rc::Rc;

use super::{Slot, View};
use crate::shape::Shape;

/// A pod that takes room on a node.
#[derive(Debug, Clone)]
pub struct Placed {
    pub slot: Slot,
    pub shape: Rc<Shape>,
    pub name: Box<str>,
    pub priority: i32,
    pub start_time: Box<str>,
    /// On its way out; the room will be free soon.
    pub terminating: bool,
    pub state: State,
}

impl Placed {
    /// For ordering by age; a pod that has not started is the youngest.
    pub fn started(&self) -> (bool, &str) {
        (self.start_time.is_empty(), &self.start_time)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The cluster says so.
    Bound,
    /// Decided here and not confirmed yet.
    Assumed,
    /// Waits there for preempted pods to leave; a claim until this moment.
    Nominated { until_unix_ms: i64 },
}

impl View {
    pub fn pod(&self, uid: &str) -> Option<&Placed> {
        self.pods.get(uid)
    }

    pub fn pods(&self) -> impl Iterator<Item = (&Rc<str>, &Placed)> {
        self.pods.iter()
    }

    pub fn on(&self, slot: Slot) -> impl Iterator<Item = (&Rc<str>, &Placed)> {
        self.pods_on[slot].iter().filter_map(|uid| Some((uid, self.pods.get(uid)?)))
    }

    pub fn lowest_priority(&self) -> Option<i32> {
        self.priorities.keys().next().copied()
    }

    /// Puts a pod on a slot, or replaces what is known of it.
    pub fn place(&mut self, uid: &str, pod: Placed) {
        if let Some(known) = self.pods.get_mut(uid) {
            let alike = Rc::ptr_eq(&known.shape, &pod.shape) || known.shape.weighs_like(&pod.shape);
            let returns = known.terminating && !pod.terminating;
            if known.slot == pod.slot && known.priority == pod.priority && alike && !returns {
                let leaves = pod.terminating && !known.terminating;
                let (shape, slot) = (Rc::clone(&known.shape), known.slot);
                *known = Placed { shape: Rc::clone(&shape), ..pod };
                if leaves {
                    self.tallies.leave(&shape, slot);
                    self.note(slot);
                }
                return; // confirmed
            }
            let left = known.slot;
            self.lift(uid);
            if left != pod.slot {
                self.release_if_unused(left);
            }
        }
        let uid: Rc<str> = Rc::from(uid);
        self.take(&pod, 1);
        self.ports[pod.slot].extend(pod.shape.ports.iter().cloned());
        self.pods_on[pod.slot].push(Rc::clone(&uid));
        self.tallies.come(&pod.shape, pod.slot, pod.terminating, &self.labels);
        self.volumes.come(&uid, &pod);
        *self.priorities.entry(pod.priority).or_default() += 1;
        self.note(pod.slot);
        self.pods.insert(uid, pod);
    }

    /// Takes a pod off its slot and returns it.
    pub fn unplace(&mut self, uid: &str) -> Option<Placed> {
        let pod = self.lift(uid)?;
        self.release_if_unused(pod.slot);
        Some(pod)
    }

    fn lift(&mut self, uid: &str) -> Option<Placed> {
        let pod = self.pods.remove(uid)?;
        let slot = pod.slot;
        self.take(&pod, -1);
        for port in &pod.shape.ports {
            if let Some(index) = self.ports[slot].iter().position(|taken| taken == port) {
                self.ports[slot].swap_remove(index);
            }
        }
        self.pods_on[slot].retain(|other| &**other != uid);
        self.tallies.go(&pod.shape, slot, pod.terminating);
        self.volumes.go(uid, &pod);
        if let Some(count) = self.priorities.get_mut(&pod.priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&pod.priority);
            }
        }
        self.note(slot);
        Some(pod)
    }

    pub fn set_terminating(&mut self, uid: &str) {
        if let Some(pod) = self.pods.get_mut(uid)
            && !std::mem::replace(&mut pod.terminating, true)
        {
            let (shape, slot) = (Rc::clone(&pod.shape), pod.slot);
            self.tallies.leave(&shape, slot);
            self.note(slot);
        }
    }

    /// `sign` 1 takes room, -1 gives it back.
    fn take(&mut self, pod: &Placed, sign: i64) {
        let requests = &pod.shape.requests;
        let slot = pod.slot;
        self.free_milli_cpu[slot] -= sign * requests.milli_cpu;
        self.free_memory[slot] -= sign * requests.memory;
        self.free_ephemeral_storage[slot] -= sign * requests.ephemeral_storage;
        self.free_pods[slot] -= sign;
        for (name, amount) in &requests.extended {
            self.extended(name)[slot] -= sign * amount;
        }
        self.usage.take(slot, requests, sign);
        self.usage.resize(slot, &self.capacity[slot], &self.free_of(slot));
    }
}
