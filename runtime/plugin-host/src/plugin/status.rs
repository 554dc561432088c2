//! What a Plugin object says of what became of its spec.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::GrantRule;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    #[default]
    Pending,
    Loading,
    Active,
    /// The version of the spec is compared; the one before it decides.
    Shadowing,
    /// The version of the spec was compared and waits for a person; the one
    /// before it decides.
    Shadowed,
    /// The version of the spec misbehaved; the one before it decides again.
    RolledBack,
    /// The version of the spec could not be loaded; the one before it goes on.
    Rejected,
    /// Nothing decides.
    Failed,
    Suspended,
}

/// The comparison of the version of the spec with the active one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShadowStatus {
    /// The version that is compared.
    pub digest: String,
    /// Decisions of both that were compared, and how they came out.
    pub decisions: u64,
    pub agreements: u64,
    pub divergences: u64,
    /// Decisions that were not compared, because the shadow could not keep up.
    pub skipped: u64,
}

/// An input that a plugin trips over again and again; it is left alone until
/// it changes or another version decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParkedInput {
    /// `Pod default/web-1`.
    pub object: String,
    pub strikes: u32,
    pub reason: String,
    pub message: String,
}

/// Requests that an admission plugin wants to see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewRule {
    /// `""` is the core group.
    #[serde(default)]
    pub api_group: String,
    /// `*` is every kind.
    pub kind: String,
    /// Empty for the object itself, `*` for it and all its subresources.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// `Create`, `Update`, `Delete`, `Connect`.
    pub operations: Vec<String>,
}

/// Counters are those of this server process since the plugin was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginStatus {
    pub phase: Phase,
    /// One word, for programs: `DigestMismatch`, `UngrantedImport`, `OutOfFuel`, ...
    pub reason: String,
    pub message: String,
    pub observed_generation: i64,
    /// The version that the plugin gives itself.
    pub version: String,
    pub active_digest: String,
    pub previous_digest: String,
    /// The version of the spec, when it misbehaved and the one before decides again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rolled_back_from: String,
    /// The configuration of the active version, when that is not the spec's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_config: Option<Value>,
    /// What the active version asked for in its manifest; what the spec's
    /// version asks for when that was not granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<GrantRule>,
    /// Admission: what the active version reviews; what the latest one did, when
    /// none is active.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<ReviewRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowStatus>,
    /// At most twenty of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<ParkedInput>,
    pub calls: u64,
    pub p50_microseconds: u64,
    pub p99_microseconds: u64,
    pub fuel_consumed: u64,
    pub memory_bytes: u64,
    pub traps: u64,
    /// Faulty calls in a row.
    pub strikes: u64,
    pub strikes_total: u64,
    pub actions: u64,
    pub conflicts: u64,
    pub queue_depth: u64,
    pub swaps: u64,
    pub rollbacks: u64,
    pub last_swap_pause_microseconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
}
