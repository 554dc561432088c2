//! How many replicas a measure asks for: the present number times the ratio of
//! what is measured to what is wanted, with care for pods that are not measured
//! or not ready.

use std::collections::BTreeSet;

use pintle_sdk::prelude::*;

use crate::Config;
use crate::measure::Samples;

/// Pods sorted by how far they are to be believed.
#[derive(Debug, Default)]
pub struct Groups<'a> {
    pub ready: Vec<&'a Typed<Pod>>,
    pub unready: BTreeSet<&'a str>,
    pub missing: Vec<&'a Typed<Pod>>,
}

/// A measured value against its target, both in thousandths (or percent).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub ratio: f64,
    /// Of the pods that were measured: percent, when the target is one.
    pub utilization: Option<i64>,
    /// The average of a measured pod.
    pub average: i64,
}

impl<'a> Groups<'a> {
    pub fn of(
        context: &Context,
        config: &Config,
        pods: &'a [Typed<Pod>],
        samples: &Samples,
        of_cpu: bool,
    ) -> Self {
        let mut groups = Groups::default();
        for pod in pods {
            if pod.metadata.is_being_deleted() || pod.is_finished() {
                continue;
            }
            let name = pod.reference.name.as_str();
            if pod.status.phase == "Pending" {
                groups.unready.insert(name);
                continue;
            }
            let Some(sample) = samples.get(name) else {
                groups.missing.push(pod);
                continue;
            };
            if of_cpu && !is_to_be_believed(context, config, pod, sample.at_ms, sample.window_ms) {
                groups.unready.insert(name);
                continue;
            }
            groups.ready.push(pod);
        }
        groups
    }
}

/// The first minutes of a pod say little about its use of processors.
fn is_to_be_believed(
    context: &Context,
    config: &Config,
    pod: &Pod,
    measured_at: Option<i64>,
    window_ms: i64,
) -> bool {
    let started = pod.status.start_time.as_deref().and_then(pintle_sdk::time::parse);
    let (Some(ready), Some(started)) = (pod.ready_condition(), started) else { return false };
    let since = ready.last_transition_time.as_deref().and_then(pintle_sdk::time::parse);
    let since = since.unwrap_or(started);
    let age = context.now_unix_ms - started;
    if age < i64::from(config.cpu_initialization_period_seconds) * 1000 {
        // Ready, and measured for a whole window since.
        return ready.is_true() && measured_at.is_none_or(|at| at >= since + window_ms);
    }
    // Never ready since it started: it is still starting.
    let never = since - started < i64::from(config.initial_readiness_delay_seconds) * 1000;
    ready.is_true() || !never
}

/// How far a ratio may be from 1 and change nothing, in either direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    pub up: f64,
    pub down: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// By a value for each pod. `of` tells what a pod that was not measured, or is
/// not ready, is taken to use: (measured value, value at the target).
pub fn by_pods(
    tolerance: Tolerance,
    current: i64,
    groups: &Groups<'_>,
    ratio: impl Fn(&[(&Typed<Pod>, Option<i64>)]) -> Option<Reading>,
    measured: impl Fn(&Typed<Pod>) -> Option<i64>,
    at_target: impl Fn(&Typed<Pod>) -> i64,
    all: &[Typed<Pod>],
) -> Option<(i64, Reading)> {
    let sampled: Vec<(&Typed<Pod>, Option<i64>)> =
        groups.ready.iter().map(|pod| (*pod, measured(pod))).collect();
    let reading = ratio(&sampled)?;
    let scale_up_with_unready = !groups.unready.is_empty() && reading.ratio > 1.0;
    if !scale_up_with_unready && groups.missing.is_empty() {
        if tolerance.covers(reading.ratio) {
            return Some((current, reading));
        }
        return Some(((reading.ratio * sampled.len() as f64).ceil() as i64, reading));
    }
    let mut guessed = sampled.clone();
    for pod in &groups.missing {
        // Against the direction: as if it used nothing, or all that it should.
        let value = if reading.ratio < 1.0 { at_target(pod) } else { 0 };
        guessed.push((pod, Some(value)));
    }
    if scale_up_with_unready {
        let unready = all.iter().filter(|pod| groups.unready.contains(pod.reference.name.as_str()));
        guessed.extend(unready.map(|pod| (pod, Some(0))));
    }
    let again = ratio(&guessed)?.ratio;
    let flipped = (reading.ratio < 1.0 && again > 1.0) || (reading.ratio > 1.0 && again < 1.0);
    if tolerance.covers(again) || flipped {
        return Some((current, reading));
    }
    let next = (again * guessed.len() as f64).ceil() as i64;
    let wrong_way = (again < 1.0 && next > current) || (again > 1.0 && next < current);
    Some((if wrong_way { current } else { next }, reading))
}

/// By one value for the whole workload: against a total (`per_pod` false), or
/// against an average per replica.
pub fn by_total(
    tolerance: Tolerance,
    current: i64,
    ready: i64,
    value: i64,
    target: i64,
    per_pod: bool,
) -> Option<i64> {
    if target <= 0 {
        return None;
    }
    if per_pod {
        let ratio = value as f64 / (target as f64 * current.max(1) as f64);
        return Some(if current > 0 && tolerance.covers(ratio) {
            current
        } else {
            (value as f64 / target as f64).ceil() as i64
        });
    }
    let ratio = value as f64 / target as f64;
    if current > 0 {
        if tolerance.covers(ratio) {
            return Some(current);
        }
        return Some((ratio * ready as f64).ceil() as i64);
    }
    Some(ratio.ceil() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals() {
        fn check(current: i64, value: i64, target: i64, per_pod: bool, expect: Option<i64>) {
            let tolerance = Tolerance { up: 0.1, down: 0.1 };
            assert_eq!(by_total(tolerance, current, current, value, target, per_pod), expect);
        }
        check(2, 100, 50, false, Some(4));
        check(2, 52, 50, false, Some(2));
        check(4, 100, 50, true, Some(2));
        check(2, 105, 50, true, Some(2));
        check(0, 100, 50, false, Some(2));
        check(2, 100, 0, false, None);
    }
}
