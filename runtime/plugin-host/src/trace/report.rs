//! What a replay found out.

use serde::Serialize;
use serde_json::Value;

/// Differences that are kept whole; the others are counted.
pub(super) const MAX_KEPT: usize = 20;

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub plugin: String,
    pub role: String,
    pub recorded_digest: String,
    pub replayed_digest: String,
    /// The values of Secrets were replaced when it was recorded.
    pub redacted: bool,
    /// Calls that were made again.
    pub calls: u64,
    /// Of these, those with another answer.
    pub differing: u64,
    /// Of these, those that faulted both times, in the same way.
    pub faults_equal: u64,
    /// Reads that were answered from the trace.
    pub reads: u64,
    /// Calls whose answers are equal but whose reads are others, or in another order.
    pub reads_differing: u64,
    /// Calls that were ended by the clock when they were recorded; whether they
    /// would be again says nothing.
    pub ended_by_clock: u64,
    /// Calls that could not be made again, because the instance was lost before.
    pub skipped: u64,
    /// Calls that the recorder missed.
    pub lost: u64,
    /// Calls for which the live instance gave another answer than the recorder's.
    pub live_differing: u64,
    /// The first ones, in order.
    pub differences: Vec<Difference>,
    /// Where the trace is cut, if it is.
    pub cut: Option<String>,
    /// Why the recording ended.
    pub ended: Option<String>,
}

impl Report {
    /// Nothing that counts is different. Another build may read in another order.
    pub fn is_identical(&self) -> bool {
        let same_build = self.recorded_digest == self.replayed_digest;
        self.differing == 0 && self.skipped == 0 && (self.reads_differing == 0 || !same_build)
    }
}

/// One call that came out differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Number of the call, from 1 on.
    pub call: u64,
    /// Number of the frame, from 0 on.
    pub frame: u64,
    /// `reconcile`, `schedule`, ...
    pub export: String,
    /// The object that the call, or the part of it that differs, is about.
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub revision: u64,
    /// What differs, in words.
    pub what: String,
    pub recorded: Value,
    pub now: Value,
}
