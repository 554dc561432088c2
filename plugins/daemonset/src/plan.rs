//! The decision: a DaemonSet, its pods and the nodes in, actions out.

use std::collections::BTreeSet;

use pintle_sdk::names::Random;
use pintle_sdk::prelude::*;
use pintle_sdk::revisions::{HASH_LABEL, History};
use pintle_sdk::workload::{self, Availability};

use crate::Config;
use crate::nodes::{Fit, Judge};
use crate::pods::{self, ByNode, is_of, new_pod};
use crate::rolling::{self, Bounds, OnNode, Seen};
use crate::status::{self, Counts};

/// A pod that fails at once is made again after a while, not at once: after a
/// second, then two, four and so on, as far as its age tells.
const FIRST_RETRY_MS: i64 = 1000;
const LAST_RETRY_MS: i64 = 15 * 60 * 1000;

/// `pods` are the owned ones and those that match the selector.
pub fn plan(
    context: &Context,
    config: &Config,
    lister: &dyn Lister,
    set: &Typed<DaemonSet>,
    pods: Vec<Typed<Pod>>,
    nodes: &[Typed<Node>],
    outcome: Outcome,
) -> Result<Outcome, Error> {
    let mut outcome = outcome;
    let going = set.metadata.is_being_deleted();
    let pods = workload::claim(set, &set.spec.selector, going, pods, |_| true, &mut outcome);
    if going {
        return Ok(outcome);
    }
    let collisions = set.status.collision_count;
    let history = History::update(lister, set, &set.spec.template, collisions, &mut outcome)?;
    let revision = history.newest();
    let judge = Judge::new(&set.spec.template);
    let fits: Vec<(&str, Fit)> =
        nodes.iter().map(|node| (node.reference.name.as_str(), judge.fit(node))).collect();
    let by_node = pods::by_node(lister, &pods);
    let mut work = Work {
        context,
        set,
        revision: &revision.name,
        create: Vec::new(),
        delete: Vec::new(),
        outcome,
    };
    for (node, fit) in &fits {
        work.look_at(node, *fit, by_node.get(*node).map_or(&[], Vec::as_slice));
    }
    work.drop_lost(&by_node, &fits);
    work.update(&fits, &by_node);
    let Work { mut outcome, create, delete, .. } = work;
    // Before what may be refused: the status is true all the same.
    if let Some(patch) = status::patch(set, count(context, set, &fits, &by_node, &revision.name)) {
        outcome.push(patch);
    }
    let mut random = Random::new(context.seed);
    for node in create.into_iter().take(config.burst_replicas) {
        let pod = new_pod(set, revision, node, &mut random);
        outcome.push(Create::new(POD, &set.reference.namespace, &pod));
        let note = format!("Created pod: {}", pod["metadata"]["name"].as_str().unwrap_or_default());
        outcome.push(Event::normal(set, "SuccessfulCreate", note).action("Create"));
    }
    for pod in delete.into_iter().take(config.burst_replicas) {
        outcome.push(Delete::this(pod));
        let note = format!("Deleted pod: {}", pod.reference.name);
        outcome.push(Event::normal(set, "SuccessfulDelete", note).action("Delete"));
    }
    for pod in &pods {
        if let Availability::ReadyFor(wait) =
            Availability::of(context, pod, set.spec.min_ready_seconds)
        {
            outcome.requeue_after(wait);
        }
    }
    let in_use: BTreeSet<&str> = pods
        .iter()
        .filter_map(|pod| pod.metadata.labels.get(HASH_LABEL).map(String::as_str))
        .collect();
    let limit = set.spec.revision_history_limit.unwrap_or(10);
    history.truncate(set, limit, |name| in_use.contains(name), &mut outcome);
    Ok(outcome)
}

struct Work<'a> {
    context: &'a Context,
    set: &'a Typed<DaemonSet>,
    revision: &'a str,
    /// Nodes that get a pod.
    create: Vec<&'a str>,
    delete: Vec<&'a Typed<Pod>>,
    outcome: Outcome,
}

