//! Whether a pod may run on a node as far as the node alone goes, and the words
//! for all reasons why not.

use std::rc::Rc;

use pintle_sdk::prelude::Taint;

use crate::config::Rule;
use crate::node::{Capacity, NodeClass};
use crate::shape::{HostPort, Shape};
use crate::view::{ABSENT, Slot, View};

/// Why a node is out. Worded as in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    NotNamed,
    Unschedulable,
    Taint,
    NodeAffinity,
    NodePorts,
    TooManyPods,
    Insufficient(String),
    ClaimInUse,
    VolumeLimit,
    VolumeGone,
    VolumeAffinity,
    NoVolumeToBind,
    VolumeZone,
    Spread,
    SpreadLabel,
    Affinity,
    AntiAffinity,
    ExistingAntiAffinity,
    Extension(Rc<str>),
}

impl Reason {
    /// Could the departure of pods change that?
    pub fn is_resolvable(&self) -> bool {
        match self {
            Reason::NodePorts
            | Reason::TooManyPods
            | Reason::Insufficient(_)
            | Reason::ClaimInUse
            | Reason::VolumeLimit
            | Reason::Spread
            | Reason::AntiAffinity
            | Reason::ExistingAntiAffinity => true,
            Reason::NotNamed
            | Reason::Unschedulable
            | Reason::Taint
            | Reason::NodeAffinity
            | Reason::VolumeGone
            | Reason::VolumeAffinity
            | Reason::NoVolumeToBind
            | Reason::VolumeZone
            | Reason::SpreadLabel
            | Reason::Affinity
            | Reason::Extension(_) => false,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::NotNamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Reason::Unschedulable => "node(s) were unschedulable",
            Reason::Taint => "node(s) had untolerated taint(s)",
            Reason::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Reason::NodePorts => "node(s) didn't have free ports for the requested pod ports",
            Reason::TooManyPods => "Too many pods",
            Reason::Insufficient(resource) => return write!(f, "Insufficient {resource}"),
            Reason::ClaimInUse => {
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
            }
            Reason::VolumeLimit => "node(s) exceed max volume count",
            Reason::VolumeGone => {
                "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
            }
            Reason::VolumeAffinity => "node(s) didn't match PersistentVolume's node affinity",
            Reason::NoVolumeToBind => "node(s) didn't find available persistent volumes to bind",
            Reason::VolumeZone => "node(s) had no available volume zone",
            Reason::Spread => "node(s) didn't match pod topology spread constraints",
            Reason::SpreadLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Reason::Affinity => "node(s) didn't match pod affinity rules",
            Reason::AntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Reason::ExistingAntiAffinity => {
                "node(s) didn't satisfy existing pods anti-affinity rules"
            }
            Reason::Extension(reason) => reason,
        })
    }
}

/// Why a node is out, and whether the departure of pods could change that.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub reasons: Vec<Reason>,
    pub resolvable: bool,
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Failure { resolvable: reason.is_resolvable(), reasons: vec![reason] }
    }
}

/// The reason that holds for every node of a class.
pub fn class_failure(class: &NodeClass, shape: &Shape) -> Option<Reason> {
    if class.unschedulable && shape.settings.has(Rule::NodeUnschedulable) {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if !shape.tolerates(&taint) {
            return Some(Reason::Unschedulable);
        }
    }
    (shape.settings.has(Rule::TaintToleration) && has_untolerated_taint(class, shape))
        .then_some(Reason::Taint)
}

pub fn has_untolerated_taint(class: &NodeClass, shape: &Shape) -> bool {
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    class.taints.iter().filter(hard).any(|taint| !shape.tolerates(taint))
}

/// Everything that does not depend on the pods on the node but on the node alone.
pub fn static_failure(view: &View, shape: &Shape, slot: Slot) -> Option<Reason> {
    if shape.leaves_out(&view.names[slot]) {
        // Such nodes are not looked at any further.
        return Some(Reason::NotNamed);
    }
    let class = view.class[slot] as usize;
    class_failure(&view.classes[class], shape).or_else(|| {
        let admitted = !shape.is_choosy() || shape.admits(&view.names[slot], view.labels(slot));
        (!admitted).then_some(Reason::NodeAffinity)
    })
}

