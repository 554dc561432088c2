//! What stands in for the clock and for randomness.

/// Given to every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Context {
    /// Unix time in milliseconds.
    pub now_unix_ms: i64,
    /// Differs between calls; the seed of any pseudo-random choice.
    pub seed: u64,
    /// The revision that listers answer at during this call.
    pub revision: u64,
}

impl Context {
    /// The present moment as Kubernetes writes it, in whole seconds.
    pub fn now(&self) -> String {
        pintle_api::time::format_seconds(self.now_unix_ms)
    }

    /// Milliseconds that passed since a timestamp; `None` if it is absent or
    /// not RFC 3339.
    pub fn since(&self, timestamp: Option<&str>) -> Option<i64> {
        Some(self.now_unix_ms - pintle_api::time::parse(timestamp?)?)
    }
}
