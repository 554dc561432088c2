//! The taints that a node's conditions mean.

use pintle_sdk::prelude::*;
use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The condition, the status in which it taints, and the taint.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

/// Key and effect of every taint that belongs on the node now.
fn wanted(node: &Node) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    for (condition, status, key) in BY_CONDITION {
        let holds =
            node.status.conditions.condition(condition).is_some_and(|known| known.status == status);
        if holds {
            wanted.push((key, NO_SCHEDULE));
            if matches!(key, NOT_READY | UNREACHABLE) {
                wanted.push((key, NO_EXECUTE));
            }
        }
    }
    if node.spec.unschedulable {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    wanted
}

fn is_managed(taint: &Taint) -> bool {
    match taint.effect.as_str() {
        NO_SCHEDULE => {
            taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key)
        }
        NO_EXECUTE => matches!(taint.key.as_str(), NOT_READY | UNREACHABLE),
        _ => false,
    }
}

/// Brings the managed taints in line, leaves all others, and gives every
/// `NoExecute` taint the time that evictions count from. Says whether anything
/// had to change. Before the node ever said how it is, its taints stay.
pub fn apply(context: &Context, node: &Typed<Node>, outcome: &mut Outcome) -> bool {
    let unknown = node.status.conditions.condition("Ready").is_none();
    let wanted = wanted(node);
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let keeps = |taint: &&Taint| unknown || !is_managed(taint) || is_wanted(taint);
    let mut taints: Vec<Taint> = node.spec.taints.iter().filter(keeps).cloned().collect();
    let now = || Some(context.now());
    for (key, effect) in &wanted {
        if !taints.iter().any(|taint| taint.key == *key && taint.effect == *effect) {
            taints.push(Taint {
                key: (*key).to_owned(),
                value: String::new(),
                effect: (*effect).to_owned(),
                time_added: now(),
            });
        }
    }
    for taint in
        taints.iter_mut().filter(|taint| taint.effect == NO_EXECUTE && taint.time_added.is_none())
    {
        taint.time_added = now();
    }
    if taints == node.spec.taints {
        return false;
    }
    let list = if taints.is_empty() { Value::Null } else { json!(taints) };
    let body = json!({"metadata": {"uid": node.uid}, "spec": {"taints": list}});
    outcome.push(Patch::merge(node, &body).at(node.revision));
    true
}

pub fn evicting(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.taints.iter().filter(|taint| taint.effect == NO_EXECUTE)
}

pub fn evicts(node: &Node) -> bool {
    evicting(node).next().is_some()
}
