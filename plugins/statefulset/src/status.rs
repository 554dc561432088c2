//! What a StatefulSet's status says of its pods.

use pintle_sdk::prelude::*;
use pintle_sdk::workload::Availability;
use serde_json::json;

use crate::identity::revision_of;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub replicas: i64,
    pub ready: i64,
    pub available: i64,
    pub current: i64,
    pub updated: i64,
}

impl Counts {
    /// A pod counts from the moment it exists.
    pub fn of<'a>(
        pods: impl Iterator<Item = (&'a Pod, Availability)>,
        stays: impl Fn(&Pod) -> bool,
        current: &str,
        update: &str,
    ) -> Self {
        let mut counts = Counts::default();
        for (pod, availability) in pods {
            counts.replicas += 1;
            if pod.status.phase == "Running" && availability.is_ready() {
                counts.ready += 1;
                counts.available += i64::from(availability == Availability::Available);
            }
            if stays(pod) {
                counts.current += i64::from(revision_of(pod) == current);
                counts.updated += i64::from(revision_of(pod) == update);
            }
        }
        counts
    }
}

/// The patch that makes the status true, if it is not.
pub fn patch(
    set: &Typed<StatefulSet>,
    mut counts: Counts,
    current_revision: &str,
    update_revision: &str,
) -> Option<Patch> {
    let mut current_revision = current_revision;
    let rolls = set.spec.update_strategy.r#type != "OnDelete";
    if rolls && counts.updated == counts.replicas && counts.ready == counts.replicas {
        // The roll-out is complete: what was new is the present.
        current_revision = update_revision;
        counts.current = counts.updated;
    }
    let status = &set.status;
    let known = (
        status.observed_generation,
        status.replicas,
        status.ready_replicas,
        status.available_replicas,
        status.current_replicas,
        status.updated_replicas,
        status.current_revision.as_str(),
        status.update_revision.as_str(),
    );
    let wanted = (
        set.metadata.generation,
        counts.replicas,
        counts.ready,
        counts.available,
        counts.current,
        counts.updated,
        current_revision,
        update_revision,
    );
    if known == wanted {
        return None;
    }
    let some = |count: i64| (count != 0).then_some(count);
    Some(Patch::status_of(
        set,
        &json!({
            "observedGeneration": set.metadata.generation,
            "replicas": counts.replicas,
            "readyReplicas": some(counts.ready),
            "availableReplicas": counts.available,
            "currentReplicas": some(counts.current),
            "updatedReplicas": some(counts.updated),
            "currentRevision": current_revision,
            "updateRevision": update_revision,
            "collisionCount": set.status.collision_count.unwrap_or(0),
        }),
    ))
}
