//! Counters of one plugin, as they appear in its status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cpu_share::CpuShare;
use crate::histogram::{Buckets, Histogram};
use crate::sandbox::{Fault, Usage};

/// Two buckets per power of two of microseconds: an error of at most a quarter,
/// in half a kilobyte.
const BUCKETS: usize = 64;

pub(crate) struct Metrics {
    /// Called with the first change after `rearm`.
    stir: Option<Box<dyn Fn() + Send + Sync>>,
    stirred: AtomicBool,
    calls: AtomicU64,
    fuel: AtomicU64,
    memory_bytes: AtomicU64,
    traps: AtomicU64,
    strikes_total: AtomicU64,
    actions: AtomicU64,
    conflicts: AtomicU64,
    queue_depth: AtomicU64,
    read_bytes: AtomicU64,
    swaps: AtomicU64,
    seconds: Histogram,
    strikes: Mutex<BTreeMap<&'static str, u64>>,
    /// What waits at present, as long as something runs.
    waiting: Mutex<Option<Box<dyn Fn() -> Waiting + Send + Sync>>>,
    /// Kept while versions come and go: a swap pays no debts.
    cpu: Mutex<Option<(u32, Arc<CpuShare>)>>,
    cpu_ns: AtomicU64,
    rollbacks: Mutex<BTreeMap<&'static str, u64>>,
    last_swap_pause_us: AtomicU64,
    latency: [AtomicU64; BUCKETS],
}

/// What waits for a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub depth: usize,
    /// Of what has waited longest.
    pub age: Duration,
}

/// A copy at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub calls: u64,
    pub p50_microseconds: u64,
    pub p99_microseconds: u64,
    pub fuel_consumed: u64,
    pub memory_bytes: u64,
    pub traps: u64,
    pub strikes_total: u64,
    pub actions: u64,
    pub conflicts: u64,
    pub queue_depth: u64,
    pub swaps: u64,
    pub rollbacks: u64,
    pub read_bytes: u64,
    /// Zero where it is not measured: without a limit.
    pub cpu: Duration,
    pub last_swap_pause_microseconds: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            stir: None,
            stirred: AtomicBool::default(),
            calls: AtomicU64::default(),
            fuel: AtomicU64::default(),
            memory_bytes: AtomicU64::default(),
            traps: AtomicU64::default(),
            strikes_total: AtomicU64::default(),
            actions: AtomicU64::default(),
            conflicts: AtomicU64::default(),
            queue_depth: AtomicU64::default(),
            swaps: AtomicU64::default(),
            rollbacks: Mutex::default(),
            read_bytes: AtomicU64::default(),
            seconds: Histogram::default(),
            strikes: Mutex::default(),
            waiting: Mutex::default(),
            cpu: Mutex::default(),
            cpu_ns: AtomicU64::default(),
            last_swap_pause_us: AtomicU64::default(),
            latency: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

impl Metrics {
    /// Calls `stir` when counters begin to move, once until `rearm`.
    pub fn notifying(stir: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { stir: Some(stir), ..Self::default() }
    }

    pub fn rearm(&self) {
        self.stirred.store(false, Ordering::SeqCst);
    }

    /// Calls `stir` no more until `rearm`: whoever would be told looks by itself.
    pub fn disarm(&self) {
        self.stirred.store(true, Ordering::SeqCst);
    }

    /// A counter has moved.
    pub fn moved(&self) {
        if let Some(stir) = &self.stir
            && !self.stirred.load(Ordering::Relaxed)
            && !self.stirred.swap(true, Ordering::SeqCst)
        {
            stir();
        }
    }

