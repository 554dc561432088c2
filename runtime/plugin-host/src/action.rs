//! Effects as data: what plugins ask for, in the form the cluster performs.

use std::fmt;

use bytes::Bytes;
use pintle_api::meta::GroupVersionKind;

/// Which object an action is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    pub kind: GroupVersionKind,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Create {
        kind: GroupVersionKind,
        /// Empty for cluster-scoped kinds.
        namespace: String,
        /// The object; `metadata.generateName` is honoured.
        object: Bytes,
    },
    Update {
        target: Target,
        /// Empty for the object itself.
        subresource: String,
        /// The whole object; a `metadata.resourceVersion` in it is the precondition.
        object: Bytes,
    },
    Patch {
        target: Target,
        subresource: String,
        patch_type: PatchType,
        body: Bytes,
        /// Only if the object is still at this revision.
        revision: Option<u64>,
    },
    Delete {
        target: Target,
        /// Only if the object still has this uid.
        uid: Option<String>,
        revision: Option<u64>,
        grace_period_seconds: Option<i64>,
        propagation: Option<Propagation>,
    },
    /// An Event on an object; times, count and folding of repetitions are the cluster's.
    Event {
        regarding: Target,
        regarding_uid: String,
        /// `Normal` or `Warning`.
        event_type: String,
        reason: String,
        action: String,
        note: String,
    },
    /// Gives a pod that has no node yet to `node`; a conflict if it has one, or another uid.
    Bind { namespace: String, pod: String, uid: String, node: String },
}
