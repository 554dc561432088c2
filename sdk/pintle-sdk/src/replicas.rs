//! A number of equal pods: makes the missing ones and ends those that are too
//! many. What ReplicaSets and ReplicationControllers have in common.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::action::{Create, Delete, Event, Outcome};
use crate::conditions::{self, Condition, Conditions as _};
use crate::context::Context;
use crate::error::Error;
use crate::lister::{Lister, Typed};
use crate::names::Random;
use crate::ranking::deletion_order;
use crate::types::{POD, Pod};
use crate::workload::pod_from_template;

/// Kubernetes' event recorder lets so many events about one object through in a
/// burst; more would say nothing new.
const MOST_EVENTS: usize = 25;

/// How many pods of the same make each node has; asked only when pods must go.
pub type PodsPerNode<'a> = &'a dyn Fn() -> Result<BTreeMap<String, usize>, Error>;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Pods could not be made, or not be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    reason: &'static str,
    message: String,
}

/// What the refusal of the last try means for an owner that still has another
/// number of pods than it wants.
pub fn failure(active: usize, wanted: usize, refusal: Option<String>) -> Option<Failure> {
    let message = refusal?;
    match active.cmp(&wanted) {
        Ordering::Less => Some(Failure { reason: "FailedCreate", message }),
        Ordering::Greater => Some(Failure { reason: "FailedDelete", message }),
        Ordering::Equal => None,
    }
}

impl Failure {
    /// For people, on the owner.
    pub fn event<T>(&self, owner: &Typed<T>) -> Event {
        let doing = if self.reason == "FailedCreate" { "creating" } else { "deleting" };
        let action = if self.reason == "FailedCreate" { "Create" } else { "Delete" };
        let note = format!("Error {doing}: {}", self.message);
        Event::warning(owner, self.reason, note).action(action)
    }
}

/// Brings the condition `ReplicaFailure` in line; true if that changed the list.
/// The message of the first failure stays: each try names another pod.
pub fn report(conditions: &mut Vec<Condition>, failure: Option<&Failure>, now: &str) -> bool {
    match failure {
        None => {
            let before = conditions.len();
            conditions.retain(|known| known.r#type != REPLICA_FAILURE);
            conditions.len() != before
        }
        Some(_) if conditions.is_condition_true(REPLICA_FAILURE) => false,
        Some(failure) => {
            let condition =
                Condition::new(REPLICA_FAILURE, "True", failure.reason, failure.message.as_str());
            conditions::set(conditions, condition, now)
        }
    }
}

/// Brings the number of pods nearer to `wanted`, by at most `burst`. `active`
/// are those that count, `all` those whose names are taken.
#[allow(clippy::too_many_arguments)] // Each of them is another matter.
pub fn bring_to<T>(
    context: &Context,
    owner: &Typed<T>,
    template: &Value,
    wanted: usize,
    burst: usize,
    active: &[&Typed<Pod>],
    all: &[Typed<Pod>],
    per_node: PodsPerNode<'_>,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    if active.len() < wanted {
        let taken = all.iter().map(|pod| pod.reference.name.as_str()).collect();
        create((wanted - active.len()).min(burst), context, owner, template, &taken, outcome);
    } else if active.len() > wanted {
        let order = deletion_order(active, &per_node()?, context.now_unix_ms);
        delete(owner, &order[..(active.len() - wanted).min(burst)], outcome);
    }
    Ok(())
}

fn create<T>(
    count: usize,
    context: &Context,
    owner: &Typed<T>,
    template: &Value,
    taken: &BTreeSet<&str>,
    outcome: &mut Outcome,
) {
    let prefix = format!("{}-", owner.reference.name);
    let mut pod = pod_from_template(owner, template);
    pod["metadata"]["generateName"] = json!(prefix);
    let mut random = Random::new(context.seed);
    let mut names = BTreeSet::new();
    while names.len() < count {
        let name = random.name(&prefix);
        if !taken.contains(name.as_str()) {
            names.insert(name);
        }
    }
    for (index, name) in names.into_iter().enumerate() {
        let note = format!("Created pod: {name}");
        pod["metadata"]["name"] = Value::String(name);
        outcome.push(Create::new(POD, &owner.reference.namespace, &pod));
        if index < MOST_EVENTS {
            outcome.push(Event::normal(owner, "SuccessfulCreate", note).action("Create"));
        }
    }
}

fn delete<T>(owner: &Typed<T>, victims: &[&Typed<Pod>], outcome: &mut Outcome) {
    for (index, pod) in victims.iter().enumerate() {
        outcome.push(Delete::this(*pod));
        if index < MOST_EVENTS {
            let note = format!("Deleted pod: {}", pod.reference.name);
            outcome.push(Event::normal(owner, "SuccessfulDelete", note).action("Delete"));
        }
    }
}

/// How many active pods of these owners each node has: the crowded ones lose a
/// pod first.
pub fn pods_per_node(
    lister: &dyn Lister,
    namespace: &str,
    owners: &BTreeSet<String>,
) -> Result<BTreeMap<String, usize>, Error> {
    let mut counts = BTreeMap::new();
    for uid in owners {
        let query = crate::lister::Query::any_kind()
            .namespace(namespace)
            .owned_by(uid.as_str())
            .fields(&["metadata.deletionTimestamp", "spec.nodeName", "status.phase"]);
        for pod in lister.read_all::<Pod>(query)? {
            if pod.is_active() && !pod.spec.node_name.is_empty() {
                *counts.entry(pod.spec.node_name.clone()).or_default() += 1;
            }
        }
    }
    Ok(counts)
}
