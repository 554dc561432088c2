//! The `Plugin` object: its group and kind, and the fields of spec and status.
//!
//! A Plugin says which component plays which role, with which configuration,
//! what it may touch and what it may use up. Applying a changed one swaps it.

use pintle_api::meta::{GroupVersionKind, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const GROUP: &str = "plugins.pintle.dev";
pub const VERSION: &str = "v1alpha1";
pub const KIND: &str = "Plugin";

pub fn kind() -> GroupVersionKind {
    GroupVersionKind::new(GROUP, VERSION, KIND)
}

/// What a plugin decides; each role is one WIT world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    Controller,
    Scheduler,
    SchedulerExtension,
    Admission,
    Authorizer,
    #[serde(rename = "CNI")]
    Cni,
}

impl Role {
    pub const ALL: [Self; 6] = [
        Self::Controller,
        Self::Scheduler,
        Self::SchedulerExtension,
        Self::Admission,
        Self::Authorizer,
        Self::Cni,
    ];

    /// The interface a component of this role exports.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Controller => "pintle:plugin/controller",
            Self::Scheduler => "pintle:plugin/scheduler",
            Self::SchedulerExtension => "pintle:plugin/scheduler-extension",
            Self::Admission => "pintle:plugin/admission",
            Self::Authorizer => "pintle:plugin/authorizer",
            Self::Cni => "pintle:plugin/cni",
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "Controller",
            Self::Scheduler => "Scheduler",
            Self::SchedulerExtension => "SchedulerExtension",
            Self::Admission => "Admission",
            Self::Authorizer => "Authorizer",
            Self::Cni => "CNI",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Plugin {
    #[serde(default)]
    pub metadata: ObjectMeta,
    pub spec: PluginSpec,
    #[serde(default)]
    pub status: PluginStatus,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginSpec {
    pub role: Role,
    pub source: Source,
    /// `sha256:<hex>` of the component. The host refuses bytes with another
    /// digest. May be left out for an embedded source only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Handed to the plugin as JSON; laid over the embedded plugin's own defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// What the plugin may touch. Absent on an embedded source: what its
    /// manifest asks for; absent on any other: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<GrantRule>>,
    #[serde(default)]
    pub budgets: BudgetSpec,
    #[serde(default)]
    pub rollout: RolloutSpec,
    /// Admission and authorizers: lower numbers are asked first, equal ones by name.
    #[serde(default)]
    pub priority: i32,
    /// Scheduler extensions: how much the scores of this one count against
    /// those of others; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Scheduler extensions and authorizers: what becomes of a pod or a request
    /// that this one cannot answer for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<FailurePolicy>,
    /// Whose signature the component must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// A signature of the component, in base64, for sources that cannot carry one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Loaded by nobody until false again.
    #[serde(default)]
    pub suspended: bool,
}

/// Where the component comes from. Exactly one field is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// Built into the server binary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<EmbeddedSource>,
    /// A file on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSource>,
    /// In the object itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<InlineSource>,
    /// An artifact in a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
}

impl Source {
    /// The registry's artifact, if nothing else is named.
    pub fn only_oci(&self) -> Option<&OciSource> {
        match self {
            Self { embedded: None, file: None, inline: None, oci } => oci.as_ref(),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddedSource {
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSource {
    /// Absolute path.
    pub path: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InlineSource {
    /// The component in base64.
    pub data: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciSource {
    /// `registry.example/team/scorer:1.2` or, better, with `@sha256:<hex>` of the manifest.
    pub reference: String,
    /// Plain HTTP, for a registry on the same machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// A Secret of type `kubernetes.io/dockerconfigjson` with the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<SecretReference>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    pub name: String,
    pub namespace: String,
}

/// What a call that cannot be answered means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// As if the plugin had nothing to say.
    #[default]
    Ignore,
    /// As if it had refused.
    Fail,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verification {
    /// Public keys in PEM (ECDSA P-256); a signature by one of them suffices.
    pub public_keys: Vec<String>,
}

/// Kinds × verbs × namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantRule {
    /// `""` is the core group, `*` every group.
    pub api_groups: Vec<String>,
    /// `Pod`; `*` is every kind.
    pub kinds: Vec<String>,
    /// `get`, `update/status`; `*` is every verb, `update/*` every subresource.
    pub verbs: Vec<String>,
    /// Empty or `*`: every namespace and the cluster-scoped objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What one call may use; the role's defaults fill what is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetSpec {
    /// Units of work per call, about one per WebAssembly instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel_per_call: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_milliseconds: Option<u64>,
    /// Thousandths of a processor over time; no limit when absent. A plugin that
    /// has used them up waits, alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millicores: Option<u32>,
    /// Admission: so many requests at most are decided at the same time, each in
    /// an instance of its own; the number of processors when absent. With 1 the
    /// plugin may remember what it has admitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_instances: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutSpec {
    /// How long the previous version is kept warm to roll back to; 60 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// So many faulty calls in a row and the plugin is stopped; 5 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_strikes: Option<u32>,
    /// Compare a new version with the active one before it may decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowSpec>,
}

/// How long a new version is compared, and what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowSpec {
    /// After so many decisions.
    #[serde(default = "default_shadow_decisions")]
    pub decisions: u64,
    /// Of 100 decisions, so many may differ; 0 when absent.
    #[serde(default)]
    pub max_divergence_percent: f64,
    #[serde(default)]
    pub then: AfterShadow,
}

fn default_shadow_decisions() -> u64 {
    100
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterShadow {
    /// It takes over.
    #[default]
    Promote,
    /// It stops, and a person decides.
    Stop,
}

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

/// Counters are those of this server process since the plugin was loaded.
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
