//! Plugins that there are to be and of which no version could be loaded: those
//! that somebody relies on to be asked stand in the way of what they cannot see.

use std::sync::Arc;

use super::manager::Manager;
use super::slot::{Slot, SlotState};
use crate::admission::{self, Absent};
use crate::authorizer;
use crate::cluster::Object;
use crate::fields;
use crate::plugin::{FailurePolicy, PluginSpec, ReviewRule, Role};

/// What it means for requests that no version of the plugin is there.
pub(super) fn consequence(state: &SlotState) -> &'static str {
    let Some(spec) = &state.spec else { return "" };
    match (spec.role, spec.failure_policy()) {
        (Role::Admission, _) if spec.suspended => "; requests pass without it",
        (Role::Authorizer, _) if spec.suspended => "; requests are decided without it",
        _ if spec.suspended => "",
        (Role::Admission, FailurePolicy::Ignore) => {
            "; requests pass without it, as spec.failurePolicy says"
        }
        (Role::Admission, FailurePolicy::Fail) if state.reviewed.is_empty() => {
            "; it has never been there, so requests pass without it"
        }
        (Role::Admission, FailurePolicy::Fail) => {
            "; requests that it reviews are refused (status.reviews)"
        }
        _ => "",
    }
}

impl Manager {
    /// Unless the version before goes on. An admission plugin that has never been
    /// there stands in no way: nobody knows what it would have looked at, and
    /// nothing has relied on it.
    pub(super) fn put_absent(&self, slot: &Slot, spec: &PluginSpec, cause: &str) {
        match spec.role {
            Role::Authorizer => {
                self.authorizers.put_absent(&slot.name, authorizer::Terms::of(spec), cause);
            }
            Role::Admission => {
                let reviews = self.known_reviews(slot, spec);
                slot.state.lock().reviewed.clone_from(&reviews);
                let absent = Absent::new(&reviews, cause.to_owned());
                self.admission.put_absent(&slot.name, admission::Terms::of(spec), absent);
            }
            // What they decide waits for them.
            Role::Controller | Role::Scheduler | Role::SchedulerExtension | Role::Cni => {}
        }
    }

    /// What the latest version reviewed, or what the embedded one will.
    fn known_reviews(&self, slot: &Slot, spec: &PluginSpec) -> Vec<ReviewRule> {
        let state = slot.state.lock();
        if !state.reviewed.is_empty() {
            return state.reviewed.clone();
        }
        let embedded = spec.source.embedded.as_ref();
        embedded
            .and_then(|source| self.embedded.get(&source.name))
            .map_or_else(Vec::new, |embedded| embedded.reviews.clone())
    }

    /// A Plugin object of another server, of whose spec nothing can be told but the
    /// role: the strictest terms hold.
    pub(super) fn put_unreadable(&self, slot: &Arc<Slot>, object: &dyn Object, cause: &str) {
        let cause = format!("the Plugin object cannot be read: {cause}");
        let role = object.field("spec.role");
        let is = |role_of: Role| role.as_deref() == Some(role_of.as_str());
        if is(Role::Authorizer) {
            let terms = authorizer::Terms { priority: 0, failure_policy: FailurePolicy::Fail };
            self.authorizers.put_absent(&slot.name, terms, &cause);
        } else if is(Role::Admission) {
            let stored = fields::raw(object.json(), "status.reviews")
                .and_then(|reviews| serde_json::from_str(reviews).ok());
            let reviews: Vec<ReviewRule> = stored.unwrap_or_default();
            slot.state.lock().reviewed.clone_from(&reviews);
            let terms = admission::Terms { priority: 0, failure_policy: FailurePolicy::Fail };
            self.admission.put_absent(&slot.name, terms, Absent::new(&reviews, cause));
        }
    }
}
