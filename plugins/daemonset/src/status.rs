//! What a DaemonSet's status says of its nodes.

use pintle_sdk::prelude::*;
use serde_json::json;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub desired: i64,
    pub current: i64,
    pub misscheduled: i64,
    pub ready: i64,
    pub available: i64,
    pub updated: i64,
}

/// The patch that makes the status true, if it is not.
pub fn patch(set: &Typed<DaemonSet>, counts: Counts) -> Option<Patch> {
    let unavailable = counts.desired - counts.available;
    let status = &set.status;
    let known = (
        status.observed_generation,
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_misscheduled,
        status.number_ready,
        status.number_available,
        status.number_unavailable,
        status.updated_number_scheduled,
    );
    let wanted = (
        set.metadata.generation,
        counts.desired,
        counts.current,
        counts.misscheduled,
        counts.ready,
        counts.available,
        unavailable,
        counts.updated,
    );
    if known == wanted {
        return None;
    }
    let some = |count: i64| (count != 0).then_some(count);
    Some(Patch::status_of(
        set,
        &json!({
            "observedGeneration": set.metadata.generation,
            "desiredNumberScheduled": counts.desired,
            "currentNumberScheduled": counts.current,
            "numberMisscheduled": counts.misscheduled,
            "numberReady": counts.ready,
            "numberAvailable": some(counts.available),
            "numberUnavailable": some(unavailable),
            "updatedNumberScheduled": some(counts.updated),
        }),
    ))
}
