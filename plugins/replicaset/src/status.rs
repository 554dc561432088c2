//! What a ReplicaSet's status says of its pods.

use pintle_sdk::prelude::*;
use pintle_sdk::replicas::{self, Failure};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub replicas: i64,
    pub fully_labeled: i64,
    pub ready: i64,
    pub available: i64,
    /// On their way out, and not ended yet.
    pub terminating: i64,
    /// When the next ready pod becomes available, in milliseconds from now.
    pub next_available_ms: Option<u64>,
}

/// `own` are all pods of the set, `active` those of them that count.
pub fn count(
    context: &Context,
    set: &ReplicaSet,
    own: &[Typed<Pod>],
    active: &[&Typed<Pod>],
) -> Counts {
    let template_labels = set.spec.template.pointer("/metadata/labels").and_then(Value::as_object);
    let ending = own.iter().filter(|pod| pod.metadata.is_being_deleted() && !pod.is_finished());
    let mut counts = Counts {
        replicas: active.len() as i64,
        terminating: ending.count() as i64,
        ..Counts::default()
    };
    for pod in active {
        let labelled = template_labels
            .into_iter()
            .flatten()
            .all(|(key, value)| pod.metadata.labels.get(key).map(String::as_str) == value.as_str());
        counts.fully_labeled += i64::from(labelled);
        let Some(ready) = pod.ready_condition().filter(|condition| condition.is_true()) else {
            continue;
        };
        counts.ready += 1;
        match remaining_ms(context, ready, set.spec.min_ready_seconds) {
            0 => counts.available += 1,
            wait => {
                counts.next_available_ms =
                    Some(counts.next_available_ms.map_or(wait, |known| known.min(wait)));
            }
        }
    }
    counts
}

/// How long a ready pod must stay ready until it counts as available.
fn remaining_ms(context: &Context, ready: &Condition, min_ready_seconds: i64) -> u64 {
    if min_ready_seconds <= 0 {
        return 0;
    }
    let wanted = min_ready_seconds.saturating_mul(1000);
    let elapsed = context.since(ready.last_transition_time.as_deref()).unwrap_or(0);
    u64::try_from(wanted - elapsed).unwrap_or(0)
}

/// The patch that makes the status true, if it is not. Zero counts that
/// Kubernetes leaves out are removed.
pub fn patch(
    context: &Context,
    set: &Typed<ReplicaSet>,
    counts: Counts,
    failure: Option<&Failure>,
) -> Option<Patch> {
    let status = &set.status;
    let known = (
        status.replicas,
        status.fully_labeled_replicas,
        status.ready_replicas,
        status.available_replicas,
        status.terminating_replicas,
        status.observed_generation,
    );
    let generation = set.metadata.generation;
    let wanted = (
        counts.replicas,
        counts.fully_labeled,
        counts.ready,
        counts.available,
        Some(counts.terminating),
        generation,
    );
    let mut conditions = status.conditions.clone();
    let changed = replicas::report(&mut conditions, failure, &context.now());
    if known == wanted && !changed {
        return None;
    }
    let some = |count: i64| (count != 0).then_some(count);
    let mut body = json!({"status": {
        "replicas": counts.replicas,
        "fullyLabeledReplicas": some(counts.fully_labeled),
        "readyReplicas": some(counts.ready),
        "availableReplicas": some(counts.available),
        "terminatingReplicas": counts.terminating,
        "observedGeneration": generation,
    }});
    if changed {
        body["status"]["conditions"] = json!(conditions);
    }
    Some(Patch::merge(set, &body).status())
}
