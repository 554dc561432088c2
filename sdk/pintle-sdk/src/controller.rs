//! The role of a controller: told which object to look at, answers with what
//! to do. It keeps no state between calls.

use serde::de::DeserializeOwned;

use crate::action::Outcome;
use crate::context::Context;
use crate::error::Error;
use crate::lister::Lister;
use crate::manifest::Manifest;
use crate::object::{KindRef, ObjectRef};

/// A controller. The work queue, de-duplication, back-off and rate limits are
/// the core's; a key comes again only after the core has seen this controller's
/// own writes, so no bookkeeping of expectations is needed.
pub trait Controller: Sized {
    /// `spec.config` of the Plugin object; use `#[serde(deny_unknown_fields, default)]`.
    type Config: DeserializeOwned;

    /// An error text refuses the configuration.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// What to watch, which key each change means, and which grants that needs.
    fn describe(&self) -> Description;

    /// Looks at one object (which may be gone) and decides.
    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error>;
}

/// Which kinds of changes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub added: bool,
    pub modified: bool,
    pub deleted: bool,
}

impl Change {
    pub const ADDED: Change = Change { added: true, modified: false, deleted: false };
    pub const MODIFIED: Change = Change { added: false, modified: true, deleted: false };
    pub const DELETED: Change = Change { added: false, modified: false, deleted: true };
    pub const ANY: Change = Change { added: true, modified: true, deleted: true };

    pub const fn or(self, other: Change) -> Change {
        Change {
            added: self.added || other.added,
            modified: self.modified || other.modified,
            deleted: self.deleted || other.deleted,
        }
    }
}

/// Which keys an event on a watched object puts into the work queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueue {
    Itself,
    /// Its controlling owner, when that is of this kind.
    ControllerOwner(KindRef),
    /// The object of this kind with the same namespace and name (a
    /// cluster-scoped kind is looked up by name alone).
    SameName(KindRef),
    /// The object of this cluster-scoped kind that is named by a field, for
    /// example Namespace by `metadata.namespace`.
    NamedBy(KindRef, String),
    /// Every object of this kind in the same namespace whose label map at the
    /// field path (`spec.selector`) selects the object, before or after.
    SelectedBy(KindRef, String),
    /// Every object of this kind (in the same namespace, if it has one).
    AllOf(KindRef),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// None: every kind in the cluster, those to come included.
    pub kind: Option<KindRef>,
    pub changes: Change,
    /// Only objects in which this field is present.
    pub having: Option<String>,
    /// On a modification, only when one of these fields differs; empty: always.
    pub when_changed: Vec<String>,
    pub enqueue: Enqueue,
}

impl Watch {
    /// All changes of a kind; each enqueues the object itself.
    pub fn of(kind: KindRef) -> Self {
        Watch {
            kind: Some(kind),
            changes: Change::ANY,
            having: None,
            when_changed: Vec::new(),
            enqueue: Enqueue::Itself,
        }
    }

    pub fn every_kind() -> Self {
        Watch { kind: None, ..Watch::of(KindRef::new("", "", "")) }
    }

    pub fn on(mut self, changes: Change) -> Self {
        self.changes = changes;
        self
    }

    pub fn having(mut self, field: &str) -> Self {
        self.having = Some(field.to_owned());
        self
    }

    pub fn when_changed(mut self, fields: &[&str]) -> Self {
        self.when_changed = fields.iter().map(|&field| field.to_owned()).collect();
        self
    }

    pub fn enqueue(mut self, enqueue: Enqueue) -> Self {
        self.enqueue = enqueue;
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub manifest: Manifest,
    pub watches: Vec<Watch>,
}

impl Description {
    pub fn new(manifest: Manifest) -> Self {
        Description { manifest, watches: Vec::new() }
    }

    pub fn watch(mut self, watch: Watch) -> Self {
        self.watches.push(watch);
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub reference: ObjectRef,
    /// The uid that the triggering object had; tells an object apart from its
    /// successor of the same name.
    pub uid: String,
    /// How many times this key has failed in a row.
    pub attempt: u32,
}
