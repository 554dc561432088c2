//! Effects, as data. The core checks each against the plugin's grants and
//! performs it with compare-and-swap; one that is refused (the object changed
//! meanwhile) brings the key back, so a plugin never handles conflicts itself.

use serde::Serialize;

use crate::lister::Typed;
use crate::object::{KindRef, Object, ObjectRef};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Create(Create),
    Update(Update),
    Patch(Patch),
    Delete(Delete),
    Event(Event),
}

/// Anything that names an existing object.
pub trait Target {
    fn reference(&self) -> &ObjectRef;
}

impl Target for ObjectRef {
    fn reference(&self) -> &ObjectRef {
        self
    }
}

impl Target for Object {
    fn reference(&self) -> &ObjectRef {
        &self.reference
    }
}

impl<T> Target for Typed<T> {
    fn reference(&self) -> &ObjectRef {
        &self.reference
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    pub kind: KindRef,
    pub namespace: String,
    /// The object; `metadata.generateName` is honoured.
    pub json: Vec<u8>,
}

impl Create {
    pub fn new(kind: KindRef, namespace: impl Into<String>, object: &impl Serialize) -> Self {
        Create { kind, namespace: namespace.into(), json: encode(object) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub reference: ObjectRef,
    /// Empty for the object itself, else `status`, `scale`, `finalize`, ...
    pub subresource: String,
    /// The whole object; `metadata.resourceVersion` in it is the precondition.
    pub json: Vec<u8>,
}

impl Update {
    pub fn new(target: &impl Target, object: &impl Serialize) -> Self {
        Update {
            reference: target.reference().clone(),
            subresource: String::new(),
            json: encode(object),
        }
    }

    pub fn subresource(mut self, name: &str) -> Self {
        self.subresource = name.to_owned();
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    pub reference: ObjectRef,
    pub subresource: String,
    pub patch_type: PatchType,
    pub body: Vec<u8>,
    /// Only if the object is still at this revision.
    pub revision: Option<u64>,
}

impl Patch {
    /// RFC 7386: objects are merged, `null` removes, lists are replaced.
    pub fn merge(target: &impl Target, body: &impl Serialize) -> Self {
        Patch::new(target, PatchType::Merge, encode(body))
    }

    /// RFC 6902: a list of operations.
    pub fn json(target: &impl Target, operations: &impl Serialize) -> Self {
        Patch::new(target, PatchType::Json, encode(operations))
    }

    fn new(target: &impl Target, patch_type: PatchType, body: Vec<u8>) -> Self {
        Patch {
            reference: target.reference().clone(),
            subresource: String::new(),
            patch_type,
            body,
            revision: None,
        }
    }

    pub fn status(self) -> Self {
        self.subresource("status")
    }

    pub fn subresource(mut self, name: &str) -> Self {
        self.subresource = name.to_owned();
        self
    }

    pub fn at(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    pub reference: ObjectRef,
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    pub revision: Option<u64>,
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
}

impl Delete {
    pub fn new(target: &impl Target) -> Self {
        Delete {
            reference: target.reference().clone(),
            uid: None,
            revision: None,
            grace_period_seconds: None,
            propagation: None,
        }
    }

    pub fn uid(mut self, uid: impl Into<String>) -> Self {
        self.uid = Some(uid.into());
        self
    }

    pub fn at(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    pub fn grace(mut self, seconds: i64) -> Self {
        self.grace_period_seconds = Some(seconds);
        self
    }

    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }
}

/// An Event on an object. The core fills time, count and reporting component,
/// and folds repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub regarding: ObjectRef,
    pub regarding_uid: String,
    /// `Normal` or `Warning`.
    pub event_type: String,
    pub reason: String,
    pub action: String,
    pub note: String,
}

impl Event {
    pub fn normal(
        target: &impl Target,
        uid: &str,
        reason: &str,
        action: &str,
        note: impl Into<String>,
    ) -> Self {
        Event::new("Normal", target, uid, reason, action, note.into())
    }

    pub fn warning(
        target: &impl Target,
        uid: &str,
        reason: &str,
        action: &str,
        note: impl Into<String>,
    ) -> Self {
        Event::new("Warning", target, uid, reason, action, note.into())
    }

    fn new(
        event_type: &str,
        target: &impl Target,
        uid: &str,
        reason: &str,
        action: &str,
        note: String,
    ) -> Self {
        Event {
            regarding: target.reference().clone(),
            regarding_uid: uid.to_owned(),
            event_type: event_type.to_owned(),
            reason: reason.to_owned(),
            action: action.to_owned(),
            note,
        }
    }
}

macro_rules! into_action {
    ($($name:ident),*) => {$(
        impl From<$name> for Action {
            fn from(action: $name) -> Action {
                Action::$name(action)
            }
        }
    )*};
}
into_action!(Create, Update, Patch, Delete, Event);

/// What a reconcile decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub actions: Vec<Action>,
    /// Look again after so many milliseconds even if nothing changes.
    pub requeue_after_ms: Option<u64>,
}

impl Outcome {
    pub fn done() -> Self {
        Outcome::default()
    }

    pub fn push(&mut self, action: impl Into<Action>) {
        self.actions.push(action.into());
    }

    /// The earliest of all wishes wins.
    pub fn requeue_after(&mut self, milliseconds: u64) {
        let wish = self.requeue_after_ms.map_or(milliseconds, |known| known.min(milliseconds));
        self.requeue_after_ms = Some(wish);
    }
}

/// Plain data with string keys always encodes; the empty body of an impossible
/// failure would be refused by the API server.
fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
