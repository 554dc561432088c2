//! What has become of the job's pods so far: counters of the status, pods whose
//! uids it notes, and pods that have just finished.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::prelude::*;
use serde_json::{Value, json};

use crate::failure::{self, Verdict};
use crate::indexes::{self, Indexes};

/// Kept on a pod until it has been counted.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub const INDEX_IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// So many pods are noted in one status; the rest follows.
const MOST_NOTED: usize = 500;

pub fn is_indexed(job: &Job) -> bool {
    job.spec.completion_mode == "Indexed"
}

/// Whether a pod is replaced only once it has failed, not while it ends.
pub fn waits_for_failure(job: &Job) -> bool {
    job.spec.pod_replacement_policy == "Failed" || job.spec.pod_failure_policy.is_some()
}

pub fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

/// Takes the finalizer off.
pub fn untrack(pod: &Typed<Pod>) -> Patch {
    let rest: Vec<&String> =
        pod.metadata.finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    let rest = if rest.is_empty() { Value::Null } else { json!(rest) };
    Patch::merge(pod, &json!({"metadata": {"uid": pod.uid, "finalizers": rest}})).at(pod.revision)
}

/// The index that an indexed job gave the pod.
pub fn index_of(pod: &Pod) -> Option<i64> {
    let text = pod.metadata.annotations.get(INDEX).or_else(|| pod.metadata.labels.get(INDEX));
    text.and_then(|text| text.parse().ok()).filter(|index| *index >= 0)
}

/// Failed, or counted as such: a pod on its way out without having succeeded,
/// unless the job waits for the end.
fn has_failed(job: &Job, pod: &Pod) -> bool {
    match pod.status.phase.as_str() {
        "Failed" => true,
        "Succeeded" => false,
        _ => pod.metadata.is_being_deleted() && !waits_for_failure(job),
    }
}

#[derive(Debug, Default)]
pub struct Tally<'a> {
    /// Run, or are about to.
    pub active: Vec<&'a Typed<Pod>>,
    pub ready: i64,
    /// On their way out, neither failed nor succeeded.
    pub terminating: i64,
    /// Counted and to be counted, of a job without indexes.
    pub succeeded: i64,
    pub failed: i64,
    pub completed_indexes: Indexes,
    pub failed_indexes: Indexes,
    /// Failures of each index so far, by its latest pod.
    pub failures_by_index: BTreeMap<i64, i64>,
    /// When pods failed, for the back-off; the ones since the last success.
    pub failure_times: Vec<i64>,
    pub failure_times_by_index: BTreeMap<i64, i64>,
    /// The job is to fail, because of this.
    pub fail_job: Option<String>,
    /// Uids to note in the status, besides those noted.
    pub note: (Vec<String>, Vec<String>),
    /// Noted uids whose pods have lost their finalizer: the counters move.
    pub counted: (Vec<String>, Vec<String>),
    /// Indexes that this step writes down; their pods are let go in the next.
    pub new_indexes: usize,
    /// Pods whose finalizer goes now.
    pub untrack: Vec<&'a Typed<Pod>>,
}

impl<'a> Tally<'a> {
    pub fn of(lister: &dyn Lister, job: &Job, pods: &'a [Typed<Pod>]) -> Self {
        let completions = job.spec.completions.unwrap_or(0);
        let uncounted = job.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let mut tally = Tally {
            succeeded: job.status.succeeded + uncounted.succeeded.len() as i64,
            failed: job.status.failed + uncounted.failed.len() as i64,
            completed_indexes: indexes::parse(&job.status.completed_indexes, completions),
            failed_indexes: indexes::parse(
                job.status.failed_indexes.as_deref().unwrap_or_default(),
                completions,
            ),
            ..Tally::default()
        };
        let tracked: BTreeSet<&str> =
            pods.iter().filter(|pod| is_tracked(pod)).map(|pod| pod.uid.as_str()).collect();
        let done = |uid: &&String| !tracked.contains(uid.as_str());
        tally.counted = (
            uncounted.succeeded.iter().filter(done).cloned().collect(),
            uncounted.failed.iter().filter(done).cloned().collect(),
        );
        for pod in pods {
            tally.look_at(lister, job, &uncounted, pod);
        }
        tally.keep_failures_since_success(pods);
        tally
    }

