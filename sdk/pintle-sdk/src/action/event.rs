//! What people are told about an object.

use super::Target;
use crate::object::ObjectRef;

/// An Event on an object; a grant to read the object's kind is enough. The core
/// fills time, count and reporting component, and folds repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The object that it is about.
    pub regarding: ObjectRef,
    /// The object's uid.
    pub regarding_uid: String,
    /// `Normal` or `Warning`.
    pub event_type: String,
    /// Why, in one word: `ScalingReplicaSet`.
    pub reason: String,
    /// What was done, in one word: `Scale`.
    pub action: String,
    /// For people.
    pub note: String,
}

impl Event {
    /// Something went as it should. `reason` is one word in CamelCase.
    pub fn normal(target: &impl Target, reason: &str, note: impl Into<String>) -> Self {
        Event::new("Normal", target, reason, note.into())
    }

    /// Somebody should have a look.
    pub fn warning(target: &impl Target, reason: &str, note: impl Into<String>) -> Self {
        Event::new("Warning", target, reason, note.into())
    }

    /// What was done, when that is not the reason's own word.
    pub fn action(mut self, action: &str) -> Self {
        self.action = action.to_owned();
        self
    }

    fn new(event_type: &str, target: &impl Target, reason: &str, note: String) -> Self {
        Event {
            regarding: target.reference().clone(),
            regarding_uid: target.uid().to_owned(),
            event_type: event_type.to_owned(),
            reason: reason.to_owned(),
            action: reason.to_owned(),
            note,
        }
    }
}
