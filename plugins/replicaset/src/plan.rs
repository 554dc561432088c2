//! The decision: a ReplicaSet and the pods around it in, actions out.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::names::Random;
use pintle_sdk::owners;
use pintle_sdk::prelude::*;
use serde_json::{Value, json};

use crate::{Config, rank, status};

/// Kubernetes' event recorder lets so many events about one object through in a
/// burst; more would say nothing new.
const MOST_EVENTS: usize = 25;

type PodsPerNode<'a> = &'a dyn Fn() -> Result<BTreeMap<String, usize>, Error>;

/// `pods` are the owned ones and those that match the selector; `per_node` is
/// asked only when pods must go.
pub fn plan(
    context: &Context,
    config: &Config,
    set: &Typed<ReplicaSet>,
    pods: &[Typed<Pod>],
    per_node: PodsPerNode<'_>,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::done();
    let claimed = claim(set, pods, &mut outcome);
    let active: Vec<&Typed<Pod>> = claimed.into_iter().filter(|pod| pod.is_active()).collect();
    let counts = status::count(context, set, &active);
    if let Some(patch) = status::patch(set, counts) {
        outcome.push(patch);
    }
    if let Some(wait) = counts.next_available_ms {
        outcome.requeue_after(wait);
    }
    if set.metadata.is_being_deleted() {
        return Ok(outcome);
    }
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    if active.len() < wanted {
        let taken = pods.iter().map(|pod| pod.reference.name.as_str()).collect();
        create(
            (wanted - active.len()).min(config.burst_replicas),
            context,
            set,
            taken,
            &mut outcome,
        );
    } else if active.len() > wanted {
        let order = rank::deletion_order(&active, &per_node()?, context.now_unix_ms);
        delete(set, &order[..(active.len() - wanted).min(config.burst_replicas)], &mut outcome);
    }
    Ok(outcome)
}

/// Adopts and releases; returns the pods that are the set's own from now on.
fn claim<'a>(
    set: &Typed<ReplicaSet>,
    pods: &'a [Typed<Pod>],
    outcome: &mut Outcome,
) -> Vec<&'a Typed<Pod>> {
    let deleting = set.metadata.is_being_deleted();
    let mut own = Vec::with_capacity(pods.len());
    for pod in pods {
        let matches = set.spec.selector.matches(&pod.metadata.labels);
        match pod.metadata.controller() {
            Some(owner) if owner.uid == set.uid => {
                if matches {
                    own.push(pod);
                } else if !deleting && !pod.metadata.is_being_deleted() {
                    outcome.push(owners::release(pod, &set.uid));
                }
            }
            Some(_) => {}
            None if matches && !deleting && pod.is_active() => {
                outcome.push(owners::adopt(pod, set));
                own.push(pod);
            }
            None => {}
        }
    }
    own
}

fn create(
    count: usize,
    context: &Context,
    set: &Typed<ReplicaSet>,
    taken: BTreeSet<&str>,
    outcome: &mut Outcome,
) {
    let prefix = format!("{}-", set.reference.name);
    let mut pod = pod_from_template(set, &prefix);
    let mut random = Random::new(context.seed);
    let mut names = BTreeSet::new();
    while names.len() < count {
        let name = random.name(&prefix);
        if !taken.contains(name.as_str()) {
            names.insert(name);
        }
    }
    for (index, name) in names.into_iter().enumerate() {
        pod["metadata"]["name"] = Value::String(name);
        outcome.push(Create::new(POD, &set.reference.namespace, &pod));
        if index < MOST_EVENTS {
            let note =
                format!("Created pod: {}", pod["metadata"]["name"].as_str().unwrap_or_default());
            outcome.push(Event::normal(set, "SuccessfulCreate", note).action("Create"));
        }
    }
}

fn pod_from_template(set: &Typed<ReplicaSet>, prefix: &str) -> Value {
    let template = &set.spec.template;
    let mut metadata = json!({
        "generateName": prefix,
        "namespace": set.reference.namespace,
        "ownerReferences": [owners::controller_reference(set)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) =
            template.pointer(&format!("/metadata/{field}")).filter(|value| !value.is_null())
        {
            metadata[field] = value.clone();
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": template.get("spec").cloned().unwrap_or_else(|| json!({})),
    })
}

fn delete(set: &Typed<ReplicaSet>, victims: &[&Typed<Pod>], outcome: &mut Outcome) {
    for (index, pod) in victims.iter().enumerate() {
        outcome.push(Delete::new(*pod).uid(&pod.uid));
        if index < MOST_EVENTS {
            let note = format!("Deleted pod: {}", pod.reference.name);
            outcome.push(Event::normal(set, "SuccessfulDelete", note).action("Delete"));
        }
    }
}
