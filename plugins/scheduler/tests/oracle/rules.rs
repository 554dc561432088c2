//! Every rule, slowly, from the documentation: each question walks over all pods
//! and nodes again. Knows nothing of how the plugin goes about it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::*;

pub fn matches(selector: &Selector, labels: &BTreeMap<&str, &str>) -> bool {
    selector.iter().all(|e| {
        let value = labels.get(e.key).copied();
        let listed = value.is_some_and(|value| e.values.contains(&value));
        let compared = |test: fn(i64, i64) -> bool| {
            let value = value.and_then(|value| value.parse().ok());
            let bound = e.values.first().and_then(|bound| bound.parse().ok());
            value.zip(bound).is_some_and(|(value, bound)| test(value, bound))
        };
        match e.operator {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => compared(|value, bound| value > bound),
            "Lt" => compared(|value, bound| value < bound),
            other => panic!("{other}"),
        }
    })
}

fn with_name(node: &NodeModel) -> BTreeMap<&'static str, &'static str> {
    let mut labels = node.labels.clone();
    labels.insert("metadata.name", node.name);
    labels
}

pub fn wants_node(pod: &PodModel, node: &NodeModel) -> bool {
    let selected =
        pod.node_selector.is_none_or(|(key, value)| node.labels.get(key) == Some(&value));
    let labels = with_name(node);
    let affine = pod
        .node_affinity
        .as_ref()
        .is_none_or(|terms| terms.iter().any(|term| !term.is_empty() && matches(term, &labels)));
    selected && affine
}

/// Every alternative names its nodes, and none of them this one.
fn others_are_named(pod: &PodModel, node: &NodeModel) -> bool {
    let by_name = |e: &&Expression| e.key == "metadata.name" && e.operator == "In";
    let names_other = |term: &Selector| {
        term.iter().any(|e| by_name(&e)) && {
            let mut names = term.iter().filter(by_name);
            !names.all(|e| e.values.contains(&node.name))
        }
    };
    let terms = pod.node_affinity.as_deref().unwrap_or_default();
    !terms.is_empty() && terms.iter().all(names_other)
}

pub fn preference(pod: &PodModel, node: &NodeModel) -> i64 {
    let labels = with_name(node);
    let met =
        pod.node_preferences.iter().filter(|(_, term)| !term.is_empty() && matches(term, &labels));
    met.map(|(weight, _)| i64::from(*weight)).sum()
}

fn tolerates(pod: &PodModel, taint: (&str, &str)) -> bool {
    pod.tolerations.iter().any(|(key, effect)| {
        (key.is_empty() || *key == taint.0) && (effect.is_empty() || *effect == taint.1)
    })
}

pub fn tolerates_hard(pod: &PodModel, node: &NodeModel) -> bool {
    node.taints
        .iter()
        .filter(|(_, effect)| *effect != "PreferNoSchedule")
        .all(|taint| tolerates(pod, *taint))
}

pub fn unwelcome(pod: &PodModel, node: &NodeModel) -> i64 {
    let soft = node.taints.iter().filter(|(_, effect)| *effect == "PreferNoSchedule");
    soft.filter(|taint| !tolerates(pod, **taint)).count() as i64
}

/// Cpu in thousandths, memory in mebibytes.
pub fn requests(pod: &PodModel) -> (i64, i64) {
    let sum = pod.containers.iter().flatten();
    let (cpu, memory) = sum.fold((0, 0), |(a, b), (cpu, memory)| (a + cpu, b + memory));
    (cpu + pod.overhead_milli_cpu, memory)
}

/// The same with a default for containers that request nothing.
pub fn scored_requests(pod: &PodModel) -> (i64, i64) {
    let all = pod.containers.iter().map(|requests| requests.unwrap_or((100, 200)));
    let (cpu, memory) = all.fold((0, 0), |(a, b), (cpu, memory)| (a + cpu, b + memory));
    (cpu + pod.overhead_milli_cpu, memory)
}