    pub fn call(&self, usage: &Usage) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.fuel.fetch_add(usage.fuel, Ordering::Relaxed);
        self.memory_bytes.store(usage.memory_bytes as u64, Ordering::Relaxed);
        self.read_bytes.fetch_add(usage.read_bytes, Ordering::Relaxed);
        self.latency[bucket(micros(usage.elapsed))].fetch_add(1, Ordering::Relaxed);
        self.seconds.observe(usage.elapsed);
        if !usage.cpu.is_zero() {
            let nanoseconds = u64::try_from(usage.cpu.as_nanos()).unwrap_or(u64::MAX);
            self.cpu_ns.fetch_add(nanoseconds, Ordering::Relaxed);
        }
        self.moved();
    }

    pub fn strike(&self, fault: &Fault) {
        self.strikes_total.fetch_add(1, Ordering::Relaxed);
        *self.strikes.lock().entry(fault.reason()).or_default() += 1;
        if matches!(fault, Fault::Trap(_) | Fault::Memory(_)) {
            self.traps.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn actions(&self, count: usize) {
        self.actions.fetch_add(count as u64, Ordering::Relaxed);
        self.moved();
    }

    pub fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn queue_depth(&self, depth: usize) {
        self.queue_depth.store(depth as u64, Ordering::Relaxed);
    }

    /// Who knows what waits.
    pub fn waiting_in(&self, queue: impl Fn() -> Waiting + Send + Sync + 'static) {
        *self.waiting.lock() = Some(Box::new(queue));
    }

    pub fn waiting(&self) -> Waiting {
        self.waiting.lock().as_ref().map_or_else(Waiting::default, |queue| queue())
    }

    /// By reason.
    pub fn strikes(&self) -> BTreeMap<&'static str, u64> {
        self.strikes.lock().clone()
    }

    pub fn seconds(&self) -> Buckets {
        self.seconds.read()
    }

    /// The account of a plugin that may use so much of the processors.
    pub fn cpu_share(&self, millicores: u32) -> Arc<CpuShare> {
        let mut known = self.cpu.lock();
        match &*known {
            Some((limit, share)) if *limit == millicores => share.clone(),
            _ => {
                let share = Arc::new(CpuShare::new(millicores, Instant::now()));
                *known = Some((millicores, share.clone()));
                share
            }
        }
    }

    pub fn swap(&self, pause: Duration) {
        self.swaps.fetch_add(1, Ordering::Relaxed);
        self.last_swap_pause_us.store(micros(pause), Ordering::Relaxed);
    }

    pub fn rollback(&self, reason: &'static str) {
        *self.rollbacks.lock().entry(reason).or_default() += 1;
    }

    /// By reason.
    pub fn rollbacks(&self) -> BTreeMap<&'static str, u64> {
        self.rollbacks.lock().clone()
    }

    pub fn read(&self) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let latency: Vec<u64> = self.latency.iter().map(load).collect();
        Counters {
            calls: load(&self.calls),
            p50_microseconds: percentile(&latency, 50),
            p99_microseconds: percentile(&latency, 99),
            fuel_consumed: load(&self.fuel),
            memory_bytes: load(&self.memory_bytes),
            traps: load(&self.traps),
            strikes_total: load(&self.strikes_total),
            actions: load(&self.actions),
            conflicts: load(&self.conflicts),
            queue_depth: load(&self.queue_depth),
            swaps: load(&self.swaps),
            rollbacks: self.rollbacks().values().sum(),
            read_bytes: load(&self.read_bytes),
            cpu: Duration::from_nanos(load(&self.cpu_ns)),
            last_swap_pause_microseconds: load(&self.last_swap_pause_us),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// 0 → 0, 1 → 1, then two buckets for each power of two.
fn bucket(micros: u64) -> usize {
    if micros < 2 {
        return micros as usize;
    }
    let exponent = micros.ilog2() as usize;
    let upper_half = (micros >> (exponent - 1)) & 1;
    (2 * exponent + upper_half as usize).min(BUCKETS - 1)
}

/// The largest value that falls into the bucket.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < 2 {
        return bucket as u64;
    }
    let exponent = (bucket / 2) as u32;
    let base = 1u64 << exponent;
    if bucket.is_multiple_of(2) { base + base / 2 - 1 } else { 2 * base - 1 }
}

fn percentile(counts: &[u64], percent: u64) -> u64 {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return 0;
    }
    let rank = (total * percent).div_ceil(100);
    let mut seen = 0;
    for (bucket, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= rank {
            return upper_bound(bucket);
        }
    }
    upper_bound(counts.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn buckets_hold_their_values(micros in 0u64..1_000_000_000) {
            let bucket = bucket(micros);
            prop_assert!(micros <= upper_bound(bucket));
            prop_assert!(bucket == 0 || micros > upper_bound(bucket - 1));
        }

        #[test]
        fn percentiles_are_at_most_half_too_high(mut values in proptest::collection::vec(1u64..1_000_000, 1..200)) {
            let metrics = Metrics::default();
            for value in &values {
                metrics.call(&Usage { elapsed: Duration::from_micros(*value), ..Usage::default() });
            }
            values.sort_unstable();
            let exact = values[(values.len() * 99).div_ceil(100) - 1];
            let found = metrics.read().p99_microseconds;
            prop_assert!(found >= exact && found <= exact + exact / 2 + 1, "{} for {}", found, exact);
        }
    }
}
