//! Conditions as Kubernetes keeps them: one per type, the transition time moves
//! only when the status does.
//!
//! ```
//! use pintle_sdk::conditions::{self, Condition};
//! use pintle_sdk::prelude::*;
//!
//! fn note_ready(context: &Context, node: &Typed<Node>, outcome: &mut Outcome) {
//!     let mut list = node.status.conditions.clone();
//!     let ready = Condition::new("Ready", "True", "Heard", "it renewed its lease");
//!     if conditions::set(&mut list, ready, &context.now()) {
//!         outcome.push(Patch::status_of(node, &serde_json::json!({"conditions": list})));
//!     }
//! }
//! ```

use serde::{Deserialize, Serialize};

/// One entry of `status.conditions`, with every field that any built-in kind
/// uses; those a kind does not have stay absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Condition {
    pub r#type: String,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Condition {
    /// `status` is `True`, `False` or `Unknown`, `reason` one word in CamelCase.
    pub fn new(r#type: &str, status: &str, reason: &str, message: impl Into<String>) -> Self {
        let text = |text: String| (!text.is_empty()).then_some(text);
        Condition {
            r#type: r#type.to_owned(),
            status: status.to_owned(),
            reason: text(reason.to_owned()),
            message: text(message.into()),
            ..Condition::default()
        }
    }

    /// `True` or `False`, as `holds` says.
    pub fn when(r#type: &str, holds: bool, reason: &str, message: impl Into<String>) -> Self {
        Condition::new(r#type, if holds { "True" } else { "False" }, reason, message)
    }

    /// Is its status `True`?
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// The reason; empty when there is none.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }
}

/// A list of conditions.
pub trait Conditions {
    /// The condition of this type.
    fn condition(&self, r#type: &str) -> Option<&Condition>;
    /// Is the condition of this type there and true?
    fn is_condition_true(&self, r#type: &str) -> bool {
        self.condition(r#type).is_some_and(Condition::is_true)
    }
}

impl Conditions for [Condition] {
    fn condition(&self, r#type: &str) -> Option<&Condition> {
        self.iter().find(|condition| condition.r#type == r#type)
    }
}

/// Puts `next` into the list and says whether anything but times changed.
/// `lastTransitionTime` is kept when the status is the same.
pub fn set(conditions: &mut Vec<Condition>, mut next: Condition, now: &str) -> bool {
    match conditions.iter_mut().find(|known| known.r#type == next.r#type) {
        Some(known) => {
            let same_status = known.status == next.status;
            if same_status && known.reason == next.reason && known.message == next.message {
                return false;
            }
            next.last_transition_time =
                if same_status { known.last_transition_time.take() } else { Some(now.to_owned()) };
            if next.last_probe_time.is_none() {
                next.last_probe_time = known.last_probe_time.take();
            }
            *known = next;
        }
        None => {
            next.last_transition_time.get_or_insert_with(|| now.to_owned());
            conditions.push(next);
        }
    }
    true
}

/// Takes the condition of this type out; says whether it was there.
pub fn remove(conditions: &mut Vec<Condition>, r#type: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.r#type != r#type);
    before != conditions.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let mut list = Vec::new();
        assert!(set(&mut list, Condition::new("Ready", "False", "A", ""), "t1"));
        assert!(!set(&mut list, Condition::new("Ready", "False", "A", ""), "t2"));
        assert!(set(&mut list, Condition::new("Ready", "False", "B", ""), "t3"));
        assert_eq!(list[0].last_transition_time.as_deref(), Some("t1"));
        assert!(set(&mut list, Condition::new("Ready", "True", "B", ""), "t4"));
        assert_eq!(list[0].last_transition_time.as_deref(), Some("t4"));
        assert!(list.is_condition_true("Ready"));
        assert!(remove(&mut list, "Ready") && !remove(&mut list, "Ready"));
    }
}
