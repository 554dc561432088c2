//! Decisions of a scheduler: whether they make sense, and what performs them.

use std::collections::HashSet;

use bytes::Bytes;
use pintle_api::time;
use serde_json::{Value, json};

use super::live::pod_kind;
use crate::action::{Action, PatchType, Target};
use crate::cluster::{Object, ObjectHandle};
use crate::grants::{Ask, Grants};
use crate::program::scheduler_interface::{Decision, Preemption};
use crate::sandbox::Fault;

/// One decision for each pod that was asked for, in the same order, and only
/// what is granted. A plugin that answers otherwise has lost track.
pub(crate) fn check(
    decisions: &[Decision],
    pods: &[ObjectHandle],
    grants: &Grants,
) -> Result<(), Fault> {
    if decisions.len() != pods.len() {
        return Err(Fault::BadReply(format!(
            "it gave {} decisions for {} pods",
            decisions.len(),
            pods.len()
        )));
    }
    for (decision, pod) in decisions.iter().zip(pods) {
        let (uid, verb) = match decision {
            Decision::Bind(binding) => {
                if binding.node.is_empty() {
                    return Err(Fault::BadReply(format!("it bound pod {} to no node", pod.name())));
                }
                (&binding.pod_uid, Some("bind"))
            }
            Decision::Unschedulable(unschedulable) => (&unschedulable.pod_uid, None),
            Decision::Preempt(preemption) => (&preemption.pod_uid, Some("delete")),
            Decision::Ignore(_) => continue,
        };
        if uid != pod.uid() {
            return Err(Fault::BadReply(format!(
                "it decided for uid {uid:?} where pod {} was asked for",
                pod.name()
            )));
        }
        if let Some(verb) = verb {
            let ask = Ask { kind: &pod_kind(), verb, subresource: "", namespace: pod.namespace() };
            if !grants.allows(&ask) {
                return Err(Fault::Ungranted(ask.to_string()));
            }
        }
        if matches!(decision, Decision::Preempt(preemption) if preemption.node.is_empty()) {
            let name = pod.name();
            return Err(Fault::BadReply(format!("it made room for pod {name} on no node")));
        }
    }
    Ok(())
}

/// A pod can only go to a node that the plugin was told of; one of another name is
/// invented. A plugin that was told of none is not judged by it.
pub(super) fn check_nodes(
    decisions: &[Decision],
    pods: &[ObjectHandle],
    known: &HashSet<Box<str>>,
) -> Result<(), Fault> {
    if known.is_empty() {
        return Ok(());
    }
    for (decision, pod) in decisions.iter().zip(pods) {
        let node = match decision {
            Decision::Bind(binding) => &binding.node,
            Decision::Preempt(preemption) => &preemption.node,
            Decision::Unschedulable(_) | Decision::Ignore(_) => continue,
        };
        if !known.contains(node.as_str()) {
            return Err(Fault::BadReply(format!(
                "it gave pod {} to node {node}, which does not exist",
                pod.name()
            )));
        }
    }
    Ok(())
}

pub(crate) fn target(pod: &dyn Object) -> Target {
    Target { kind: pod_kind(), namespace: pod.namespace().to_owned(), name: pod.name().to_owned() }
}

pub(crate) fn bind(pod: &dyn Object, node: &str) -> Action {
    Action::Bind {
        namespace: pod.namespace().to_owned(),
        pod: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        node: node.to_owned(),
    }
}

pub(crate) fn event(
    pod: &dyn Object,
    warning: bool,
    reason: &str,
    action: &str,
    note: String,
) -> Action {
    Action::Event {
        regarding: target(pod),
        regarding_uid: pod.uid().to_owned(),
        event_type: if warning { "Warning" } else { "Normal" }.to_owned(),
        reason: reason.to_owned(),
        action: action.to_owned(),
        note,
    }
}

/// The pod's own record of why it waits.
pub(crate) fn unschedulable(
    pod: &dyn Object,
    message: &str,
    nominated: Option<&str>,
    now_unix_ms: i64,
) -> Action {
    let mut status = json!({});
    if let Some(node) = nominated {
        status["nominatedNodeName"] = node.into();
    }
    let unscheduled = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": time::format_seconds(now_unix_ms),
    });
    condition(pod, unscheduled, status)
}

/// Writes a condition of a pod, told of the generation that it was seen at, beside
/// other fields of its status.
fn condition(pod: &dyn Object, mut condition: Value, mut status: Value) -> Action {
    let generation = pod.field("metadata.generation").and_then(|text| text.parse::<i64>().ok());
    if let Some(generation) = generation {
        condition["observedGeneration"] = generation.into();
    }
    status["conditions"] = json!([condition]);
    Action::Patch {
        target: target(pod),
        subresource: "status".to_owned(),
        patch_type: PatchType::Strategic,
        body: Bytes::from(
            json!({ "metadata": { "uid": pod.uid() }, "status": status }).to_string(),
        ),
        revision: None,
    }
}

/// What makes room for a pod: its victims go, unless they are others by now.
pub(crate) fn evict(
    pod: &dyn Object,
    preemption: &Preemption,
    on_node: &[ObjectHandle],
    now_unix_ms: i64,
) -> Vec<Action> {
    let victims =
        on_node.iter().filter(|other| preemption.victims.iter().any(|uid| uid == other.uid()));
    let scheduler = pod.field("spec.schedulerName").unwrap_or_default().into_owned();
    victims
        .flat_map(|victim| {
            let note = format!("Preempted by pod {} on node {}", pod.uid(), preemption.node);
            [
                // Whoever looks at the pod's end sees that it was meant.
                condition(
                    &**victim,
                    json!({
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "PreemptionByScheduler",
                        "message": format!(
                            "{scheduler}: preempting to accommodate a higher priority pod"
                        ),
                        "lastTransitionTime": time::format_seconds(now_unix_ms),
                    }),
                    json!({}),
                ),
                event(&**victim, false, "Preempted", "Preempting", note),
                Action::Delete {
                    target: target(&**victim),
                    uid: Some(victim.uid().to_owned()),
                    revision: None,
                    grace_period_seconds: None,
                    propagation: None,
                },
            ]
        })
        .collect()
}
