//! The text that tells a person why a pod fits nowhere.

use std::collections::BTreeMap;

use pintle_sdk::scheduler::Wake;

use crate::filter::{Failure, failure};
use crate::neighbours::Mask;
use crate::shape::Shape;
use crate::view::{ABSENT, View};

/// Why a shape fits on no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub nodes: usize,
    /// Nodes that would have room if pods left.
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
        for slot in (0..view.len()).filter(|&slot| view.class[slot] != ABSENT) {
            let masked = || mask.and_then(|mask| mask[slot].clone());
            let failure = match failure(view, shape, slot) {
                Some(failure) => failure,
                None => match masked() {
                    Some(reason) => Failure { reasons: vec![reason], resolvable: false },
                    None => continue,
                },
            };
            resolvable += usize::from(failure.resolvable);
            for reason in failure.reasons {
                *counts.entry(reason).or_insert(0usize) += 1;
            }
        }
        let counts = counts.into_iter().map(|(reason, count)| format!("{count} {reason}"));
        Report {
            nodes: view.nodes(),
            resolvable,
            text: available(view.nodes(), counts.collect()),
            wake_on: Wake {
                node_changed: true,
                pod_removed: resolvable > 0 || mask.is_some(),
                pod_added: mask.is_some(),
                ..Wake::default()
            },
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

    pub fn no_victims(&self) -> String {
        let mut counts = Vec::new();
        if self.resolvable > 0 {
            counts
                .push(format!("{} No preemption victims found for incoming pod", self.resolvable));
        }
        if self.nodes > self.resolvable {
            counts.push(format!(
                "{} Preemption is not helpful for scheduling",
                self.nodes - self.resolvable
            ));
        }
        available(self.nodes, counts)
    }
}

fn available(nodes: usize, mut counts: Vec<String>) -> String {
    counts.sort_unstable();
    if counts.is_empty() {
        return format!("0/{nodes} nodes are available:");
    }
    format!("0/{nodes} nodes are available: {}.", counts.join(", "))
}
