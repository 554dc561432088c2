//! The few fields of a pod that decide which queue it belongs to.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cluster::Object;

/// Pods that name no scheduler are for this one.
const DEFAULT_SCHEDULER: &str = "default-scheduler";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodView {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    scheduler_name: Option<String>,
    priority: Option<i32>,
    scheduling_gates: Option<Vec<IgnoredAny>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    r#type: String,
    status: String,
    message: Option<String>,
}

impl PodView {
    /// One that does not parse is nobody's: the API has let it through, not us.
    pub fn of(pod: &dyn Object) -> Self {
        serde_json::from_slice(pod.json()).unwrap_or_default()
    }

    pub fn is_bound(&self) -> bool {
        self.spec.node_name.as_deref().is_some_and(|node| !node.is_empty())
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    pub fn priority(&self) -> i32 {
        self.spec.priority.unwrap_or_default()
    }

    /// Waits for one of the schedulers named.
    pub fn is_pending_for(&self, schedulers: &[String]) -> bool {
        let scheduler = match self.spec.scheduler_name.as_deref() {
            None | Some("") => DEFAULT_SCHEDULER,
            Some(name) => name,
        };
        !self.is_bound()
            && !self.is_terminal()
            && self.metadata.deletion_timestamp.is_none()
            && self.spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
            && schedulers.iter().any(|name| name == scheduler)
    }

    /// Whether the pod says already that it could not be scheduled, in these words.
    pub fn is_unschedulable_with(&self, message: &str) -> bool {
        self.status.conditions.iter().flatten().any(|condition| {
            condition.r#type == "PodScheduled"
                && condition.status == "False"
                && condition.message.as_deref() == Some(message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_free_pods_of_the_named_schedulers_are_pending() {
        fn check(json: &str, expect: bool) {
            let pod: PodView = serde_json::from_str(json).unwrap();
            assert_eq!(
                pod.is_pending_for(&["default-scheduler".into(), "mine".into()]),
                expect,
                "{json}"
            );
        }
        check(r#"{"spec":{}}"#, true);
        check(r#"{"spec":{"schedulerName":"mine","nodeName":""}}"#, true);
        check(r#"{"spec":{"schedulerName":"other"}}"#, false);
        check(r#"{"spec":{"nodeName":"n"}}"#, false);
        check(r#"{"spec":{"schedulingGates":[{"name":"x"}]}}"#, false);
        check(r#"{"spec":{"schedulingGates":[]}}"#, true);
        check(r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{}}"#, false);
        check(r#"{"spec":{},"status":{"phase":"Failed"}}"#, false);
    }
}
