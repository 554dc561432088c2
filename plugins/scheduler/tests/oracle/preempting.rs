//! Preemption by the book: on each node that may help all pods of lower priority
//! go, and come back one by one, those first whom a budget protects.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::*;
use crate::rules::{failure, hopeless, matches};

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// What choosing a node goes by: budgets broken, the highest priority, all
/// priorities, how many, and the start of the longest running.
type Cost = (usize, i32, i64, usize, Reverse<u8>);

fn cost(victims: &[&PodModel], broken: usize) -> Cost {
    let highest = victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
    let sum = victims.iter().map(|pod| i64::from(pod.priority) - i64::from(i32::MIN)).sum();
    let longest = victims
        .iter()
        .filter(|pod| pod.priority == highest)
        .map(|pod| pod.start)
        .min()
        .unwrap_or(0);
    (broken, highest, sum, victims.len(), Reverse(longest))
}

/// The pods among these whose leaving, in this order, breaks a budget.
fn breaking<'a>(cluster: &Cluster, pods: &[&'a PodModel]) -> BTreeSet<&'a str> {
    let mut left: Vec<i64> = cluster.budgets.iter().map(|(_, allowed)| *allowed).collect();
    let mut broken = BTreeSet::new();
    for pod in pods.iter().filter(|pod| pod.namespace == "default" && !pod.labels.is_empty()) {
        for (index, (selector, _)) in cluster.budgets.iter().enumerate() {
            if matches(selector, &pod.labels) {
                left[index] -= 1;
                if left[index] < 0 {
                    broken.insert(pod.name.as_str());
                }
            }
        }
    }
    broken
}

enum OnNode {
    NotHelpful,
    NoVictims,
    StillFails(Vec<&'static str>),
    Victims(BTreeSet<String>, Cost),
}

fn on_node(cluster: &Cluster, pod: &PodModel, node: &NodeModel) -> OnNode {
    if !failure(cluster, pod, node).is_some_and(|(_, resolvable)| resolvable) {
        return OnNode::NotHelpful;
    }
    let mut lower: Vec<&PodModel> =
        cluster.on(node.name).filter(|other| other.priority < pod.priority).collect();
    if lower.is_empty() {
        return OnNode::NoVictims;
    }
    lower.sort_by_key(|other| (Reverse(other.priority), other.start, &other.name));
    let mut gone: BTreeSet<String> = lower.iter().map(|other| other.name.clone()).collect();
    if let Some((reasons, _)) = failure(&cluster.without(&gone), pod, node) {
        return OnNode::StillFails(reasons);
    }
    let broken = breaking(cluster, &lower);
    let (first, second): (Vec<&PodModel>, Vec<&PodModel>) =
        lower.iter().partition(|other| broken.contains(other.name.as_str()));
    let mut victims = Vec::new();
    let mut violations = 0;
    for other in first.into_iter().chain(second) {
        gone.remove(&other.name);
        if failure(&cluster.without(&gone), pod, node).is_some() {
            gone.insert(other.name.clone());
            victims.push(other);
            violations += usize::from(broken.contains(other.name.as_str()));
        }
    }
    let cost = cost(&victims, violations);
    OnNode::Victims(gone, cost)
}

pub fn check_victims(cluster: &Cluster, pod: &PodModel, node: &str, victims: &[String]) {
    let chosen = || cluster.on(node).filter(|other| victims.contains(&other.name));
    assert!(!victims.is_empty() && chosen().count() == victims.len(), "no such victims");
    assert!(chosen().all(|victim| victim.priority < pod.priority), "an important victim");
    // Pods that are leaving already are no victims; they go anyway.
    if cluster.pods.values().any(|other| other.terminating) {
        let leaving = cluster.on(node).filter(|other| other.terminating);
        let gone = leaving.chain(chosen()).map(|other| other.name.clone()).collect();
        assert_eq!(failure(&cluster.without(&gone), pod, &cluster.nodes[node]), None);
        return;
    }
    let mut best = None;
    let mut found = None;
    for candidate in cluster.nodes.values() {
        if let OnNode::Victims(names, cost) = on_node(cluster, pod, candidate) {
            best = best.into_iter().chain([cost]).min();
            if candidate.name == node {
                found = Some((names, cost));
            }
        }
    }
    let (names, cost) = found.expect("the chosen node is a candidate");
    let victims: BTreeSet<String> = victims.iter().cloned().collect();
    assert_eq!(victims, names, "other victims on {node}");
    assert_eq!(Some(cost), best, "{node} costs more than another node");
}

/// The text behind `preemption:` of a pod that nothing helps.
pub fn check_refusal(cluster: &Cluster, pod: &PodModel, text: &str) {
    // Pods that are leaving already change what is tried.
    let leaving = cluster.pods.values().any(|other| other.terminating);
    if cluster.nodes.is_empty() || leaving {
        return;
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in cluster.nodes.values() {
        let result = match hopeless(cluster, pod) {
            Some(_) => OnNode::NotHelpful,
            None => on_node(cluster, pod, node),
        };
        match result {
            OnNode::NotHelpful => *counts.entry(NOT_HELPFUL).or_default() += 1,
            OnNode::NoVictims => *counts.entry(NO_VICTIMS).or_default() += 1,
            OnNode::StillFails(reasons) => {
                reasons.into_iter().for_each(|reason| *counts.entry(reason).or_default() += 1);
            }
            OnNode::Victims(victims, _) => panic!("{victims:?} on {} would help", node.name),
        }
    }
    let mut texts: Vec<String> =
        counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort();
    let nodes = cluster.nodes.len();
    assert_eq!(text, format!("0/{nodes} nodes are available: {}.", texts.join(", ")));
}
