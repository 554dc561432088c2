//! Whether a pod may run on a node, and why not.

use pintle_sdk::prelude::Taint;

use crate::shape::Shape;
use crate::view::{ABSENT, NodeClass, Slot, View};

/// Why a node is out. Ordered and worded as in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason<'a> {
    Unschedulable,
    Taint { key: &'a str, value: &'a str },
    NodeAffinity,
    NodePorts,
    Spread,
    SpreadLabel,
    Affinity,
    AntiAffinity,
    ExistingAntiAffinity,
    TooManyPods,
    Insufficient(&'a str),
}

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Unschedulable => f.write_str("node(s) were unschedulable"),
            Reason::Taint { key, value } => {
                write!(f, "node(s) had untolerated taint {{{key}: {value}}}")
            }
            Reason::NodeAffinity => {
                f.write_str("node(s) didn't match Pod's node affinity/selector")
            }
            Reason::NodePorts => {
                f.write_str("node(s) didn't have free ports for the requested pod ports")
            }
            Reason::Spread => f.write_str("node(s) didn't match pod topology spread constraints"),
            Reason::SpreadLabel => f.write_str(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            ),
            Reason::Affinity => f.write_str("node(s) didn't match pod affinity rules"),
            Reason::AntiAffinity => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Reason::ExistingAntiAffinity => {
                f.write_str("node(s) didn't satisfy existing pods anti-affinity rules")
            }
            Reason::TooManyPods => f.write_str("Too many pods"),
            Reason::Insufficient(resource) => write!(f, "Insufficient {resource}"),
        }
    }
}

/// Why a node is out, and whether the departure of pods could change that.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Failure<'a> {
    pub reasons: Vec<Reason<'a>>,
    pub resolvable: bool,
}

/// The reason that holds for every node of a class.
pub fn class_failure<'a>(class: &'a NodeClass, shape: &Shape) -> Option<Reason<'a>> {
    if class.unschedulable {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if !shape.tolerates(&taint) {
            return Some(Reason::Unschedulable);
        }
    }
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    let taint = class.taints.iter().filter(hard).find(|taint| !shape.tolerates(taint))?;
    Some(Reason::Taint { key: &taint.key, value: &taint.value })
}

/// Everything that does not depend on the pods on the node but on the node alone.
pub fn static_failure<'a>(view: &'a View, shape: &Shape, slot: Slot) -> Option<Reason<'a>> {
    let class = view.class[slot] as usize;
    class_failure(&view.classes[class], shape).or_else(|| {
        let matches =
            shape.node.is_everything() || shape.node.matches(&view.names[slot], view.labels(slot));
        (!matches).then_some(Reason::NodeAffinity)
    })
}

/// Is there room for the pod?
#[inline]
pub fn has_room(view: &View, shape: &Shape, slot: Slot) -> bool {
    let requests = &shape.requests;
    // What is not asked for is not checked: a node may be overfull.
    let enough = |request: i64, free: i64| request == 0 || request <= free;
    view.free_pods[slot] >= 1
        && enough(requests.milli_cpu, view.free_milli_cpu[slot])
        && enough(requests.memory, view.free_memory[slot])
        && enough(requests.ephemeral_storage, view.free_ephemeral_storage[slot])
        && requests.extended.iter().all(|(name, amount)| {
            view.free_extended.get(name).is_some_and(|free| *amount <= free[slot])
        })
        && ports_are_free(view, shape, slot)
}

fn ports_are_free(view: &View, shape: &Shape, slot: Slot) -> bool {
    shape.ports.is_empty()
        || !shape
            .ports
            .iter()
            .any(|wanted| view.ports[slot].iter().any(|taken| wanted.conflicts(taken)))
}

/// `None` when the pod may run there. The first rule that fails speaks; the
/// one for resources names all that are short.
pub fn failure<'a>(view: &'a View, shape: &'a Shape, slot: Slot) -> Option<Failure<'a>> {
    debug_assert_ne!(view.class[slot], ABSENT);
    if let Some(reason) = static_failure(view, shape, slot) {
        return Some(Failure { reasons: vec![reason], resolvable: false });
    }
    if !ports_are_free(view, shape, slot) {
        return Some(Failure { reasons: vec![Reason::NodePorts], resolvable: true });
    }
    let requests = &shape.requests;
    let capacity = &view.capacity[slot];
    let mut failure = Failure { reasons: Vec::new(), resolvable: true };
    if view.free_pods[slot] < 1 {
        failure.reasons.push(Reason::TooManyPods);
        failure.resolvable &= capacity.pods >= 1;
    }
    let mut check = |name: &'a str, request: i64, free: i64, capacity: i64| {
        if request > 0 && request > free {
            failure.reasons.push(Reason::Insufficient(name));
            failure.resolvable &= request <= capacity;
        }
    };
    check("cpu", requests.milli_cpu, view.free_milli_cpu[slot], capacity.milli_cpu);
    check("memory", requests.memory, view.free_memory[slot], capacity.memory);
    check(
        "ephemeral-storage",
        requests.ephemeral_storage,
        view.free_ephemeral_storage[slot],
        capacity.ephemeral_storage,
    );
    for (name, amount) in &requests.extended {
        let free = view.free_extended.get(name).map_or(0, |free| free[slot]);
        check(name, *amount, free, capacity.extended.get(name).copied().unwrap_or(0));
    }
    (!failure.reasons.is_empty()).then_some(failure)
}
