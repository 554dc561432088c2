//! The decision: a Job and its pods in, actions out.

use std::collections::BTreeSet;

use pintle_sdk::conditions;
use pintle_sdk::names::Random;
use pintle_sdk::prelude::*;
use pintle_sdk::workload;
use serde_json::{Value, json};

use crate::create::{backoff_ms, new_pod};
use crate::indexes;
use crate::success;
use crate::tally::{Tally, index_of, is_indexed, is_tracked, untrack, waits_for_failure};

const DEFAULT_BACKOFF_LIMIT: i64 = 6;
/// Pods created or deleted in one step.
const BURST: i64 = 500;

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

    /// `uncounted`: they do not count as failed.
    fn delete_active(&mut self, tally: &Tally<'a>, uncounted: bool) {
        for pod in &tally.active {
            self.delete(pod, uncounted);
        }
    }

    fn delete(&mut self, pod: &Typed<Pod>, uncounted: bool) {
        if uncounted && is_tracked(pod) {
            self.outcome.push(untrack(pod));
        }
        self.outcome.push(Delete::this(pod));
        let note = format!("Deleted pod: {}", pod.reference.name);
        self.outcome.push(Event::normal(self.job, "SuccessfulDelete", note).action("Delete"));
        self.active -= 1;
    }

    /// As many pods as the job wants now.
    fn manage(&mut self, tally: &Tally<'a>) {
        let spec = &self.job.spec;
        let parallelism = spec.parallelism.unwrap_or(1).max(0);
        let succeeded = tally.succeeded_in_all(self.job);
        let useful = self.drop_useless(tally);
        let active = useful.len() as i64;
        let wanted = match spec.completions {
            // A work queue that has had a success gets no new pods.
            None if succeeded > 0 => active,
            None => parallelism,
            Some(completions) => {
                let failed = tally.failed_indexes.len() as i64;
                (completions - succeeded - failed).clamp(0, parallelism)
            }
        };
        if active > wanted {
            let mut order = useful;
            order.sort_by_key(|pod| {
                let running = pod.status.phase == "Running";
                (
                    pod.is_ready(),
                    running,
                    std::cmp::Reverse(index_of(pod)),
                    pod.reference.name.clone(),
                )
            });
            for pod in order.iter().take((active - wanted).min(BURST) as usize) {
                self.delete(pod, true);
            }
            return;
        }
        let ending = if waits_for_failure(self.job) { tally.terminating } else { 0 };
        let missing = (wanted - active - ending).clamp(0, BURST);
        if missing > 0 {
            self.create(tally, &useful, missing);
        }
    }

    /// Of an indexed job: pods with an index that is done, failed, taken or none.
    fn drop_useless(&mut self, tally: &Tally<'a>) -> Vec<&'a Typed<Pod>> {
        if !is_indexed(self.job) {
            return tally.active.clone();
        }
        let completions = self.job.spec.completions.unwrap_or(0);
        let mut taken = BTreeSet::new();
        let mut useful = Vec::new();
        for pod in &tally.active {
            let index = index_of(pod).filter(|index| {
                *index < completions
                    && !tally.completed_indexes.contains(index)
                    && !tally.failed_indexes.contains(index)
            });
            match index {
                Some(index) if taken.insert(index) => useful.push(*pod),
                _ => self.delete(pod, true),
            }
        }
        useful
    }

    fn create(&mut self, tally: &Tally<'a>, active: &[&'a Typed<Pod>], missing: i64) {
        let mut random = Random::new(self.context.seed);
        if !is_indexed(self.job) {
            let failures = tally.failure_times.len() as i64;
            let last = tally.failure_times.last().copied().unwrap_or(0);
            let wait = backoff_ms(self.context, failures, last);
            if wait > 0 {
                return self.outcome.requeue_after(wait);
            }
            for _ in 0..missing {
                let pod = new_pod(self.job, None, 0, &mut random);
                self.push_pod(&pod);
            }
            return;
        }
        let per_index = self.job.spec.backoff_limit_per_index.is_some();
        let taken: BTreeSet<i64> = active.iter().filter_map(|pod| index_of(pod)).collect();
        let completions = self.job.spec.completions.unwrap_or(0);
        let mut made = 0;
        for index in 0..completions {
            if made >= missing {
                return;
            }
            if taken.contains(&index)
                || tally.completed_indexes.contains(&index)
                || tally.failed_indexes.contains(&index)
            {
                continue;
            }
            let failures_of_index = tally.failures_by_index.get(&index).copied().unwrap_or(0);
            let (failures, last) = if per_index {
                let last = tally.failure_times_by_index.get(&index).copied().unwrap_or(0);
                (failures_of_index, last)
            } else {
                let last = tally.failure_times.last().copied().unwrap_or(0);
                (tally.failure_times.len() as i64, last)
            };
            let wait = backoff_ms(self.context, failures, last);
            if wait > 0 {
                self.outcome.requeue_after(wait);
                continue;
            }
            let pod = new_pod(self.job, Some(index), failures_of_index, &mut random);
            self.push_pod(&pod);
            made += 1;
        }
    }

    fn push_pod(&mut self, pod: &Value) {
        self.outcome.push(Create::new(POD, &self.job.reference.namespace, pod));
        let note = format!("Created pod: {}", pod["metadata"]["name"].as_str().unwrap_or_default());
        self.outcome.push(Event::normal(self.job, "SuccessfulCreate", note).action("Create"));
        self.active += i64::from(!self.refused);
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

    fn write_status(&mut self, tally: &Tally<'_>) {
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