/// Is there room for the pod?
#[inline]
pub fn has_room(view: &View, shape: &Shape, slot: Slot) -> bool {
    let requests = &shape.requests;
    // What is not asked for is not checked: a node may be overfull.
    let enough = |request: i64, free: i64| request == 0 || request <= free;
    let fits = view.free_pods[slot] >= 1
        && enough(requests.milli_cpu, view.free_milli_cpu[slot])
        && enough(requests.memory, view.free_memory[slot])
        && enough(requests.ephemeral_storage, view.free_ephemeral_storage[slot])
        && requests.extended.iter().all(|(name, amount)| {
            view.free_extended.get(name).is_some_and(|free| *amount <= free[slot])
        });
    (fits || !shape.settings.has(Rule::NodeResourcesFit))
        && ports_are_free(shape, &view.ports[slot])
}

fn ports_are_free(shape: &Shape, taken: &[HostPort]) -> bool {
    shape.ports.is_empty()
        || !shape.settings.has(Rule::NodePorts)
        || !shape.ports.iter().any(|wanted| taken.iter().any(|taken| wanted.conflicts(taken)))
}

/// What a node has left, or would have.
#[derive(Debug)]
pub struct Room<'a> {
    capacity: &'a Capacity,
    milli_cpu: i64,
    memory: i64,
    ephemeral_storage: i64,
    pods: i64,
    /// Of the extended resources that the pod in question asks for.
    extended: Vec<(&'a str, i64)>,
    ports: Vec<HostPort>,
}

impl<'a> Room<'a> {
    pub fn of(view: &'a View, shape: &'a Shape, slot: Slot) -> Self {
        let free = |name: &String| view.free_extended.get(name).map_or(0, |free| free[slot]);
        let extended = shape.requests.extended.iter();
        Room {
            capacity: &view.capacity[slot],
            milli_cpu: view.free_milli_cpu[slot],
            memory: view.free_memory[slot],
            ephemeral_storage: view.free_ephemeral_storage[slot],
            pods: view.free_pods[slot],
            extended: extended.map(|(name, _)| (name.as_str(), free(name))).collect(),
            ports: if shape.ports.is_empty() { Vec::new() } else { view.ports[slot].clone() },
        }
    }

    /// A pod comes (`sign` -1) or goes (1).
    pub fn change(&mut self, shape: &Shape, sign: i64) {
        let requests = &shape.requests;
        self.milli_cpu += sign * requests.milli_cpu;
        self.memory += sign * requests.memory;
        self.ephemeral_storage += sign * requests.ephemeral_storage;
        self.pods += sign;
        for (name, free) in &mut self.extended {
            let request = requests.extended.iter().find(|(wanted, _)| wanted == name);
            *free += sign * request.map_or(0, |(_, amount)| *amount);
        }
        for port in &shape.ports {
            if sign < 0 {
                self.ports.push(port.clone());
            } else if let Some(index) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(index);
            }
        }
    }

    /// What is short, if anything. The rule for resources names all that are.
    pub fn failure(&self, shape: &Shape) -> Option<Failure> {
        if !ports_are_free(shape, &self.ports) {
            return Some(Reason::NodePorts.into());
        }
        if !shape.settings.has(Rule::NodeResourcesFit) {
            return None;
        }
        let mut failure = Failure { reasons: Vec::new(), resolvable: true };
        if self.pods < 1 {
            failure.reasons.push(Reason::TooManyPods);
            failure.resolvable &= self.capacity.pods >= 1;
        }
        let mut check = |name: &str, request: i64, free: i64| {
            if request > 0 && request > free {
                failure.reasons.push(Reason::Insufficient(name.to_owned()));
                failure.resolvable &= request <= self.capacity.of(name);
            }
        };
        let requests = &shape.requests;
        check("cpu", requests.milli_cpu, self.milli_cpu);
        check("memory", requests.memory, self.memory);
        check("ephemeral-storage", requests.ephemeral_storage, self.ephemeral_storage);
        for ((name, free), (_, request)) in self.extended.iter().zip(&requests.extended) {
            check(name, *request, *free);
        }
        (!failure.reasons.is_empty()).then_some(failure)
    }
}

/// `None` when the pod may run there as far as the node and the room on it go.
/// The first rule that fails speaks.
pub fn failure(view: &View, shape: &Shape, slot: Slot) -> Option<Failure> {
    debug_assert_ne!(view.class[slot], ABSENT);
    match static_failure(view, shape, slot) {
        Some(reason) => Some(reason.into()),
        None if has_room(view, shape, slot) => None,
        None => Room::of(view, shape, slot).failure(shape),
    }
}
