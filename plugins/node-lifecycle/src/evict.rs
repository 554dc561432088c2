//! Pods that cannot stay.

use pintle_sdk::api::time;
use pintle_sdk::conditions;
use pintle_sdk::prelude::*;
use serde_json::json;

use crate::taints::evicting;

/// Deletes the pods whose time on a tainted node is over, and asks to be called
/// when the next one's is.
pub fn plan(context: &Context, node: &Node, pods: &[Typed<Pod>], outcome: &mut Outcome) {
    for pod in pods.iter().filter(|pod| pod.is_active()) {
        let Some(due) = due(node, pod) else { continue };
        match u64::try_from(due - context.now_unix_ms) {
            Ok(wait) if wait > 0 => outcome.requeue_after(wait),
            _ => evict(context, pod, outcome),
        }
    }
}

/// When the pod has to go; `None` if it may stay for good.
fn due(node: &Node, pod: &Pod) -> Option<i64> {
    let mut due: Option<i64> = None;
    for taint in evicting(node) {
        let since = taint.time_added.as_deref().and_then(time::parse).unwrap_or(0);
        let matching: Vec<&Toleration> =
            pod.spec.tolerations.iter().filter(|toleration| toleration.tolerates(taint)).collect();
        if matching.is_empty() {
            return Some(0);
        }
        // One that names no time does not bound it; the shortest that does, counts.
        let shortest = matching.iter().filter_map(|toleration| toleration.toleration_seconds).min();
        if let Some(seconds) = shortest {
            let end = since.saturating_add(seconds.max(0).saturating_mul(1000));
            due = Some(due.map_or(end, |known| known.min(end)));
        }
    }
    due
}

fn evict(context: &Context, pod: &Typed<Pod>, outcome: &mut Outcome) {
    let mut list = pod.status.conditions.clone();
    let message = "Taint manager: deleting due to NoExecute taint";
    let target = Condition::new("DisruptionTarget", "True", "DeletionByTaintManager", message);
    if conditions::set(&mut list, target, &context.now()) {
        outcome.push(status_patch(pod, &list));
    }
    outcome.push(Delete::new(pod).uid(&pod.uid));
    let note =
        format!("Marking for deletion Pod {}/{}", pod.reference.namespace, pod.reference.name);
    outcome.push(Event::normal(pod, "TaintManagerEviction", note).action("Evict"));
}

/// Nobody vouches for these pods any more.
pub fn mark_not_ready(context: &Context, pods: &[Typed<Pod>], outcome: &mut Outcome) {
    for pod in pods.iter().filter(|pod| pod.is_ready() && !pod.is_finished()) {
        let mut list = pod.status.conditions.clone();
        for condition in list.iter_mut().filter(|condition| condition.r#type == "Ready") {
            condition.status = "False".to_owned();
            condition.last_transition_time = Some(context.now());
        }
        outcome.push(status_patch(pod, &list));
        outcome.push(Event::warning(pod, "NodeNotReady", "Node is not ready").action("Monitor"));
    }
}

fn status_patch(pod: &Typed<Pod>, conditions: &[Condition]) -> Patch {
    Patch::merge(pod, &json!({"metadata": {"uid": pod.uid}, "status": {"conditions": conditions}}))
        .status()
}

/// Pods of a node that does not exist: nobody is there to end them.
pub fn orphans(pods: &[Typed<Pod>], outcome: &mut Outcome) {
    for pod in pods {
        outcome.push(Delete::new(pod).uid(&pod.uid).grace(0));
    }
}
