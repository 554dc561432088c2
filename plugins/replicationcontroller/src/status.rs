//! What a ReplicationController's status says of its pods.

use pintle_sdk::prelude::*;
use pintle_sdk::replicas::{self, Failure};
use pintle_sdk::workload::Availability;
use serde_json::{Value, json};

use crate::ReplicationController;

#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub replicas: i64,
    pub fully_labeled_replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    pub observed_generation: i64,
    pub conditions: Vec<Condition>,
}

/// Makes the status true, if it is not, and waits for pods that are about to
/// become available.
pub fn report(
    context: &Context,
    controller: &Typed<ReplicationController>,
    active: &[&Typed<Pod>],
    failure: Option<&Failure>,
    outcome: &mut Outcome,
) {
    let labels = controller.spec.template["metadata"]["labels"].as_object();
    let mut next = Status {
        replicas: active.len() as i64,
        observed_generation: controller.metadata.generation,
        conditions: controller.status.conditions.clone(),
        ..Status::default()
    };
    replicas::report(&mut next.conditions, failure, &context.now());
    for pod in active {
        let has = |(key, value): (&String, &Value)| {
            pod.metadata.labels.get(key).map(String::as_str) == value.as_str()
        };
        next.fully_labeled_replicas += i64::from(labels.into_iter().flatten().all(has));
        let seconds = controller.spec.min_ready_seconds.unwrap_or(0);
        let availability = Availability::of(context, pod, seconds);
        next.ready_replicas += i64::from(availability.is_ready());
        match availability {
            Availability::Available => next.available_replicas += 1,
            Availability::ReadyFor(wait) => outcome.requeue_after(wait),
            Availability::NotReady => {}
        }
    }
    if next == controller.status {
        return;
    }
    let some = |count: i64| (count != 0).then_some(count);
    outcome.push(Patch::status_of(
        controller,
        &json!({
            "replicas": next.replicas,
            "fullyLabeledReplicas": some(next.fully_labeled_replicas),
            "readyReplicas": some(next.ready_replicas),
            "availableReplicas": some(next.available_replicas),
            "observedGeneration": next.observed_generation,
            "conditions": (!next.conditions.is_empty()).then_some(&next.conditions),
        }),
    ));
}
