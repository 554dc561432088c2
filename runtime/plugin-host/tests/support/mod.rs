//! What the integration tests share: guests, and a cluster in memory that
//! keeps the promises of the `Cluster` trait.

#![allow(dead_code)] // each test binary uses its own part

pub mod cluster;
pub mod guests;

use std::time::{Duration, Instant};

/// Waits until `check` gives something. Polls, because it observes from outside.
pub async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
