//! The cluster as the host sees it: one trait that the server implements over
//! its watch bus and its API verbs.
//!
//! Reads are synchronous, because they are answered from memory; writes are
//! asynchronous, because they are durable when they return.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pintle_api::meta::GroupVersionKind;

use crate::action::Action;
use crate::fields;

/// One object at one revision. A trait, so that the server hands out what its
/// watch bus holds instead of copies.
pub trait Object: Send + Sync {
    fn kind(&self) -> &Arc<GroupVersionKind>;
    /// Empty for cluster-scoped kinds.
    fn namespace(&self) -> &str;
    fn name(&self) -> &str;
    fn uid(&self) -> &str;
    /// `metadata.resourceVersion` as a number; for a deleted object the revision of its deletion.
    fn revision(&self) -> u64;
    /// The whole object as Kubernetes JSON.
    fn json(&self) -> &Bytes;
    fn label(&self, key: &str) -> Option<&str>;
    /// The owner reference with `controller: true`.
    fn controller(&self) -> Option<Owner<'_>>;

    /// The text of a scalar at a dotted path such as `spec.nodeName`; None when
    /// absent or empty. Implementations answer indexed fields without parsing.
    fn field(&self, path: &str) -> Option<Cow<'_, str>> {
        fields::text(self.json(), path)
    }

    /// As [`fields::raw`]. Implementations that are asked often remember an
    /// [`Outline`](crate::outline::Outline).
    fn raw(&self, path: &str) -> Option<&str> {
        fields::raw(self.json(), path)
    }
}

pub type ObjectHandle = Arc<dyn Object>;

/// An owner reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone)]
pub struct ClusterEvent {
    pub revision: u64,
    pub change: Change,
    /// For `Deleted` the last state.
    pub object: ObjectHandle,
    /// The state before, for `Modified` and `Deleted`.
    pub previous: Option<ObjectHandle>,
}

/// Consecutive events.
#[derive(Clone, Default)]
pub struct EventBatch {
    pub events: Vec<ClusterEvent>,
    /// Everything up to this revision has been delivered, this batch included.
    pub revision: u64,
}

/// The reader was too slow and events are lost to it: it has to list again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event stream broke off; the reader has to list again")]
pub struct StreamGone;

#[async_trait]
pub trait EventStream: Send {
    /// Waits for the next events; never returns an empty batch with an unchanged revision.
    async fn next(&mut self) -> Result<EventBatch, StreamGone>;
}

/// Which objects to list; all given conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// None: all kinds.
    pub kind: Option<GroupVersionKind>,
    pub namespace: Option<String>,
    /// Only objects with an owner reference to this uid.
    pub owner_uid: Option<String>,
    /// A label selector in string form; one that does not parse selects nothing.
    pub label_selector: Option<String>,
    /// A selectable field and its value.
    pub field: Option<(String, String)>,
    /// 0: no limit.
    pub limit: usize,
}

#[derive(Clone, Default)]
pub struct Listing {
    /// The objects are those of this revision.
    pub revision: u64,
    pub objects: Vec<ObjectHandle>,
}

/// The revision has left the cluster's memory, or has not come yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("revision {revision} cannot be read any more; read again at a newer one")]
pub struct RevisionGone {
    pub revision: u64,
}

/// The cluster as of one revision, whatever is written meanwhile. Holds nothing:
/// any read may find that the revision is gone.
pub trait Snapshot: Send + Sync {
    fn revision(&self) -> u64;

    fn get(
        &self,
        kind: &GroupVersionKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObjectHandle>, RevisionGone>;

    fn list(&self, query: &ListQuery) -> Result<Vec<ObjectHandle>, RevisionGone>;

    /// What is different for the query since an earlier revision; None where that is
    /// not known (any more): then all of it has to be read.
    fn changes(&self, _query: &ListQuery, _since: u64) -> Option<Changes> {
        None
    }
}

/// What is different for a query between two revisions.
#[derive(Clone, Default)]
pub struct Changes {
    /// What matches, as it is at the later one.
    pub changed: Vec<ObjectHandle>,
    /// What may have matched at the earlier one and does no more.
    pub gone: Vec<ObjectHandle>,
}

/// Who performs an action.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PluginIdentity {
    /// The plugin of that name.
    Plugin(Arc<str>),
    /// The host itself, keeping the status of Plugin objects.
    Host,
}

impl PluginIdentity {
    /// The user name in the API.
    pub fn user_name(&self) -> String {
        match self {
            Self::Plugin(name) => format!("system:pintle:plugin:{name}"),
            Self::Host => "system:pintle:plugin-host".to_owned(),
        }
    }

    pub fn groups(&self) -> &'static [&'static str] {
        match self {
            Self::Plugin(_) => &["system:pintle:plugins", "system:authenticated"],
            Self::Host => &["system:pintle", "system:authenticated"],
        }
    }

    /// `reportingComponent` of Events and manager of fields: the short name.
    pub fn name(&self) -> &str {
        match self {
            Self::Plugin(name) => name,
            Self::Host => "plugin-host",
        }
    }
}

/// An action was performed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// The revision that carries the change; the current one if nothing changed.
    pub revision: u64,
}

/// Why an action was not performed. All of them are answers, not faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A precondition (revision, uid, not bound yet) does not hold any more.
    #[error("conflict: {0}")]
    Conflict(String),
    #[error("not found: {0}")]
    NotFound(String),
    #[error("already exists: {0}")]
    AlreadyExists(String),
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// Made in a namespace that is on its way out. Nothing can be made there any
    /// more, so asking again is of no use.
    #[error("the namespace is being deleted: {0}")]
    NamespaceTerminating(String),
    #[error("invalid: {0}")]
    Invalid(String),
    /// Worth trying again: overload, a timeout, a server that is stopping.
    #[error("not possible at present: {0}")]
    Transient(String),
}

#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// The newest revision that reads answer at.
    fn revision(&self) -> u64;

    fn get(&self, kind: &GroupVersionKind, namespace: &str, name: &str) -> Option<ObjectHandle>;

    fn list(&self, query: &ListQuery) -> Listing;

    /// Reads as of a revision of the recent past.
    fn pinned(&self, revision: u64) -> Result<Box<dyn Snapshot + '_>, RevisionGone>;

    /// All events of all kinds from now on: those after [`Cluster::revision`] at this moment.
    fn subscribe(&self) -> Box<dyn EventStream>;

    /// Performs one action; durable when it returns. Events of commits are in
    /// the streams, and visible to reads, before the commit is reported here.
    async fn apply(&self, identity: &PluginIdentity, action: Action)
    -> Result<Applied, ApplyError>;

    fn now_unix_ms(&self) -> i64;

    /// Whether there can be objects of the kind, in this version.
    fn serves(&self, _kind: &GroupVersionKind) -> bool {
        true
    }

    /// Keeps why the last plan of a plugin for an object was refused; none
    /// forgets it. What is not kept is never read.
    fn note_refusal(&self, _plugin: &str, _place: RefusalPlace, _message: Option<String>) {}

    /// What was kept last.
    fn refusal(&self, _plugin: &str, _place: &RefusalPlace) -> Option<String> {
        None
    }
}

/// Where a plugin reads a refusal: the namespace, and the kind in lower case
/// before the name of the object that the plan was for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefusalPlace {
    pub namespace: String,
    pub name: String,
}

impl RefusalPlace {
    pub fn of(kind: &GroupVersionKind, namespace: &str, name: &str) -> Self {
        let name = format!("{}.{name}", kind.kind.to_ascii_lowercase());
        Self { namespace: namespace.to_owned(), name }
    }
}