fn selects(term: &Term, owner: &PodModel, other: &PodModel, cluster: &Cluster) -> bool {
    let in_scope = match &term.namespace_selector {
        None if term.namespaces.is_empty() => other.namespace == owner.namespace,
        None => term.namespaces.contains(&other.namespace),
        Some(selector) => {
            let labels = cluster.namespaces.get(other.namespace).cloned().unwrap_or_default();
            term.namespaces.contains(&other.namespace) || matches(selector, &labels)
        }
    };
    let Some(selector) = &term.selector else { return false };
    let same = |key: &&str| owner.labels.get(key).is_none_or(|v| other.labels.get(key) == Some(v));
    let differs =
        |key: &&str| owner.labels.get(key).is_none_or(|value| other.labels.get(key) != Some(value));
    in_scope
        && matches(selector, &other.labels)
        && term.same.iter().all(same)
        && term.other.iter().all(differs)
}

fn domain(cluster: &Cluster, node: Option<&str>, key: &str) -> Option<&'static str> {
    cluster.nodes.get(node?)?.labels.get(key).copied()
}

/// Pods of running rules in the domain of a node, as weights.
fn near(cluster: &Cluster, node: &NodeModel, other: &PodModel, key: &str) -> bool {
    let here = node.labels.get(key).copied();
    here.is_some() && domain(cluster, other.node, key) == here
}

fn ports_clash(a: (&str, u16), b: (&str, u16)) -> bool {
    a.1 == b.1 && (a.0 == b.0 || a.0 == "0.0.0.0" || b.0 == "0.0.0.0")
}

/// Something about the pod that no node can help with.
pub fn hopeless(cluster: &Cluster, pod: &PodModel) -> Option<String> {
    for claim in &pod.claims {
        if !cluster.claims.contains_key(claim) {
            return Some(format!("persistentvolumeclaim \"{claim}\" not found"));
        }
    }
    let immediate = |claim: &&str| matches!(cluster.claims[claim], ClaimModel::Immediate);
    pod.claims
        .iter()
        .any(immediate)
        .then(|| "pod has unbound immediate PersistentVolumeClaims".to_owned())
}

fn handle(cluster: &Cluster, claim: &'static str) -> Option<String> {
    match &cluster.claims[claim] {
        ClaimModel::Bound { handle, .. } => Some((*handle).to_owned()),
        ClaimModel::Waiting { .. } => Some(format!("of {claim}")),
        ClaimModel::Immediate | ClaimModel::VolumeGone => None,
    }
}

fn claims_failure(cluster: &Cluster, pod: &PodModel, node: &NodeModel) -> Option<&'static str> {
    let claims = || pod.claims.iter().map(|claim| (*claim, &cluster.claims[claim]));
    for (name, claim) in claims() {
        let alone = matches!(claim, ClaimModel::Bound { alone: true, .. });
        let used = cluster.pods.values().any(|other| {
            other.node.is_some() && other.namespace == pod.namespace && other.claims.contains(&name)
        });
        if alone && used {
            return Some(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            );
        }
    }
    if let Some(limit) = node.volume_limit {
        let present: BTreeSet<String> = cluster
            .on(node.name)
            .flat_map(|other| &other.claims)
            .filter(|claim| cluster.claims.contains_key(**claim))
            .filter_map(|claim| handle(cluster, claim))
            .collect();
        let own = pod.claims.iter().filter_map(|claim| handle(cluster, claim));
        let all: BTreeSet<String> = present.iter().cloned().chain(own).collect();
        if all.len() > present.len() && all.len() > limit {
            return Some("node(s) exceed max volume count");
        }
    }
    if claims().any(|(_, claim)| matches!(claim, ClaimModel::VolumeGone)) {
        return Some("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
    }
    let zone = node.labels.get(ZONE).copied();
    for (_, claim) in claims() {
        if let ClaimModel::Bound { zone: Some(wanted), .. } = claim
            && zone != Some(*wanted)
        {
            return Some("node(s) didn't match PersistentVolume's node affinity");
        }
    }
    for (name, claim) in claims() {
        let ClaimModel::Waiting { zones } = claim else { continue };
        let user = cluster.pods.values().find(|other| {
            other.node.is_some() && other.namespace == pod.namespace && other.claims.contains(&name)
        });
        // Its volume will be made where the first pod is that uses it.
        let here = user.is_none_or(|user| user.node == Some(node.name));
        if !here || !(zones.is_empty() || zone.is_some_and(|zone| zones.contains(&zone))) {
            return Some("node(s) didn't find available persistent volumes to bind");
        }
    }
    None
}

