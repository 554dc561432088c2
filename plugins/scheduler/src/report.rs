//! The text that tells a person why a pod fits nowhere.

use std::collections::BTreeMap;

use pintle_sdk::scheduler::Wake;

use crate::filter::{Failure, Reason, failure};
use crate::mask::Mask;
use crate::shape::Shape;
use crate::view::View;

/// Why a shape fits on no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub nodes: usize,
    /// Nodes that could do if pods left.
    pub resolvable: usize,
    pub text: String,
    pub wake_on: Wake,
}

impl Report {
    pub fn of(view: &View, shape: &Shape, mask: Option<&Mask>) -> Self {
        if view.is_empty() {
            return Report {
                nodes: 0,
                resolvable: 0,
                text: "no nodes available to schedule pods".to_owned(),
                wake_on: Wake { node_changed: true, ..Wake::default() },
            };
        }
        let mut counts = BTreeMap::new();
        let mut resolvable = 0;
        let mut wake_on = Wake { node_changed: true, ..Wake::default() };
        for slot in (0..view.len()).filter(|&slot| view.is_present(slot)) {
            let masked = || mask.and_then(|mask| mask.reason(slot)).cloned().map(Failure::from);
            let Some(failure) = failure(view, shape, slot).or_else(masked) else { continue };
            resolvable += usize::from(failure.resolvable);
            for reason in failure.reasons {
                wake_for(&reason, &mut wake_on);
                *counts.entry(reason).or_insert(0usize) += 1;
            }
        }
        // A pod that comes may be the one that a rule waits for.
        if !shape.rules.near.is_empty() || !shape.rules.hard.is_empty() {
            wake_on.pod_added = true;
            wake_on.pod_removed = true;
        }
        // So may a namespace that gets other labels.
        wake_on.other_changed |= shape.rules.is_felt_by_others() || !shape.claims.is_empty();
        let counts = counts.into_iter().map(|(reason, count)| format!("{count} {reason}"));
        Report {
            nodes: view.nodes(),
            resolvable,
            text: available(view.nodes(), counts.collect()),
            wake_on,
        }
    }

    /// For something about the pod that no node can help with.
    pub fn of_pod(view: &View, why: &str) -> Self {
        let nodes = view.nodes();
        Report {
            nodes,
            resolvable: 0,
            text: match nodes {
                0 => "no nodes available to schedule pods".to_owned(),
                nodes => format!("0/{nodes} nodes are available: {why}."),
            },
            wake_on: Wake { node_changed: nodes == 0, other_changed: true, ..Wake::default() },
        }
    }

    /// With what came of the attempt to preempt.
    pub fn with_preemption(&self, outcome: &str) -> String {
        if self.nodes == 0 {
            self.text.clone()
        } else {
            format!("{} preemption: {outcome}", self.text)
        }
    }

    /// No node is left with these victims gone: `tried` are the reasons of the
    /// nodes where that might have helped, with how many nodes have each.
    pub fn no_victims(&self, tried: &BTreeMap<String, usize>) -> String {
        let mut counts: Vec<String> =
            tried.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        if self.nodes > self.resolvable {
            let rest = self.nodes - self.resolvable;
            counts.push(format!("{rest} Preemption is not helpful for scheduling"));
        }
        available(self.nodes, counts)
    }
}

/// What may make this reason go away.
fn wake_for(reason: &Reason, wake_on: &mut Wake) {
    match reason {
        Reason::Unschedulable | Reason::Taint | Reason::NodeAffinity | Reason::SpreadLabel => {}
        Reason::NodePorts
        | Reason::TooManyPods
        | Reason::Insufficient(_)
        | Reason::AntiAffinity
        | Reason::ExistingAntiAffinity => wake_on.pod_removed = true,
        Reason::ClaimInUse | Reason::VolumeLimit => {
            wake_on.pod_removed = true;
            wake_on.other_changed = true;
        }
        Reason::VolumeGone
        | Reason::VolumeAffinity
        | Reason::NoVolumeToBind
        | Reason::VolumeZone => wake_on.other_changed = true,
        Reason::Spread => {
            wake_on.pod_removed = true;
            wake_on.pod_added = true;
        }
        Reason::Affinity => wake_on.pod_added = true,
        // What a third party's rule looks at is not known here.
        Reason::Extension(_) => {
            *wake_on =
                Wake { node_changed: true, pod_removed: true, pod_added: true, other_changed: true }
        }
    }
}

fn available(nodes: usize, mut counts: Vec<String>) -> String {
    counts.sort_unstable();
    if counts.is_empty() {
        return format!("0/{nodes} nodes are available:");
    }
    format!("0/{nodes} nodes are available: {}.", counts.join(", "))
}
