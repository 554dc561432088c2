//! The jobs that a CronJob has started: which run, how the others ended, and
//! which are old enough to go.

use pintle_sdk::prelude::*;

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Complete,
    Failed,
}

impl End {
    pub fn of(job: &Job) -> Option<Self> {
        let conditions = &job.status.conditions;
        if conditions.is_condition_true("Complete") {
            Some(End::Complete)
        } else if conditions.is_condition_true("Failed") {
            Some(End::Failed)
        } else {
            None
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            End::Complete => "Complete",
            End::Failed => "Failed",
        }
    }
}

/// The finished jobs beyond the limits, oldest first.
pub fn outdated<'a>(spec: &CronJobSpec, jobs: &'a [Typed<Job>]) -> Vec<&'a Typed<Job>> {
    let mut outdated = Vec::new();
    for (end, limit, default) in [
        (End::Complete, spec.successful_jobs_history_limit, 3),
        (End::Failed, spec.failed_jobs_history_limit, 1),
    ] {
        let mut ended: Vec<&Typed<Job>> = jobs
            .iter()
            .filter(|job| End::of(job) == Some(end) && !job.metadata.is_being_deleted())
            .collect();
        ended.sort_by_key(|job| {
            let start = job.status.start_time.clone().unwrap_or_default();
            (start, job.reference.name.clone())
        });
        let kept = usize::try_from(limit.unwrap_or(default)).unwrap_or(0);
        let excess = ended.len().saturating_sub(kept);
        outdated.extend(&ended[..excess]);
    }
    outdated
}
