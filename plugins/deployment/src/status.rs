//! What a Deployment's status says of its sets, and whether a rollout gets on.

use pintle_sdk::api::time;
use pintle_sdk::prelude::*;
use serde_json::json;

use crate::rolling::Bounds;
use crate::sets::Set;

pub const AVAILABLE: &str = "Available";
pub const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// The status that this reconcile will leave behind.
pub struct Progress<'a> {
    context: &'a Context,
    deployment: &'a Typed<Deployment>,
    pub conditions: Vec<Condition>,
    pub collision_count: Option<i64>,
}

impl<'a> Progress<'a> {
    pub fn new(context: &'a Context, deployment: &'a Typed<Deployment>) -> Self {
        Progress {
            context,
            deployment,
            conditions: deployment.status.conditions.clone(),
            collision_count: deployment.status.collision_count,
        }
    }

    /// The largest number stands for "no deadline".
    fn deadline_seconds(&self) -> Option<i64> {
        self.deployment
            .spec
            .progress_deadline_seconds
            .filter(|seconds| *seconds != i64::from(i32::MAX))
    }

    fn progressing(&self) -> Option<&Condition> {
        self.conditions.condition(PROGRESSING)
    }

    /// Says once that the rollout was paused or goes on.
    pub fn note_pause(&mut self) {
        let reason = self.progressing().map(Condition::reason).unwrap_or_default();
        if self.deadline_seconds().is_none() || reason == TIMED_OUT {
            return;
        }
        let (paused, noted) = (self.deployment.spec.paused, reason == PAUSED);
        if paused && !noted {
            self.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned());
        } else if !paused && noted {
            self.set(
                PROGRESSING,
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed".to_owned(),
            );
        }
    }

    pub fn note_created(&mut self, set: &str) {
        if self.deadline_seconds().is_some() {
            self.set(
                PROGRESSING,
                "True",
                "NewReplicaSetCreated",
                format!("Created new replica set \"{set}\""),
            );
        }
    }

    pub fn note_found(&mut self, set: &str) {
        if self.deadline_seconds().is_some() && self.progressing().is_none() {
            self.set(
                PROGRESSING,
                "True",
                "FoundNewReplicaSet",
                format!("Found new replica set \"{set}\""),
            );
        }
    }

    /// Unchanged status and reason leave the condition as it is.
    fn set(&mut self, r#type: &str, status: &str, reason: &str, message: String) {
        let now = self.context.now();
        let mut next = Condition::new(r#type, status, reason, message);
        next.last_update_time = Some(now.clone());
        next.last_transition_time = Some(now);
        let known = self.conditions.condition(r#type).filter(|known| known.status == next.status);
        if let Some(known) = known {
            if known.reason == next.reason {
                return;
            }
            next.last_transition_time = known.last_transition_time.clone();
        }
        self.conditions.retain(|condition| condition.r#type != r#type);
        self.conditions.push(next);
    }

    pub fn counts(&self, new_set: Option<&Set>, old: &[Set]) -> DeploymentStatus {
        let sum = |of: fn(&Set) -> i64| new_set.into_iter().chain(old).map(of).sum::<i64>();
        let available = sum(Set::available);
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: sum(|set| set.object.status.replicas),
            updated_replicas: new_set.map_or(0, |set| set.object.status.replicas),
            ready_replicas: sum(|set| set.object.status.ready_replicas),
            available_replicas: available,
            unavailable_replicas: (sum(|set| set.replicas) - available).max(0),
            // Unknown of one, unknown of all.
            terminating_replicas: new_set
                .into_iter()
                .chain(old)
                .map(|set| set.object.status.terminating_replicas)
                .sum(),
            conditions: Vec::new(),
            collision_count: self.collision_count,
        }
    }

    pub fn note_availability(&mut self, counts: &DeploymentStatus, bounds: &Bounds) {
        if counts.available_replicas >= bounds.min_available() {
            let message = "Deployment has minimum availability.".to_owned();
            self.set(AVAILABLE, "True", "MinimumReplicasAvailable", message);
        } else {
            let message = "Deployment does not have minimum availability.".to_owned();
            self.set(AVAILABLE, "False", "MinimumReplicasUnavailable", message);
        }
    }

    /// Complete, getting on, or stuck? Asks to look again when the deadline is over.
    pub fn note_progress(
        &mut self,
        counts: &DeploymentStatus,
        bounds: &Bounds,
        new_set: Option<&Set>,
        old: &[Set],
        outcome: &mut Outcome,
    ) {
        if self.deadline_seconds().is_none() {
            self.conditions.retain(|condition| condition.r#type != PROGRESSING);
        }
        let reason = self.progressing().map(|known| known.reason().to_owned());
        let settled = counts.replicas == counts.updated_replicas
            && reason.as_deref() == Some(NEW_SET_AVAILABLE);
        if self.deadline_seconds().is_some() && !settled {
            let who = match new_set {
                Some(set) => format!("ReplicaSet \"{}\"", set.name()),
                None => format!("Deployment \"{}\"", self.deployment.reference.name),
            };
            if self.is_complete(counts, bounds) {
                self.set(
                    PROGRESSING,
                    "True",
                    NEW_SET_AVAILABLE,
                    format!("{who} has successfully progressed."),
                );
            } else if self.got_on(counts) {
                // Written anew even if it says the same: its update time is what the deadline runs from.
                let kept = self.progressing().filter(|known| known.is_true());
                let kept = kept.and_then(|known| known.last_transition_time.clone());
                self.conditions.retain(|condition| condition.r#type != PROGRESSING);
                self.set(
                    PROGRESSING,
                    "True",
                    "ReplicaSetUpdated",
                    format!("{who} is progressing."),
                );
                if let (Some(kept), Some(last)) = (kept, self.conditions.last_mut()) {
                    last.last_transition_time = Some(kept);
                }
            } else if self.time_left().is_some_and(|left| left < 0) {
                self.set(
                    PROGRESSING,
                    "False",
                    TIMED_OUT,
                    format!("{who} has timed out progressing."),
                );
            }
        }
        if let Some(left) = self.time_left().and_then(|left| u64::try_from(left).ok()) {
            // Timestamps have whole seconds.
            outcome.requeue_after(left + 1000);
        }
        self.note_replica_failure(new_set, old);
    }

    pub fn is_complete(&self, counts: &DeploymentStatus, bounds: &Bounds) -> bool {
        counts.updated_replicas == bounds.desired
            && counts.replicas == bounds.desired
            && counts.available_replicas == bounds.desired
    }

    fn got_on(&self, counts: &DeploymentStatus) -> bool {
        let known = &self.deployment.status;
        counts.updated_replicas > known.updated_replicas
            || counts.replicas - counts.updated_replicas < known.replicas - known.updated_replicas
            || counts.ready_replicas > known.ready_replicas
            || counts.available_replicas > known.available_replicas
    }

    /// Milliseconds until the deadline of a rollout that is under way; negative
    /// when it has passed.
    fn time_left(&self) -> Option<i64> {
        let (deadline, known) = (self.deadline_seconds()?, self.progressing()?);
        if matches!(known.reason(), NEW_SET_AVAILABLE | TIMED_OUT) {
            return None;
        }
        let since = time::parse(known.last_update_time.as_deref()?)?;
        Some(since.saturating_add(deadline.saturating_mul(1000)) - self.context.now_unix_ms)
    }

    fn note_replica_failure(&mut self, new_set: Option<&Set>, old: &[Set]) {
        let failure = new_set
            .into_iter()
            .chain(old)
            .find_map(|set| set.object.status.conditions.condition(REPLICA_FAILURE))
            .cloned();
        match failure {
            Some(known) => {
                let message = known.message.clone().unwrap_or_default();
                self.set(REPLICA_FAILURE, &known.status, known.reason(), message);
            }
            None => self.conditions.retain(|condition| condition.r#type != REPLICA_FAILURE),
        }
    }

    /// The patch that makes the status true, if it is not. Zero counts that
    /// Kubernetes leaves out are removed.
    pub fn flush(self, counts: DeploymentStatus, outcome: &mut Outcome) {
        let status = DeploymentStatus {
            conditions: self.conditions,
            collision_count: self.collision_count,
            ..counts
        };
        if status == self.deployment.status {
            return;
        }
        let some = |count: i64| (count != 0).then_some(count);
        let body = json!({"status": {
            "observedGeneration": some(status.observed_generation),
            "replicas": some(status.replicas),
            "updatedReplicas": some(status.updated_replicas),
            "readyReplicas": some(status.ready_replicas),
            "availableReplicas": some(status.available_replicas),
            "unavailableReplicas": some(status.unavailable_replicas),
            "terminatingReplicas": status.terminating_replicas,
            "conditions": status.conditions,
            "collisionCount": status.collision_count,
        }});
        outcome.push(Patch::merge(self.deployment, &body).status());
    }
}
