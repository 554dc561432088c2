//! The decision: a Job and its pods in, actions out.

mod pods;
mod status;

use pintle_sdk::conditions;
use pintle_sdk::prelude::*;
use pintle_sdk::workload;
use serde_json::Value;

use crate::success;
use crate::tally::{Tally, is_indexed, is_tracked, untrack};

const DEFAULT_BACKOFF_LIMIT: i64 = 6;

pub fn plan(
    context: &Context,
    lister: &dyn Lister,
    job: &Typed<Job>,
    pods: Vec<Typed<Pod>>,
    refused: bool,
    mut outcome: Outcome,
) -> Result<Outcome, Error> {
    let going = job.metadata.is_being_deleted();
    let pods = workload::claim(job, &job.spec.selector, going, pods, |_| true, &mut outcome);
    let ended =
        ["Complete", "Failed"].iter().any(|kind| job.status.conditions.is_condition_true(kind));
    if ended || going {
        release(&pods, going, &mut outcome);
        return Ok(outcome);
    }
    let policy = success_policy(lister, job);
    let tally = Tally::of(lister, job, &pods);
    let mut work = Work {
        context,
        job,
        refused,
        conditions: job.status.conditions.clone(),
        active: tally.active.len() as i64,
        start_time: job.status.start_time.clone(),
        completion_time: None,
        outcome,
    };
    for pod in &tally.untrack {
        work.outcome.push(untrack(pod));
    }
    work.suspend_or_resume();
    let target = work.target(&tally, &policy);
    if target || job.spec.suspend {
        work.delete_active(&tally, job.spec.suspend && !target);
    } else {
        work.manage(&tally);
    }
    work.finish(&tally);
    work.write_status(&tally);
    Ok(work.outcome)
}

fn success_policy(lister: &dyn Lister, job: &Typed<Job>) -> Value {
    let whole = lister.get(&job.reference).and_then(|object| object.parse::<Value>().ok());
    whole.map(|whole| whole["spec"]["successPolicy"].clone()).unwrap_or_default()
}

/// Pods of a job that has ended, or is being deleted, need not be counted.
fn release(pods: &[Typed<Pod>], going: bool, outcome: &mut Outcome) {
    for pod in pods {
        let over = pod.is_finished() || pod.metadata.is_being_deleted();
        if is_tracked(pod) && (over || !going) {
            outcome.push(untrack(pod));
        } else if !going && pod.is_active() {
            outcome.push(Delete::this(pod));
        }
    }
}

struct Work<'a> {
    context: &'a Context,
    job: &'a Typed<Job>,
    /// The last try to make pods was refused.
    refused: bool,
    conditions: Vec<Condition>,
    /// Pods that run after this step.
    active: i64,
    start_time: Option<String>,
    completion_time: Option<String>,
    outcome: Outcome,
}

impl<'a> Work<'a> {
    fn condition(&mut self, kind: &str, status: &str, reason: &str, message: &str) -> bool {
        let now = self.context.now();
        let next = Condition {
            last_probe_time: Some(now.clone()),
            ..Condition::new(kind, status, reason, message)
        };
        conditions::set(&mut self.conditions, next, &now)
    }

    fn suspend_or_resume(&mut self) {
        let was = self.conditions.is_condition_true("Suspended");
        if self.job.spec.suspend {
            if !was && self.condition("Suspended", "True", "JobSuspended", "Job suspended") {
                self.outcome.push(Event::normal(self.job, "Suspended", "Job suspended"));
            }
            self.start_time = None;
            return;
        }
        if was && self.condition("Suspended", "False", "JobResumed", "Job resumed") {
            self.outcome.push(Event::normal(self.job, "Resumed", "Job resumed"));
            self.start_time = None;
        }
        self.start_time.get_or_insert_with(|| self.context.now());
    }

