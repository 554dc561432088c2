//! What a trace holds. These types are the file's own and not those of the
//! contract, so that either may grow without the other: new variants are added
//! at the end, existing ones never change.

mod answer;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use answer::{
    AccessRecord, ActionRecord, Answer, DecisionRecord, FaultRecord, NonResourceRuleRecord,
    PatchTypeRecord, PropagationRecord, ResourceRuleRecord, VerdictRecord, WakeRecord,
};

/// Bytes that are written as such. Shown as text, which they mostly are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// The first frame, in JSON: a person can read it with `head`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    pub plugin: String,
    /// As `spec.role` says it.
    pub role: String,
    /// The contract that the component was run under, `pintle:plugin@0.1.0`.
    pub contract: String,
    /// Of the component that was recorded.
    pub digest: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// The component follows in frames of its own; 0: it was left out.
    pub component_bytes: u64,
    /// As it was handed to the plugin, JSON.
    pub config: serde_json::Value,
    pub budgets: BudgetRecord,
    /// What the plugin was granted: `spec.grants`, or what its manifest asks for.
    pub grants: serde_json::Value,
    /// Names the key by which the values of Secrets were replaced, not the key:
    /// nobody needs it to replay. None: the values are real.
    pub redaction: Option<String>,
    pub created_unix_ms: i64,
    pub host_version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetRecord {
    pub fuel_per_call: u64,
    pub memory_bytes: u64,
    pub deadline_milliseconds: u64,
}

/// A fresh instance decides from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub why: Why,
    /// How its first call, `describe`, ended badly.
    pub fault: Option<FaultRecord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The recording begins.
    First,
    /// The instance before has faulted.
    Fault,
    /// The recorder could not keep up; so many turns are missing before this.
    Lost(u64),
}

/// One call of the plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// From 1 on, over the whole trace.
    pub number: u64,
    pub input: Input,
    /// What it read meanwhile, in order.
    pub reads: Vec<Read>,
    pub answer: Answer,
    pub fuel: u64,
    pub live: Live,
}

/// How the answer compares with the one that counted. They may differ where the
/// plugin looks at the values of Secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Live {
    Same,
    Differs,
    /// Calls without an answer, and those that only the recorder made.
    NotCompared,
}

/// Something that a reader of the trace should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// The recorder could not keep up: so many calls are missing here.
    Lost(u64),
    /// A call of so many bytes, more than a frame may have, is missing here.
    TooLarge(u64),
    /// A call is missing here: the cluster did not hold its revision any more.
    RevisionGone(u64),
}

/// The last frame of a trace that was ended on purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    pub calls: u64,
    pub starts: u64,
    pub reads: u64,
    pub faults: u64,
    /// Calls that were not recorded.
    pub lost: u64,
    /// Calls whose live answer was another one.
    pub live_differs: u64,
    /// Why it ends here.
    pub ended: String,
    /// Of everything before this frame.
    pub hash: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindRecord {
    pub group: String,
    pub version: String,
    pub kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefRecord {
    pub kind: KindRecord,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for RefRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    pub reference: RefRecord,
    pub uid: String,
    pub revision: u64,
    pub json: Blob,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeltaRecord {
    Upsert(ObjectRecord),
    Remove(ObjectRecord),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextRecord {
    pub now_unix_ms: i64,
    pub seed: u64,
    pub revision: u64,
}

/// What was asked of the plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    Reconcile { context: ContextRecord, reference: RefRecord, uid: String, attempt: u32 },
    Sync(Vec<DeltaRecord>),
    Forget(Vec<String>),
    Schedule { context: ContextRecord, pods: Vec<ObjectRecord> },
    Review { context: ContextRecord, request: RequestRecord },
    SyncNodes(Vec<NumberedNodeRecord>),
    Filter { context: ContextRecord, pod: ObjectRecord },
    Score { context: ContextRecord, pod: ObjectRecord },
    Authorize { context: ContextRecord, attributes: AttributesRecord },
    Rules { context: ContextRecord, user: UserRecord, namespace: String },
}

impl Input {
    pub fn context(&self) -> Option<&ContextRecord> {
        match self {
            Self::Reconcile { context, .. }
            | Self::Schedule { context, .. }
            | Self::Review { context, .. }
            | Self::Filter { context, .. }
            | Self::Score { context, .. }
            | Self::Authorize { context, .. }
            | Self::Rules { context, .. } => Some(context),
            Self::Sync(_) | Self::Forget(_) | Self::SyncNodes(_) => None,
        }
    }

    /// The export that is called.
    pub fn export(&self) -> &'static str {
        match self {
            Self::Reconcile { .. } => "reconcile",
            Self::Sync(_) => "sync",
            Self::Forget(_) => "forget",
            Self::Schedule { .. } => "schedule",
            Self::Review { .. } => "review",
            Self::SyncNodes(_) => "sync-nodes",
            Self::Filter { .. } => "filter",
            Self::Score { .. } => "score",
            Self::Authorize { .. } => "authorize",
            Self::Rules { .. } => "rules",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedNodeRecord {
    pub number: u32,
    pub node: Option<ObjectRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    pub reference: RefRecord,
    pub subresource: String,
    pub operation: OperationRecord,
    pub phase: PhaseRecord,
    pub dry_run: bool,
    pub user: String,
    pub user_uid: String,
    pub groups: Vec<String>,
    pub json: Blob,
    pub old_json: Blob,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributesRecord {
    pub user: UserRecord,
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
    pub required_fields: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationRecord {
    Create,
    Update,
    Delete,
    Connect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PhaseRecord {
    Mutating,
    Validating,
}

/// A question of the plugin during a call, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    pub question: Question,
    pub told: Told,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    Get(RefRecord),
    List(QueryRecord),
    ListFields(QueryRecord, Vec<String>),
    Count(QueryRecord),
    /// What extensions say, see `wit/extensions.wit`.
    Numbering,
    Nodes,
    Evaluate(String),
    Evaluation(u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRecord {
    pub kind: Option<KindRecord>,
    pub namespace: Option<String>,
    pub owner_uid: Option<String>,
    pub label_selector: Option<String>,
    pub field: Option<(String, String)>,
    pub metadata_only: bool,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    Object(Option<ObjectRecord>),
    Objects(Vec<ObjectRecord>),
    Count(u32),
    /// Of `numbering` and `evaluate`.
    Number(u64),
    Names(Vec<String>),
    Evaluation {
        rejections: Vec<RejectionRecord>,
        scores: Vec<u16>,
    },
    /// The read ended the call.
    Refused(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectionRecord {
    pub reason: String,
    pub nodes: Vec<u32>,
}
