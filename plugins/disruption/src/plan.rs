//! The decision: a budget and its pods in, its status out.

use std::collections::BTreeMap;

use pintle_sdk::api::time;
use pintle_sdk::conditions;
use pintle_sdk::prelude::*;
use pintle_sdk::remembered::Remembered;
use serde_json::{Value, json};

use crate::Config;
use crate::expected::{self, Scale, Unknown};

/// What is looked at in a pod.
const OF_POD: &[&str] = &[
    "metadata.ownerReferences",
    "metadata.deletionTimestamp",
    "status.phase",
    "status.conditions",
];

/// How many pods there should be, and how many of them must be healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Demand {
    expected: i64,
    healthy: i64,
    /// Pods without controller had to be left out.
    unmanaged: bool,
}

pub fn plan(
    context: &Context,
    config: &Config,
    known: &Remembered<Typed<Pod>>,
    lister: &dyn Lister,
    budget: &Typed<PodDisruptionBudget>,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::done();
    let namespace = &budget.reference.namespace;
    let pods: Vec<Typed<Pod>> = match &budget.spec.selector {
        None => Vec::new(),
        Some(selector) => {
            let selected = Query::of(POD).namespace(namespace).selector(selector);
            known.read(lister, &selected.fields(OF_POD))?
        }
    };
    let pods: Vec<Typed<Pod>> = pods.into_iter().filter(|pod| !pod.is_finished()).collect();
    let status = &budget.status;
    let disrupted = still_disrupted(context, config, budget, &pods, &mut outcome);
    let healthy = pods
        .iter()
        .filter(|pod| pod.is_ready() && !pod.metadata.is_being_deleted())
        .filter(|pod| !disrupted.contains_key(&pod.reference.name))
        .count() as i64;
    let mut remarks = Vec::new();
    if pods.is_empty() {
        remarks.push(Event::normal(budget, "NoPods", "No matching pods found"));
    }
    let mut next = PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        disrupted_pods: disrupted,
        current_healthy: healthy,
        ..status.clone()
    };
    let condition = match demand(lister, &budget.spec, &pods) {
        Ok(demand) => {
            if demand.unmanaged {
                let note = unmanaged(&budget.spec);
                remarks.push(Event::warning(budget, "UnmanagedPods", note));
            }
            next.expected_pods = demand.expected;
            next.desired_healthy = demand.healthy;
            next.disruptions_allowed = (healthy - demand.healthy).max(0);
            if demand.expected <= 0 {
                next.disruptions_allowed = 0;
            }
            match next.disruptions_allowed {
                0 => Condition::new("DisruptionAllowed", "False", "InsufficientPods", ""),
                _ => Condition::new("DisruptionAllowed", "True", "SufficientPods", ""),
            }
        }
        Err(Unknown(why)) => {
            // What cannot be counted is not given away.
            next.disruptions_allowed = 0;
            let note = format!("Failed to calculate the number of expected pods: {why}");
            let event = Event::warning(budget, "CalculateExpectedPodCountFailed", note);
            let condition = Condition::new("DisruptionAllowed", "False", "SyncFailed", why);
            let known = status.conditions.condition("DisruptionAllowed");
            if known.is_none_or(|known| known.message != condition.message) {
                outcome.push(event);
            }
            condition
        }
    };
    let condition =
        Condition { observed_generation: Some(budget.metadata.generation), ..condition };
    let generation_moved = status
        .conditions
        .condition("DisruptionAllowed")
        .is_none_or(|known| known.observed_generation != condition.observed_generation);
    let moved = conditions::set(&mut next.conditions, condition.clone(), &context.now());
    if generation_moved && !moved {
        for known in &mut next.conditions {
            if known.r#type == condition.r#type {
                known.observed_generation = condition.observed_generation;
            }
        }
    }
    if next != *status {
        outcome.push(write(budget, &next));
        // With the change that made it worth a remark, and not at every look.
        outcome.extend(remarks);
    }
    Ok(outcome)
}

/// Granted evictions whose pods are still there and not yet on their way out. One
/// that does not come about is forgotten after a while.
fn still_disrupted(
    context: &Context,
    config: &Config,
    budget: &Typed<PodDisruptionBudget>,
    pods: &[Typed<Pod>],
    outcome: &mut Outcome,
) -> BTreeMap<String, String> {
    let mut still = BTreeMap::new();
    for (name, since) in &budget.status.disrupted_pods {
        let Some(pod) = pods.iter().find(|pod| pod.reference.name == *name) else { continue };
        if pod.metadata.is_being_deleted() {
            continue;
        }
        let Some(at) = time::parse(since) else { continue };
        let until = at + i64::from(config.deletion_timeout_seconds) * 1000;
        match u64::try_from(until - context.now_unix_ms) {
            Ok(wait) if wait > 0 => {
                still.insert(name.clone(), since.clone());
                outcome.requeue_after(wait);
            }
            _ => {
                let note = format!(
                    "Pod was expected by PDB {}/{} to be deleted but it wasn't",
                    budget.reference.namespace, budget.reference.name
                );
                outcome.push(Event::warning(pod, "NotDeleted", note));
            }
        }
    }
    still
}

fn unmanaged(spec: &PodDisruptionBudgetSpec) -> String {
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a \
         result, the status of the PDB cannot be calculated correctly, which may result in undefined \
         behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to \
         an integer value.",
        json!(spec.selector)
    )
}

fn demand(
    lister: &dyn Lister,
    spec: &PodDisruptionBudgetSpec,
    pods: &[Typed<Pod>],
) -> Result<Demand, Unknown> {
    let scaled = |value: &IntOrString, total: i64| {
        value.scaled(total, true).ok_or_else(|| Unknown(format!("{value:?} is no percentage")))
    };
    if let Some(most) = &spec.max_unavailable {
        let Scale { replicas: expected, unmanaged } = expected::of_controllers(lister, pods)?;
        let healthy = (expected - scaled(most, expected)?).max(0);
        return Ok(Demand { expected, healthy, unmanaged });
    }
    match &spec.min_available {
        // A budget without bounds demands nothing.
        None => Ok(Demand { expected: pods.len() as i64, healthy: 0, unmanaged: false }),
        Some(IntOrString::Int(least)) => {
            Ok(Demand { expected: pods.len() as i64, healthy: *least, unmanaged: false })
        }
        Some(percent) => {
            let Scale { replicas: expected, unmanaged } = expected::of_controllers(lister, pods)?;
            Ok(Demand { expected, healthy: scaled(percent, expected)?, unmanaged })
        }
    }
}

fn write(budget: &Typed<PodDisruptionBudget>, next: &PodDisruptionBudgetStatus) -> Patch {
    // A merge would keep pods that are not disrupted any more.
    let gone =
        budget.status.disrupted_pods.keys().filter(|name| !next.disrupted_pods.contains_key(*name));
    let mut disrupted: serde_json::Map<String, Value> =
        next.disrupted_pods.iter().map(|(name, at)| (name.clone(), json!(at))).collect();
    disrupted.extend(gone.map(|name| (name.clone(), Value::Null)));
    Patch::status_of(
        budget,
        &json!({
            "observedGeneration": next.observed_generation,
            "disruptedPods": disrupted,
            "disruptionsAllowed": next.disruptions_allowed,
            "currentHealthy": next.current_healthy,
            "desiredHealthy": next.desired_healthy,
            "expectedPods": next.expected_pods,
            "conditions": next.conditions,
        }),
    )
    // Evictions count down the same numbers at the same time.
    .at(budget.revision)
}
