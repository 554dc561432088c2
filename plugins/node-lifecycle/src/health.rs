//! When was a node last heard of, and what its conditions say once it is silent.

use pintle_sdk::api::time;
use pintle_sdk::prelude::*;
use serde_json::json;

use crate::Config;

/// The conditions that a silent node can no longer vouch for.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

#[derive(Debug, PartialEq, Eq)]
pub struct Health {
    pub silent: bool,
    /// When the grace period would end without another sign of life.
    pub look_again_ms: Option<u64>,
}

pub fn assess(context: &Context, config: &Config, node: &Node, lease: Option<&Lease>) -> Health {
    let ready = node.status.conditions.condition("Ready");
    let said = ready.and_then(|ready| ready.last_heartbeat_time.as_deref());
    let renewed = lease.and_then(|lease| lease.spec.renew_time.as_deref());
    let heard = [said, renewed].into_iter().flatten().filter_map(time::parse).max();
    let created = node.metadata.creation_timestamp.as_deref().and_then(time::parse);
    let (since, grace_seconds) = match heard {
        Some(heard) => (heard, config.node_monitor_grace_period_seconds),
        None => (created.unwrap_or(context.now_unix_ms), config.node_startup_grace_period_seconds),
    };
    let left = since.saturating_add(i64::from(grace_seconds) * 1000) - context.now_unix_ms;
    match u64::try_from(left) {
        Ok(left) if left > 0 => Health { silent: false, look_again_ms: Some(left) },
        // It will show itself by a change of its status.
        _ => Health { silent: true, look_again_ms: None },
    }
}

pub fn is_unreachable(node: &Node) -> bool {
    node.status.conditions.condition("Ready").is_some_and(|ready| ready.status == "Unknown")
}

/// Says whether there was anything to mark.
pub fn mark_silent(context: &Context, node: &Typed<Node>, outcome: &mut Outcome) -> bool {
    let now = context.now();
    let mut conditions = node.status.conditions.clone();
    let was_ready = conditions.is_condition_true("Ready");
    for r#type in VOUCHED {
        match conditions.iter_mut().find(|condition| condition.r#type == r#type) {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                known.status = "Unknown".to_owned();
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(now.clone());
            }
            None => {
                let message = "Kubelet never posted node status.";
                let mut unknown =
                    Condition::new(r#type, "Unknown", "NodeStatusNeverUpdated", message);
                unknown.last_heartbeat_time = node.metadata.creation_timestamp.clone();
                unknown.last_transition_time = Some(now.clone());
                conditions.push(unknown);
            }
        }
    }
    if conditions == node.status.conditions {
        return false;
    }
    let body = json!({"metadata": {"uid": node.uid}, "status": {"conditions": conditions}});
    // The node may be heard of this very moment.
    outcome.push(Patch::merge(node, &body).status().at(node.revision));
    if was_ready {
        let note = format!("Node {} status is now: NodeNotReady", node.reference.name);
        outcome.push(Event::normal(node, "NodeNotReady", note).action("Monitor"));
    }
    true
}
