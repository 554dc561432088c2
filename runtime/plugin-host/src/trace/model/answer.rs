//! What a trace holds of the answers of plugins.

use serde::{Deserialize, Serialize};

use super::{Blob, KindRecord, RefRecord, RejectionRecord};

/// What the plugin answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The call has no result.
    Done,
    Outcome {
        actions: Vec<ActionRecord>,
        requeue_after_ms: Option<u64>,
    },
    /// It could not decide, and says why.
    Error(String),
    Decisions(Vec<DecisionRecord>),
    Review {
        verdict: VerdictRecord,
        warnings: Vec<String>,
    },
    Rejections(Vec<RejectionRecord>),
    Scores(Vec<u8>),
    Fault(FaultRecord),
    Access(AccessRecord),
    Rules {
        resource_rules: Vec<ResourceRuleRecord>,
        non_resource_rules: Vec<NonResourceRuleRecord>,
        incomplete: Option<String>,
    },
}

/// How a call ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// As in `status.reason`.
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionRecord {
    Create {
        kind: KindRecord,
        namespace: String,
        json: Blob,
    },
    Update {
        reference: RefRecord,
        subresource: String,
        json: Blob,
    },
    Patch {
        reference: RefRecord,
        subresource: String,
        patch_type: PatchTypeRecord,
        body: Blob,
        revision: Option<u64>,
    },
    Delete {
        reference: RefRecord,
        uid: Option<String>,
        revision: Option<u64>,
        grace_period_seconds: Option<i64>,
        propagation: Option<PropagationRecord>,
    },
    Event {
        regarding: RefRecord,
        regarding_uid: String,
        event_type: String,
        reason: String,
        action: String,
        note: String,
    },
    Other(String, Blob),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PatchTypeRecord {
    Json,
    Merge,
    Strategic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PropagationRecord {
    Background,
    Foreground,
    Orphan,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecisionRecord {
    Bind { pod_uid: String, node: String },
    Unschedulable { pod_uid: String, message: String, wake_on: Vec<WakeRecord> },
    Preempt { pod_uid: String, node: String, victims: Vec<String>, message: String },
    Ignore(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WakeRecord {
    NodeChanged,
    PodRemoved,
    PodAdded,
    OtherChanged,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerdictRecord {
    Allow,
    Patch(Blob),
    Deny { code: u16, reason: String, message: String },
}

/// Each with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessRecord {
    Allow(String),
    Deny(String),
    NoOpinion(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRuleRecord {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonResourceRuleRecord {
    pub verbs: Vec<String>,
    pub non_resource_urls: Vec<String>,
}
