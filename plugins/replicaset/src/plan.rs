//! The decision: a ReplicaSet and the pods around it in, actions out.

use pintle_sdk::prelude::*;
use pintle_sdk::replicas::{self, PodsPerNode};
use pintle_sdk::workload;

use crate::{Config, status};

/// `pods` are the owned ones and those that match the selector; `refusal` is what
/// the last try met; `per_node` is asked only when pods must go.
pub fn plan(
    context: &Context,
    config: &Config,
    set: &Typed<ReplicaSet>,
    pods: Vec<Typed<Pod>>,
    refusal: Option<String>,
    per_node: PodsPerNode<'_>,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::done();
    let going = set.metadata.is_being_deleted();
    let own = workload::claim(set, &set.spec.selector, going, pods, Pod::is_active, &mut outcome);
    let active: Vec<&Typed<Pod>> = own.iter().filter(|pod| pod.is_active()).collect();
    let counts = status::count(context, set, &own, &active);
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    let failure = replicas::failure(active.len(), wanted, refusal).filter(|_| !going);
    if let Some(failure) = &failure {
        outcome.push(failure.event(set));
    }
    if let Some(patch) = status::patch(context, set, counts, failure.as_ref()) {
        outcome.push(patch);
    }
    if let Some(wait) = counts.next_available_ms {
        outcome.requeue_after(wait);
    }
    if going {
        return Ok(outcome);
    }
    let template = &set.spec.template;
    replicas::bring_to(
        context,
        set,
        template,
        wanted,
        config.burst_replicas,
        &active,
        &own,
        per_node,
        &mut outcome,
    )?;
    Ok(outcome)
}
