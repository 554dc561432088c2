//! What the integration tests share: guests, and a cluster in memory that
//! keeps the promises of the `Cluster` trait.

#![allow(dead_code)] // each test binary uses its own part

pub mod cluster;
pub mod guests;
pub mod host;

use std::time::{Duration, Instant};

/// Whatever has to come has come by then, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `check` gives something. Polls, because it observes from outside.
pub async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    eventually_showing(what, || check().ok_or_else(String::new)).await
}

/// The same, and shows what it saw last when it gives up.
pub async fn eventually_showing<T>(what: &str, mut check: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(found) => return found,
            Err(seen) => {
                assert!(Instant::now() < deadline, "never happened: {what}; seen last: {seen}")
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