impl<'a> Work<'a> {
    /// One node: a missing pod, finished ones, and ones that are too many.
    fn look_at(&mut self, node: &'a str, fit: Fit, pods: &[&'a Typed<Pod>]) {
        if !fit.may_stay {
            let there = pods.iter().filter(|pod| !pod.metadata.is_being_deleted());
            return self.delete.extend(there);
        }
        let mut alive: Vec<&'a Typed<Pod>> = Vec::new();
        for pod in pods {
            if pod.metadata.is_being_deleted() {
                // Counts until it is gone, or there would be two of them.
                alive.push(pod);
            } else if pod.is_finished() {
                self.replace_finished(node, pod);
                return;
            } else {
                alive.push(pod);
            }
        }
        match alive.as_slice() {
            [] if fit.wanted => self.create.push(node),
            [] => {}
            // A pod that stays although a new one would not be made is left alone.
            pods => self.drop_surplus(pods),
        }
    }

    /// One of each template may be there, the older of two goes last.
    fn drop_surplus(&mut self, pods: &[&'a Typed<Pod>]) {
        for of_present in [true, false] {
            let mut same = pods
                .iter()
                .filter(|pod| is_of(pod, self.revision) == of_present)
                .filter(|pod| !pod.metadata.is_being_deleted());
            same.next();
            self.delete.extend(same);
        }
    }

    fn replace_finished(&mut self, node: &str, pod: &'a Typed<Pod>) {
        let age = self.context.since(pod.metadata.creation_timestamp.as_deref()).unwrap_or(0);
        // A pod that ran for long was no quick failure.
        let wait = (FIRST_RETRY_MS - age).clamp(0, LAST_RETRY_MS);
        if wait > 0 {
            return self.outcome.requeue_after(wait.unsigned_abs());
        }
        let (reason, how) = match pod.status.phase.as_str() {
            "Failed" => ("FailedDaemonPod", "failed"),
            _ => ("SucceededDaemonPod", "succeeded"),
        };
        let Typed { reference, .. } = pod;
        let what = if how == "failed" { "try to kill it" } else { "try to delete it" };
        let note = format!(
            "Found {how} daemon pod {}/{} on node {node}, will {what}",
            reference.namespace, reference.name
        );
        let event = if how == "failed" {
            Event::warning(self.set, reason, note)
        } else {
            Event::normal(self.set, reason, note)
        };
        self.outcome.push(event.action("Delete"));
        self.delete.push(pod);
    }

    /// Pods made for nodes that are gone would wait for ever.
    fn drop_lost(&mut self, by_node: &ByNode<'a>, fits: &[(&'a str, Fit)]) {
        let known: BTreeSet<&str> = fits.iter().map(|(node, _)| *node).collect();
        let lost = by_node.iter().filter(|(node, _)| !known.contains(node.as_str()));
        for pod in lost.flat_map(|(_, pods)| pods) {
            if pod.spec.node_name.is_empty() && !pod.metadata.is_being_deleted() {
                self.delete.push(pod);
            }
        }
    }

    fn update(&mut self, fits: &[(&'a str, Fit)], by_node: &ByNode<'a>) {
        let wanted = fits.iter().filter(|(_, fit)| fit.wanted).count() as i64;
        let Some(bounds) = Bounds::of(self.set, wanted) else { return };
        let nodes: Vec<(&'a str, OnNode<'a>)> = fits
            .iter()
            .filter(|(_, fit)| fit.wanted)
            .map(|(node, _)| {
                let pods = by_node.get(*node).map_or(&[][..], Vec::as_slice);
                (*node, self.on_node(pods))
            })
            .collect();
        let update = rolling::update(&nodes, bounds);
        let gone: BTreeSet<&str> = self.delete.iter().map(|pod| pod.uid.as_str()).collect();
        let more: Vec<_> =
            update.delete.into_iter().filter(|pod| !gone.contains(pod.uid.as_str())).collect();
        self.delete.extend(more);
        self.create.extend(update.surge);
    }

    fn on_node(&self, pods: &[&'a Typed<Pod>]) -> OnNode<'a> {
        let seen = |pod: &&'a Typed<Pod>| Seen {
            pod,
            available: Availability::of(self.context, pod, self.set.spec.min_ready_seconds)
                == Availability::Available,
            going: pod.metadata.is_being_deleted(),
        };
        OnNode {
            new: pods.iter().find(|pod| is_of(pod, self.revision)).map(seen),
            old: pods.iter().find(|pod| !is_of(pod, self.revision)).map(seen),
        }
    }
}

fn count(
    context: &Context,
    set: &DaemonSet,
    fits: &[(&str, Fit)],
    by_node: &ByNode<'_>,
    revision: &str,
) -> Counts {
    let mut counts = Counts::default();
    for (node, fit) in fits {
        let pods = by_node.get(*node).map_or(&[][..], Vec::as_slice);
        if !fit.wanted {
            counts.misscheduled += i64::from(!pods.is_empty());
            continue;
        }
        counts.desired += 1;
        // The oldest that has its node stands for the node: one that comes beside it
        // counts when it has taken over.
        let Some(pod) = pods.iter().min_by_key(|pod| pod.spec.node_name.is_empty()) else {
            continue;
        };
        let availability = Availability::of(context, pod, set.spec.min_ready_seconds);
        counts.current += 1;
        counts.ready += i64::from(availability.is_ready());
        counts.available += i64::from(availability == Availability::Available);
        counts.updated += i64::from(is_of(pod, revision));
    }
    counts
}
