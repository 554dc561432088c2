//! The documented score of every node that fits, in real numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::*;
use crate::rules::*;

/// The default weights.
const TAINTS: f64 = 3.0;
const AFFINITY: f64 = 2.0;
const COMPANY: f64 = 2.0;
const SPREAD: f64 = 2.0;

type Scores = BTreeMap<&'static str, f64>;

fn range(raw: &Scores) -> (f64, f64) {
    raw.values()
        .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)))
}

fn scaled(raw: Scores, scale: impl Fn(f64, f64, f64) -> f64) -> Scores {
    let (low, high) = range(&raw);
    raw.into_iter().map(|(name, value)| (name, scale(value, low, high))).collect()
}

/// 100 for an empty node, and for evenly used ones.
fn usage(cluster: &Cluster, pod: &PodModel, node: &NodeModel) -> f64 {
    let sum = |of: fn(&PodModel) -> (i64, i64)| {
        cluster.on(node.name).map(of).chain([of(pod)]).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    let shares = |(cpu, memory): (i64, i64)| {
        let share = |used: i64, of: i64| (used as f64 / of as f64).min(1.0);
        (share(cpu, node.milli_cpu), share(memory, node.mebibytes))
    };
    let (cpu, memory) = shares(sum(scored_requests));
    let least = 100.0 * ((1.0 - cpu) + (1.0 - memory)) / 2.0;
    let (cpu, memory) = shares(sum(requests));
    let balance = match requests(pod) {
        (0, 0) => 0.0,
        _ => 100.0 * (1.0 - (cpu - memory).abs() / 2.0),
    };
    least + balance
}

fn images(cluster: &Cluster, pod: &PodModel, node: &NodeModel) -> f64 {
    let has = |node: &NodeModel| {
        node.images.iter().find(|(name, _)| *name == pod.image).map(|(_, size)| *size)
    };
    let Some(size) = has(node) else { return 0.0 };
    let with = cluster.nodes.values().filter(|node| has(node).is_some()).count();
    let share = with as f64 / cluster.nodes.len() as f64;
    let each = ((size << 20) as f64 * share).floor();
    let containers = pod.containers.len() as f64;
    let (least, most) = (f64::from(23 << 20), f64::from(1000 << 20) * containers);
    100.0 * ((each * containers).clamp(least, most) - least) / (most - least)
}

/// Constraints that are a wish, or the built-in ones for a set's pods.
fn spread(cluster: &Cluster, pod: &PodModel, fits: &[&NodeModel]) -> Scores {
    let own: Vec<Spread> = pod.spread.iter().filter(|spread| !spread.hard).cloned().collect();
    let default = pod.spread.is_empty();
    let built_in = |skew, topology| Spread {
        skew,
        topology,
        hard: false,
        selector: Vec::new(),
        min_domains: None,
        honor_affinity: true,
        honor_taints: false,
        same: Vec::new(),
    };
    let constraints = match (default, pod.owner) {
        (true, Some(_)) => vec![built_in(3, HOST), built_in(5, ZONE)],
        (true, None) => return Scores::new(),
        (false, _) => own,
    };
    if constraints.is_empty() {
        return Scores::new();
    }
    let keys: Vec<&str> = constraints.iter().map(|constraint| constraint.topology).collect();
    let labelled = |node: &NodeModel| keys.iter().all(|key| node.labels.contains_key(key));
    let scored: Vec<&&NodeModel> = fits.iter().filter(|node| default || labelled(node)).collect();
    let required = if default { &[][..] } else { &keys[..] };
    let mut raw = Scores::new();
    for node in &scored {
        let mut sum = 0.0;
        for constraint in &constraints {
            let Some(here) = node.labels.get(constraint.topology) else { continue };
            let counts = match default {
                true => sibling_counts(cluster, pod, constraint.topology),
                false => spread_counts(cluster, pod, constraint, required),
            };
            let size = match constraint.topology == HOST {
                true => scored.len(),
                false => {
                    let values = scored.iter().map(|node| node.labels.get(constraint.topology));
                    values.collect::<BTreeSet<_>>().len()
                }
            };
            let count = counts.get(here).copied().unwrap_or(0) as f64;
            sum += count * ((size + 2) as f64).ln() + (constraint.skew - 1) as f64;
        }
        raw.insert(node.name, sum.round());
    }
    scaled(raw, |value, low, high| match high > 0.0 {
        true => 100.0 * (high + low - value) / high,
        false => 100.0,
    })
}

/// Only nodes count that the pod itself could choose.
fn sibling_counts(cluster: &Cluster, pod: &PodModel, key: &str) -> BTreeMap<&'static str, i64> {
    let mut counts = BTreeMap::new();
    for node in cluster.nodes.values().filter(|node| wants_node(pod, node)) {
        let Some(domain) = node.labels.get(key) else { continue };
        let siblings = cluster.on(node.name).filter(|other| !other.terminating);
        *counts.entry(*domain).or_insert(0) +=
            siblings.filter(|other| other.owner == pod.owner).count() as i64;
    }
    counts
}

pub fn scores(cluster: &Cluster, pod: &PodModel, fits: &[&NodeModel]) -> Scores {
    let each = |score: &dyn Fn(&NodeModel) -> f64| -> Scores {
        fits.iter().map(|node| (node.name, score(node))).collect()
    };
    let usage = each(&|node| usage(cluster, pod, node) + images(cluster, pod, node));
    let taints = scaled(each(&|node| unwelcome(pod, node) as f64), |value, _, high| {
        if high > 0.0 { 100.0 * (1.0 - value / high) } else { 100.0 }
    });
    let affinity = scaled(each(&|node| preference(pod, node) as f64), |value, _, high| {
        if high > 0.0 { 100.0 * value / high } else { 0.0 }
    });
    let company = scaled(each(&|node| company(cluster, pod, node) as f64), |value, low, high| {
        if high > low { 100.0 * (value - low) / (high - low) } else { 0.0 }
    });
    let spread = spread(cluster, pod, fits);
    let total = |name: &&'static str| {
        let of = |scores: &Scores| scores.get(name).copied().unwrap_or(0.0);
        of(&usage)
            + TAINTS * of(&taints)
            + AFFINITY * of(&affinity)
            + COMPANY * of(&company)
            + SPREAD * of(&spread)
    };
    fits.iter().map(|node| (node.name, total(&node.name))).collect()
}
