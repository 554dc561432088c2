//! The role of a controller: told which object to look at, answers with what
//! to do. It keeps no state between calls.

use serde::de::DeserializeOwned;

use crate::action::Outcome;
use crate::context::Context;
use crate::error::Error;
use crate::lister::{Lister, Typed};
use crate::manifest::Manifest;
use crate::object::{KindRef, ObjectRef, Resource};

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
    /// It appeared, or was there when the plugin started.
    pub added: bool,
    /// It is different now.
    pub modified: bool,
    /// It is gone.
    pub deleted: bool,
}

#[allow(missing_docs)]
impl Change {
    pub const ADDED: Change = Change { added: true, modified: false, deleted: false };
    pub const MODIFIED: Change = Change { added: false, modified: true, deleted: false };
    pub const DELETED: Change = Change { added: false, modified: false, deleted: true };
    pub const ANY: Change = Change { added: true, modified: true, deleted: true };

    /// This one and that one: `Change::ADDED.or(Change::DELETED)`.
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
    /// The object itself.
    Itself,
    /// Its controlling owner, when that is of this kind.
    ControllerOwner(KindRef),
    /// The object of this kind with the same namespace and name (a
    /// cluster-scoped kind is looked up by name alone).
    SameName(KindRef),
    /// The object of this cluster-scoped kind that is named by a field, for
    /// example Namespace by `metadata.namespace`.
    NamedBy(KindRef, String),
    /// Every object of this kind in the same namespace whose label map or label
    /// selector at the field path (`spec.selector`) selects the object, before or
    /// after. An empty one selects every object, an absent one none.
    SelectedBy(KindRef, String),
    /// Every object of this kind (in the same namespace, if it has one).
    AllOf(KindRef),
}

/// A kind whose changes matter to a controller; start with [`Watch::of`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// None: every kind in the cluster, those to come included.
    pub kind: Option<KindRef>,
    /// Which changes of it.
    pub changes: Change,
    /// Only objects in which this field is present.
    pub having: Option<String>,
    /// On a modification, only when one of these fields differs; empty: always.
    pub when_changed: Vec<String>,
    /// Which keys a change means.
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

    /// All changes of every kind, of those to come too.
    pub fn every_kind() -> Self {
        Watch { kind: None, ..Watch::of(KindRef::new("", "", "")) }
    }

    /// Only these changes.
    pub fn on(mut self, changes: Change) -> Self {
        self.changes = changes;
        self
    }

    /// Only objects in which this field is present: `metadata.deletionTimestamp`.
    pub fn having(mut self, field: &str) -> Self {
        self.having = Some(field.to_owned());
        self
    }

    /// On a modification, only when one of these fields differs.
    pub fn when_changed(mut self, fields: &[&str]) -> Self {
        self.when_changed = fields.iter().map(|&field| field.to_owned()).collect();
        self
    }

    /// Which keys a change means; the object itself unless said otherwise.
    pub fn enqueue(mut self, enqueue: Enqueue) -> Self {
        self.enqueue = enqueue;
        self
    }
}

/// What a controller says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name and what it needs.
    pub manifest: Manifest,
    /// What it watches.
    pub watches: Vec<Watch>,
}

impl Description {
    /// A controller that watches nothing yet.
    pub fn new(manifest: Manifest) -> Self {
        Description { manifest, watches: Vec::new() }
    }

    /// Adds a watch.
    pub fn watch(mut self, watch: Watch) -> Self {
        self.watches.push(watch);
        self
    }
}

/// One key of the work queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which object to look at; it may be gone.
    pub reference: ObjectRef,
    /// The uid that the triggering object had; tells an object apart from its
    /// successor of the same name.
    pub uid: String,
    /// How many times this key has failed in a row.
    pub attempt: u32,
}

impl Request {
    /// The object that is asked about, unless it is gone.
    pub fn read<T: Resource>(&self, lister: &dyn Lister) -> Result<Option<Typed<T>>, Error> {
        lister.read(&self.reference.namespace, &self.reference.name)
    }
}
