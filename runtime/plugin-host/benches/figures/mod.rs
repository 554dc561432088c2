//! What single calls, instances and decisions cost, without a server: measured
//! here once, for the benches of this crate and for the project's table.

#![allow(dead_code)] // each bench uses its own part

pub mod authorizer;
pub mod decision;
pub mod extension;
pub mod instance;
pub mod runaway;

use std::time::{Duration, Instant};

/// The median of many runs.
pub fn median(times: usize, mut run: impl FnMut()) -> Duration {
    let taken = (0..times).map(|_| {
        let started = Instant::now();
        run();
        started.elapsed()
    });
    middle(taken.collect())
}

pub fn middle<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    values[values.len() / 2]
}

pub fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
