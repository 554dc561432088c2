//! The few fields of a pod that decide which queue it belongs to.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cluster::Object;
use crate::fields;

/// Pods that name no scheduler are for this one.
const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// Reads each field when it is asked for: most pods answer with the first. One that
/// does not parse has none, and is nobody's: the API has let it through, not us.
pub(crate) struct PodView<'p>(&'p dyn Object);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    r#type: String,
    status: String,
    message: Option<String>,
}

impl<'p> PodView<'p> {
    pub fn of(pod: &'p dyn Object) -> Self {
        Self(pod)
    }

    pub fn is_bound(&self) -> bool {
        // An indexed field.
        self.0.field("spec.nodeName").is_some()
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self.text("status.phase").as_deref(), Some("Succeeded" | "Failed"))
    }

    pub fn priority(&self) -> i32 {
        self.0.raw("spec.priority").and_then(|number| number.parse().ok()).unwrap_or_default()
    }

    /// Waits for one of the schedulers named.
    pub fn is_pending_for(&self, schedulers: &[String]) -> bool {
        let is_one_of_them = || {
            let scheduler = self.text("spec.schedulerName");
            let scheduler = scheduler.as_deref().unwrap_or(DEFAULT_SCHEDULER);
            schedulers.iter().any(|name| name == scheduler)
        };
        !self.is_bound()
            && !self.is_terminal()
            && self.0.raw("metadata.deletionTimestamp").is_none()
            && !self.is_gated()
            && is_one_of_them()
    }

    /// Whether the pod says already that it could not be scheduled, in these words.
    pub fn is_unschedulable_with(&self, message: &str) -> bool {
        let conditions: Vec<Condition> = self
            .0
            .raw("status.conditions")
            .and_then(|list| serde_json::from_str(list).ok())
            .unwrap_or_default();
        conditions.iter().any(|condition| {
            condition.r#type == "PodScheduled"
                && condition.status == "False"
                && condition.message.as_deref() == Some(message)
        })
    }

    fn is_gated(&self) -> bool {
        self.0.raw("spec.schedulingGates").is_some_and(|gates| {
            serde_json::from_str::<Vec<IgnoredAny>>(gates).is_ok_and(|gates| !gates.is_empty())
        })
    }

    /// Not by [`Object::field`], which may read the whole object for a field that is
    /// selectable and not indexed.
    fn text(&self, path: &str) -> Option<Cow<'p, str>> {
        self.0.raw(path).and_then(fields::scalar)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::object;

    #[test]
    fn only_free_pods_of_the_named_schedulers_are_pending() {
        fn check(pod: Value, expect: bool) {
            let object = object(1, pod.clone());
            let schedulers = ["default-scheduler".into(), "mine".into()];
            assert_eq!(PodView::of(&*object).is_pending_for(&schedulers), expect, "{pod}");
        }
        check(json!({"spec": {}}), true);
        check(json!({"spec": {"schedulerName": "mine", "nodeName": ""}}), true);
        check(json!({"spec": {"schedulerName": ""}}), true);
        check(json!({"spec": {"schedulerName": "other"}}), false);
        check(json!({"spec": {"nodeName": "n"}}), false);
        check(json!({"spec": {"schedulingGates": [{"name": "x"}]}}), false);
        check(json!({"spec": {"schedulingGates": []}}), true);
        check(
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}),
            false,
        );
        check(json!({"spec": {}, "status": {"phase": "Failed"}}), false);
    }

    #[test]
    fn priorities_and_reasons_are_read_when_they_are_there() {
        let pod = object(
            1,
            json!({"spec": {"priority": -7}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "message": "no"},
                {"type": "PodScheduled", "status": "False", "message": "no room"}]}}),
        );
        let view = PodView::of(&*pod);
        assert_eq!(view.priority(), -7);
        assert!(view.is_unschedulable_with("no room") && !view.is_unschedulable_with("no"));
        let bare = object(1, json!({"spec": {}}));
        let view = PodView::of(&*bare);
        assert_eq!((view.priority(), view.is_unschedulable_with("")), (0, false));
    }
}