    fn look_at(
        &mut self,
        lister: &dyn Lister,
        job: &Job,
        uncounted: &UncountedTerminatedPods,
        pod: &'a Typed<Pod>,
    ) {
        if pod.status.phase == "Succeeded" {
            self.take_success(job, uncounted, pod);
        } else if has_failed(job, pod) {
            self.take_failure(lister, job, uncounted, pod);
        } else if pod.metadata.is_being_deleted() {
            self.terminating += 1;
        } else {
            self.ready += i64::from(pod.is_ready());
            self.active.push(pod);
        }
    }

    fn take_success(
        &mut self,
        job: &Job,
        uncounted: &UncountedTerminatedPods,
        pod: &'a Typed<Pod>,
    ) {
        if is_indexed(job) {
            let completions = job.spec.completions.unwrap_or(0);
            if let Some(index) = index_of(pod).filter(|index| *index < completions) {
                let is_new = self.completed_indexes.insert(index);
                self.new_indexes += usize::from(is_new && is_tracked(pod));
                // Known from the status: it may go.
                if !is_new && is_tracked(pod) {
                    self.untrack.push(pod);
                }
            } else if is_tracked(pod) {
                self.untrack.push(pod);
            }
            return;
        }
        if !is_tracked(pod) {
            return;
        }
        if uncounted.succeeded.contains(&pod.uid) {
            self.untrack.push(pod);
        } else if self.note.0.len() < MOST_NOTED {
            self.succeeded += 1;
            self.note.0.push(pod.uid.clone());
        }
    }

    fn take_failure(
        &mut self,
        lister: &dyn Lister,
        job: &Job,
        uncounted: &UncountedTerminatedPods,
        pod: &'a Typed<Pod>,
    ) {
        let details = failure::Details::read(lister, pod);
        let verdict = failure::judge(job, &details);
        if let Some(finished) = details.finished_ms() {
            self.failure_times.push(finished);
            if let Some(index) = index_of(pod) {
                let latest = self.failure_times_by_index.entry(index).or_insert(finished);
                *latest = (*latest).max(finished);
            }
        }
        if let Some(index) = index_of(pod) {
            let before = number(pod, INDEX_FAILURES);
            let now = before + i64::from(verdict.counts());
            let known = self.failures_by_index.entry(index).or_default();
            *known = (*known).max(now);
            let limit = job.spec.backoff_limit_per_index;
            if matches!(verdict, Verdict::FailIndex) || limit.is_some_and(|limit| now > limit) {
                self.failed_indexes.insert(index);
            }
        }
        if let Verdict::FailJob(message) = &verdict {
            self.fail_job.get_or_insert_with(|| message.clone());
        }
        if !is_tracked(pod) {
            return;
        }
        if uncounted.failed.contains(&pod.uid) || !verdict.counts() {
            self.untrack.push(pod);
        } else if self.note.1.len() < MOST_NOTED {
            self.failed += 1;
            self.note.1.push(pod.uid.clone());
        }
    }

    /// The back-off begins anew with every success.
    fn keep_failures_since_success(&mut self, pods: &[Typed<Pod>]) {
        let last_success = pods
            .iter()
            .filter(|pod| pod.status.phase == "Succeeded")
            .filter_map(|pod| pod.ready_condition()?.last_transition_time.as_deref())
            .filter_map(pintle_sdk::api::time::parse)
            .max();
        if let Some(last) = last_success {
            self.failure_times.retain(|at| *at >= last);
        }
        self.failure_times.sort_unstable();
    }

    pub fn succeeded_in_all(&self, job: &Job) -> i64 {
        if is_indexed(job) { self.completed_indexes.len() as i64 } else { self.succeeded }
    }
}

fn number(pod: &Pod, annotation: &str) -> i64 {
    pod.metadata.annotations.get(annotation).and_then(|text| text.parse().ok()).unwrap_or(0)
}