    /// Whether the job is to end, well or badly; notes it as a condition that
    /// stands until all pods have ended (KEP-4368).
    fn target(&mut self, tally: &Tally<'_>, policy: &Value) -> bool {
        if ["FailureTarget", "SuccessCriteriaMet"]
            .iter()
            .any(|kind| self.conditions.is_condition_true(kind))
        {
            return true;
        }
        if let Some((reason, message)) = self.failed(tally) {
            self.condition("FailureTarget", "True", reason, &message);
            return true;
        }
        if self.job.spec.suspend {
            return false;
        }
        if let Some((reason, message)) = success::reached(self.job, policy, tally) {
            self.condition("SuccessCriteriaMet", "True", reason, &message);
            return true;
        }
        false
    }

    fn failed(&mut self, tally: &Tally<'_>) -> Option<(&'static str, String)> {
        let spec = &self.job.spec;
        if let Some(message) = &tally.fail_job {
            return Some(("PodFailurePolicy", message.clone()));
        }
        let limit = spec.backoff_limit.unwrap_or(DEFAULT_BACKOFF_LIMIT);
        if tally.failed > limit || self.restarts_exceed(tally, limit) {
            let message = "Job has reached the specified backoff limit".to_owned();
            return Some(("BackoffLimitExceeded", message));
        }
        if self.past_deadline() {
            let message = "Job was active longer than specified deadline".to_owned();
            return Some(("DeadlineExceeded", message));
        }
        if !is_indexed(self.job) {
            return None;
        }
        let failed = tally.failed_indexes.len() as i64;
        if spec.max_failed_indexes.is_some_and(|most| failed > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(("MaxFailedIndexesExceeded", message.to_owned()));
        }
        let over = tally.completed_indexes.union(&tally.failed_indexes).count() as i64;
        if failed > 0 && over >= spec.completions.unwrap_or(0) && tally.active.is_empty() {
            return Some(("FailedIndexes", "Job has failed indexes".to_owned()));
        }
        None
    }

    /// Containers that are restarted in place count as well.
    fn restarts_exceed(&self, tally: &Tally<'_>, limit: i64) -> bool {
        let restarts: i64 = tally
            .active
            .iter()
            .filter(|pod| pod.spec.restart_policy == "OnFailure")
            .flat_map(|pod| &pod.status.container_statuses)
            .map(|container| container.restart_count)
            .sum();
        restarts > 0 && restarts >= limit
    }

    fn past_deadline(&mut self) -> bool {
        let Some(seconds) = self.job.spec.active_deadline_seconds else { return false };
        if self.job.spec.suspend {
            return false;
        }
        let Some(elapsed) = self.context.since(self.start_time.as_deref()) else { return false };
        match u64::try_from(seconds.saturating_mul(1000) - elapsed) {
            Ok(wait) if wait > 0 => {
                self.outcome.requeue_after(wait);
                false
            }
            _ => true,
        }
    }

    /// The last word, once nothing runs and everything is counted.
    fn finish(&mut self, tally: &Tally<'_>) {
        let uncounted = self.job.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let open = uncounted.succeeded.len() + uncounted.failed.len()
            - tally.counted.0.len()
            - tally.counted.1.len();
        let quiet = self.active == 0
            && tally.active.is_empty()
            && tally.terminating == 0
            && tally.note.0.is_empty()
            && tally.note.1.is_empty()
            && tally.untrack.is_empty()
            && tally.new_indexes == 0
            && open == 0;
        if !quiet {
            return;
        }
        let of = |kind: &str| {
            let found = self.conditions.condition(kind).filter(|found| found.is_true())?;
            Some((found.reason().to_owned(), found.message.clone().unwrap_or_default()))
        };
        if let Some((reason, message)) = of("FailureTarget") {
            self.condition("Failed", "True", &reason, &message);
            self.outcome.push(Event::warning(self.job, &reason, message));
        } else if let Some((reason, message)) = of("SuccessCriteriaMet") {
            self.condition("Complete", "True", &reason, &message);
            self.completion_time = Some(self.context.now());
            self.outcome.push(Event::normal(self.job, "Completed", "Job completed"));
        }
    }
}