/// Does a node count for a spread constraint of the pod?
fn counts(pod: &PodModel, node: &NodeModel, spread: &Spread, keys: &[&str]) -> bool {
    keys.iter().all(|key| node.labels.contains_key(key))
        && (!spread.honor_affinity || wants_node(pod, node))
        && (!spread.honor_taints || tolerates_hard(pod, node))
}

fn is_meant(spread: &Spread, pod: &PodModel, other: &PodModel) -> bool {
    let same = |key: &&str| pod.labels.get(key).is_none_or(|v| other.labels.get(key) == Some(v));
    other.namespace == pod.namespace
        && matches(&spread.selector, &other.labels)
        && spread.same.iter().all(same)
}

pub fn spread_counts(
    cluster: &Cluster,
    pod: &PodModel,
    spread: &Spread,
    keys: &[&str],
) -> BTreeMap<&'static str, i64> {
    let mut found = BTreeMap::new();
    for node in cluster.nodes.values().filter(|node| counts(pod, node, spread, keys)) {
        let Some(domain) = node.labels.get(spread.topology) else { continue };
        let pods = cluster.on(node.name).filter(|other| !other.terminating);
        *found.entry(*domain).or_insert(0) +=
            pods.filter(|other| is_meant(spread, pod, other)).count() as i64;
    }
    found
}

fn spread_failure(cluster: &Cluster, pod: &PodModel, node: &NodeModel) -> Option<&'static str> {
    let hard: Vec<&Spread> = pod.spread.iter().filter(|spread| spread.hard).collect();
    let keys: Vec<&str> = hard.iter().map(|spread| spread.topology).collect();
    for spread in hard {
        let Some(here) = node.labels.get(spread.topology) else {
            return Some(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            );
        };
        let counts = spread_counts(cluster, pod, spread, &keys);
        let few = (counts.len() as i64) < spread.min_domains.unwrap_or(1);
        let least = if few { 0 } else { counts.values().min().copied().unwrap_or(0) };
        let own = i64::from(is_meant(spread, pod, pod));
        if counts.get(here).copied().unwrap_or(0) + own - least > spread.skew {
            return Some("node(s) didn't match pod topology spread constraints");
        }
    }
    None
}

fn company_failure(cluster: &Cluster, pod: &PodModel, node: &NodeModel) -> Option<&'static str> {
    let running = || cluster.pods.values().filter(|other| other.node.is_some());
    if !pod.near.is_empty() {
        let meant =
            |other: &PodModel| pod.near.iter().all(|term| selects(term, pod, other, cluster));
        let anywhere = running().any(|other| {
            let placed = |term: &Term| domain(cluster, other.node, term.topology).is_some();
            meant(other) && pod.near.iter().any(placed)
        });
        let labelled = pod.near.iter().all(|term| node.labels.contains_key(term.topology));
        let here = |term: &Term| {
            running().any(|other| meant(other) && near(cluster, node, other, term.topology))
        };
        let first = !anywhere && meant(pod);
        if !labelled || !(first || pod.near.iter().all(here)) {
            return Some("node(s) didn't match pod affinity rules");
        }
    }
    let disliked = |term: &Term| {
        running().any(|other| {
            selects(term, pod, other, cluster) && near(cluster, node, other, term.topology)
        })
    };
    if pod.away.iter().any(disliked) {
        return Some("node(s) didn't match pod anti-affinity rules");
    }
    let dislikes = |other: &PodModel| {
        other.away.iter().any(|term| {
            selects(term, other, pod, cluster) && near(cluster, node, other, term.topology)
        })
    };
    running().any(dislikes).then_some("node(s) didn't satisfy existing pods anti-affinity rules")
}

/// Preferred affinity, the pod's own and that of running pods.
pub fn company(cluster: &Cluster, pod: &PodModel, node: &NodeModel) -> i64 {
    let mut sum = 0;
    for other in cluster.pods.values() {
        for (weight, term) in &pod.prefer {
            if selects(term, pod, other, cluster) && near(cluster, node, other, term.topology) {
                sum += i64::from(*weight);
            }
        }
        let required = other.near.iter().map(|term| (1, term));
        let preferred = other.prefer.iter().map(|(weight, term)| (i64::from(*weight), term));
        for (weight, term) in required.chain(preferred) {
            if selects(term, other, pod, cluster) && near(cluster, node, other, term.topology) {
                sum += weight;
            }
        }
    }
    sum
}

