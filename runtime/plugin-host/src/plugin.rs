//! The `Plugin` object: its group and kind, and the fields of spec and status.
//!
//! A Plugin says which component plays which role, with which configuration,
//! what it may touch and what it may use up. Applying a changed one swaps it.

mod status;

use pintle_api::meta::{GroupVersionKind, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use status::{ParkedInput, Phase, PluginStatus, ReviewRule, ShadowStatus};

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
    /// Scheduler extensions, authorizers and admission: what becomes of a pod or a
    /// request that this one cannot answer for. See [`PluginSpec::failure_policy`].
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

impl PluginSpec {
    /// What a call that cannot be answered means. What an admission plugin checks
    /// is not let through unchecked unless somebody says so; where others are
    /// silent, nothing is allowed by it.
    pub fn failure_policy(&self) -> FailurePolicy {
        self.failure_policy.unwrap_or(match self.role {
            Role::Admission => FailurePolicy::Fail,
            _ => FailurePolicy::Ignore,
        })
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// As if the plugin had nothing to say.
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
