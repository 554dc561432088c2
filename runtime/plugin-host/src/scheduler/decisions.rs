//! Decisions of a scheduler: whether they make sense, and what performs them.

use bytes::Bytes;
use pintle_api::time;
use serde_json::json;

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
    let mut status = json!({
        "conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": time::format_seconds(now_unix_ms),
        }],
    });
    if let Some(node) = nominated {
        status["nominatedNodeName"] = node.into();
    }
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
) -> Vec<Action> {
    let victims =
        on_node.iter().filter(|other| preemption.victims.iter().any(|uid| uid == other.uid()));
    victims
        .flat_map(|victim| {
            let note = format!(
                "Preempted by {}/{} on node {}",
                pod.namespace(),
                pod.name(),
                preemption.node
            );
            [
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