fn room_failure(cluster: &Cluster, pod: &PodModel, node: &NodeModel) -> Vec<(&'static str, bool)> {
    let mut failures = Vec::new();
    let on: Vec<&PodModel> = cluster.on(node.name).collect();
    if on.len() as i64 + 1 > node.pods {
        failures.push(("Too many pods", node.pods >= 1));
    }
    let used = on.iter().map(|other| requests(other)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let (cpu, memory) = requests(pod);
    if cpu > 0 && used.0 + cpu > node.milli_cpu {
        failures.push(("Insufficient cpu", cpu <= node.milli_cpu));
    }
    if memory > 0 && used.1 + memory > node.mebibytes {
        failures.push(("Insufficient memory", memory <= node.mebibytes));
    }
    let gpus: i64 = on.iter().map(|other| other.gpus).sum();
    if pod.gpus > 0 && gpus + pod.gpus > node.gpus {
        failures.push(("Insufficient example.com/gpu", pod.gpus <= node.gpus));
    }
    failures
}

/// Why the pod may not run on a node, and whether the departure of pods could
/// help: the reasons of the first rule that fails.
pub fn failure(
    cluster: &Cluster,
    pod: &PodModel,
    node: &NodeModel,
) -> Option<(Vec<&'static str>, bool)> {
    let never = |reason| Some((vec![reason], false));
    let perhaps = |reason| Some((vec![reason], true));
    if others_are_named(pod, node) {
        return never("node(s) didn't satisfy plugin(s) [NodeAffinity]");
    }
    let cordoned = ("node.kubernetes.io/unschedulable", "NoSchedule");
    if node.unschedulable && !tolerates(pod, cordoned) {
        return never("node(s) were unschedulable");
    }
    if !tolerates_hard(pod, node) {
        return never("node(s) had untolerated taint(s)");
    }
    if !wants_node(pod, node) {
        return never("node(s) didn't match Pod's node affinity/selector");
    }
    let clashes = |other: &PodModel| {
        pod.port.zip(other.port).is_some_and(|(own, other)| ports_clash(own, other))
    };
    if cluster.on(node.name).any(clashes) {
        return perhaps("node(s) didn't have free ports for the requested pod ports");
    }
    let room = room_failure(cluster, pod, node);
    if !room.is_empty() {
        let resolvable = room.iter().all(|(_, resolvable)| *resolvable);
        return Some((room.into_iter().map(|(reason, _)| reason).collect(), resolvable));
    }
    if let Some(reason) = claims_failure(cluster, pod, node) {
        return match reason.starts_with("node has") || reason.contains("max volume") {
            true => perhaps(reason),
            false => never(reason),
        };
    }
    if let Some(reason) = spread_failure(cluster, pod, node) {
        return if reason.ends_with("label)") { never(reason) } else { perhaps(reason) };
    }
    match company_failure(cluster, pod, node) {
        Some(reason) if reason.contains("pod affinity") => never(reason),
        Some(reason) => perhaps(reason),
        None => None,
    }
}

/// The message of a pod that fits nowhere, without what preemption adds.
pub fn message(cluster: &Cluster, pod: &PodModel) -> String {
    let nodes = cluster.nodes.len();
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    if let Some(reason) = hopeless(cluster, pod) {
        return format!("0/{nodes} nodes are available: {reason}.");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in cluster.nodes.values() {
        for reason in failure(cluster, pod, node).map(|(reasons, _)| reasons).into_iter().flatten()
        {
            *counts.entry(reason).or_default() += 1;
        }
    }
    let mut texts: Vec<String> =
        counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort();
    format!("0/{nodes} nodes are available: {}.", texts.join(", "))
}

pub fn feasible<'a>(cluster: &'a Cluster, pod: &PodModel) -> Vec<&'a NodeModel> {
    if hopeless(cluster, pod).is_some() {
        return Vec::new();
    }
    cluster.nodes.values().filter(|node| failure(cluster, pod, node).is_none()).collect()
}
