//! What the step comes to, as the job's status.

use pintle_sdk::prelude::*;
use serde_json::json;

use super::Work;
use crate::indexes;
use crate::tally::{Tally, is_indexed};

impl Work<'_> {
    pub(super) fn write_status(&mut self, tally: &Tally<'_>) {
        let status = &self.job.status;
        let known = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let left = |known: &[String], counted: &[String], more: &[String]| -> Vec<String> {
            known.iter().filter(|uid| !counted.contains(uid)).chain(more).cloned().collect()
        };
        let uncounted = UncountedTerminatedPods {
            succeeded: left(&known.succeeded, &tally.counted.0, &tally.note.0),
            failed: left(&known.failed, &tally.counted.1, &tally.note.1),
        };
        let indexed = is_indexed(self.job);
        let per_index = self.job.spec.backoff_limit_per_index.is_some();
        let succeeded = if indexed {
            tally.completed_indexes.len() as i64
        } else {
            status.succeeded + tally.counted.0.len() as i64
        };
        let next = JobStatus {
            start_time: self.start_time.clone(),
            completion_time: self.completion_time.clone(),
            active: self.active.max(0),
            ready: Some(tally.ready),
            succeeded,
            failed: status.failed + tally.counted.1.len() as i64,
            terminating: Some(tally.terminating),
            completed_indexes: if indexed {
                indexes::format(&tally.completed_indexes)
            } else {
                String::new()
            },
            failed_indexes: per_index.then(|| indexes::format(&tally.failed_indexes)),
            uncounted_terminated_pods: Some(uncounted),
            conditions: self.conditions.clone(),
        };
        if comparable(&next) == comparable(status) {
            return;
        }
        let some = |count: i64| (count != 0).then_some(count);
        let noted = next.uncounted_terminated_pods.as_ref();
        let uids = |uids: Option<&Vec<String>>| uids.filter(|uids| !uids.is_empty()).cloned();
        let patch = Patch::status_of(
            self.job,
            &json!({
                "startTime": next.start_time,
                "completionTime": next.completion_time,
                "active": some(next.active),
                "ready": next.ready,
                "succeeded": some(next.succeeded),
                "failed": some(next.failed),
                "terminating": next.terminating,
                "completedIndexes": (!next.completed_indexes.is_empty()).then_some(&next.completed_indexes),
                "failedIndexes": next.failed_indexes,
                "uncountedTerminatedPods": {
                    "succeeded": uids(noted.map(|noted| &noted.succeeded)),
                    "failed": uids(noted.map(|noted| &noted.failed)),
                },
                "conditions": (!next.conditions.is_empty()).then_some(&next.conditions),
            }),
        );
        // Counts go on from what was read, and whoever else has written is not overwritten.
        // Before new pods: when those are refused the status is written all the same.
        let made = |action: &Action| matches!(action, Action::Create(_));
        let actions = &mut self.outcome.actions;
        let place = actions.iter().position(made).unwrap_or(actions.len());
        actions.insert(place, patch.at(self.job.revision).into());
    }
}

/// Absent and empty are the same.
fn comparable(status: &JobStatus) -> JobStatus {
    let mut status = status.clone();
    status.ready.get_or_insert_default();
    status.terminating.get_or_insert_default();
    status.uncounted_terminated_pods.get_or_insert_default();
    if status.failed_indexes.as_deref() == Some("") {
        status.failed_indexes = None;
    }
    status
}
