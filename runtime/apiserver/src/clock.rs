//! Time comes in from outside; only the binary owns the real clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock as the API server sees it.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn now_unix_ms(&self) -> i64;
}

/// The machine's clock, for the binary to pass in.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_unix_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }
}
