//! Deletions, and what becomes of what the object owns.

use super::Target;
use crate::object::ObjectRef;

/// What happens to the objects that a deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay, without owner.
    Orphan,
}

/// Deletes an object; needs the verb `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Which object.
    pub reference: ObjectRef,
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// Only if the object is still at this revision.
    pub revision: Option<u64>,
    /// How long a pod may take to end; absent: what the pod says.
    pub grace_period_seconds: Option<i64>,
    /// What happens to what it owns; absent: the kind's default.
    pub propagation: Option<Propagation>,
}

impl Delete {
    /// Whatever has this name by then.
    pub fn new(target: &impl Target) -> Self {
        Delete {
            reference: target.reference().clone(),
            uid: None,
            revision: None,
            grace_period_seconds: None,
            propagation: None,
        }
    }

    /// This very object, not a successor of the same name.
    pub fn this(target: &impl Target) -> Self {
        Delete::new(target).uid(target.uid())
    }

    /// Only if the object still has this uid.
    pub fn uid(mut self, uid: impl Into<String>) -> Self {
        self.uid = Some(uid.into());
        self
    }

    /// Only if the object is still at this revision.
    pub fn at(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// How long a pod may take to end.
    pub fn grace(mut self, seconds: i64) -> Self {
        self.grace_period_seconds = Some(seconds);
        self
    }

    /// What happens to the objects that this one owns.
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }
}
