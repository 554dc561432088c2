//! Which pods to make and which to delete, so that as many run as are wanted.

use std::collections::BTreeSet;

use pintle_sdk::names::Random;
use pintle_sdk::prelude::*;
use serde_json::Value;

use super::Work;
use crate::create::{backoff_ms, new_pod};
use crate::tally::{Tally, index_of, is_indexed, is_tracked, untrack, waits_for_failure};

/// Pods created or deleted in one step.
const BURST: i64 = 500;

impl<'a> Work<'a> {
    /// `uncounted`: they do not count as failed.
    pub(super) fn delete_active(&mut self, tally: &Tally<'a>, uncounted: bool) {
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
    pub(super) fn manage(&mut self, tally: &Tally<'a>) {
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
}
