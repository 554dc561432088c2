//! Wall time, handed in by the binary.

use std::time::Duration;

pub trait Clock: Send + Sync + 'static {
    fn now_unix_ms(&self) -> i64;
}

/// Waits until the clock shows `at`; for ever when there is nothing to wait for.
pub async fn until(clock: &dyn Clock, at: Option<i64>) {
    match at {
        Some(at) => {
            let left = at.saturating_sub(clock.now_unix_ms()).max(0);
            tokio::time::sleep(Duration::from_millis(left.unsigned_abs())).await;
        }
        None => std::future::pending().await,
    }
}
