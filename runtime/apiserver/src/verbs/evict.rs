//! Eviction: a delete that asks the disruption budgets first.
//!
//! The budget's own status says what it allows; granting an eviction counts it
//! down there, as one conditional write, so that two evictions never share one
//! permission. Who computes the status is not known here.

use pintle_api::kinds::{Resource, Subresource};
use pintle_api::selector::LabelSelector;
use pintle_api::status::{StatusCause, StatusError};
use pintle_api::time;
use pintle_watch::Object;
use serde_json::{Value, json};

use super::delete::{DeleteOptions, Deleted};
use super::update::{Change, Part};
use super::{Target, Verbs};
use crate::user::User;

/// Granted and not yet seen to go; more means that nobody counts any more.
const MOST_DISRUPTED: usize = 2000;
const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const CAUSE: &str = "DisruptionBudget";

impl Verbs {
    pub async fn evict(
        &self,
        user: &User,
        pods: &'static Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, StatusError> {
        if !pods.has(Subresource::Eviction) {
            return Err(StatusError::method_not_allowed(pods.group_resource(), "evict"));
        }
        let pod = self.get(pods, namespace, name)?;
        let parsed: Value = serde_json::from_slice(&pod.bytes).map_err(StatusError::internal)?;
        if !is_out_of_account(&parsed)
            && let Some(budgets) = self.registry.by_plural("policy", "v1", "poddisruptionbudgets")
            && let Some(budget) = self.budget_of(budgets, &pod)?
        {
            self.ask(user, budgets, &budget, &parsed, options.dry_run).await?;
        }
        if !options.dry_run {
            self.mark_disrupted(user, pods, namespace, name).await?;
        }
        // Another pod of the name may have come meanwhile.
        let mut options = options.clone();
        options.preconditions.uid.get_or_insert_with(|| pod.meta.uid.to_string());
        self.delete(user, pods, namespace, name, &options).await
    }

    fn budget_of(
        &self,
        budgets: &'static Resource,
        pod: &Object,
    ) -> Result<Option<String>, StatusError> {
        let listing = self.bus.list(budgets.storage_id, Some(pod.namespace()));
        let mut matching = listing.objects.iter().filter(|budget| {
            let selector = serde_json::from_slice::<Value>(&budget.bytes)
                .ok()
                .and_then(|budget| budget.pointer("/spec/selector").cloned());
            // Absent selects nothing, empty everything.
            selector.filter(Value::is_object).is_some_and(|selector| {
                LabelSelector::from_json(&selector)
                    .is_ok_and(|selector| selector.matches(|key| pod.label(key)))
            })
        });
        let first = matching.next().map(|budget| budget.name().to_owned());
        if matching.next().is_some() {
            return Err(StatusError::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        Ok(first)
    }

    /// Counts the eviction against the budget, or says why not.
    async fn ask(
        &self,
        user: &User,
        budgets: &'static Resource,
        name: &str,
        pod: &Value,
        dry_run: bool,
    ) -> Result<(), StatusError> {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let now = time::format_seconds(self.clock.now_unix_ms());
        let change = Change {
            target: Target { user, namespace, name, subresource: "status", dry_run },
            row: budgets,
            part: Part::Prepared,
        };
        let counted = self
            .modify(&change, Vec::new(), |_, budget| {
                let mut next = budget.clone();
                if is_free_of_charge(budget, pod) {
                    return Ok(next);
                }
                check(budgets, name, budget)?;
                let status = &mut next["status"];
                let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
                status["disruptionsAllowed"] = json!(allowed - 1);
                status["disruptedPods"][pod_name] = json!(now);
                Ok(next)
            })
            .await;
        match counted {
            // Gone meanwhile: nothing forbids it any more.
            Err(error) if error.code() == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Whoever looks at the pod's end sees that it was meant (KEP-3329).
    async fn mark_disrupted(
        &self,
        user: &User,
        pods: &'static Resource,
        namespace: &str,
        name: &str,
    ) -> Result<(), StatusError> {
        let now = time::format_seconds(self.clock.now_unix_ms());
        let change = Change {
            target: Target { user, namespace, name, subresource: "status", dry_run: false },
            row: pods,
            part: Part::Prepared,
        };
        self.modify(&change, Vec::new(), |_, old| {
            let mut pod = old.clone();
            let mut conditions =
                pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.retain(|condition| condition["type"] != "DisruptionTarget");
            conditions.push(json!({
                "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastTransitionTime": now,
            }));
            pod["status"]["conditions"] = Value::Array(conditions);
            Ok(pod)
        })
        .await
        .map(|_| ())
    }
}

/// Pods that run nothing, or are ending already, cost no budget anything.
fn is_out_of_account(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending")
        || pod["metadata"]["deletionTimestamp"].is_string()
}

/// A pod that does not work may go when the budget says so, or when the others
/// suffice (KEP-3017).
fn is_free_of_charge(budget: &Value, pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    if ready {
        return false;
    }
    let status = &budget["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || (number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy"))
}

fn check(budgets: &'static Resource, name: &str, budget: &Value) -> Result<(), StatusError> {
    let status = &budget["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let observed = number("observedGeneration");
    if observed < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(violates(10, why));
    }
    let forbidden = |why: &str| Err(StatusError::forbidden(budgets.group_resource(), name, why));
    if number("disruptionsAllowed") < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MOST_DISRUPTED) {
        return forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
    }
    if number("disruptionsAllowed") == 0 {
        let why = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        );
        return Err(violates(0, why));
    }
    Ok(())
}

fn violates(retry_after_seconds: u32, message: String) -> StatusError {
    let cause = StatusCause { reason: CAUSE.to_owned(), message, ..StatusCause::default() };
    StatusError::too_many_requests_because(VIOLATES, retry_after_seconds, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sick_pods_go_when_the_others_suffice() {
        fn check(budget: Value, ready: &str, expect: bool) {
            let pod = json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
            assert_eq!(is_free_of_charge(&budget, &pod), expect, "{budget} {ready}");
        }
        let enough = json!({"status": {"currentHealthy": 2, "desiredHealthy": 2}});
        let too_few = json!({"status": {"currentHealthy": 1, "desiredHealthy": 2}});
        let always = json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}, "status": {"desiredHealthy": 2}});
        check(enough.clone(), "True", false);
        check(enough, "False", true);
        check(too_few, "False", false);
        check(always.clone(), "False", true);
        check(always, "True", false);
    }
}
