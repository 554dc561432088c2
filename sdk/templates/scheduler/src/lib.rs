//! A scheduler: puts pods on the emptiest node that has room.
//!
//! It keeps a resident view of nodes and of the pods on them, fed by deltas, and
//! decides for one pod after the other: first [`refusal`], then [`room_left`].
//!
//! Config (all optional): `schedulerName` (`{{name}}`), whose pods it takes.

use std::collections::BTreeMap;

use pintle_sdk::prelude::{EVENT, NODE, Node, POD, Pod, Quantity, ResourceList, Taint, log};
use pintle_sdk::scheduler::{Decision, Delta, Description, Scheduler, Wake};
use pintle_sdk::{Context, Error, Extensions, Object};

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// `spec.schedulerName` of the pods that it takes.
    pub scheduler_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Config { scheduler_name: "{{name}}".to_owned() }
    }
}

/// A node and what is promised on it.
#[derive(Debug)]
struct Place {
    node: Node,
    used: ResourceList,
    pods: i64,
}

pub struct Plugin {
    config: Config,
    nodes: BTreeMap<String, Place>,
    /// Bound pods by uid, those included that were just decided: node and requests.
    pods: BTreeMap<String, (String, ResourceList)>,
}

impl Scheduler for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Plugin { config, nodes: BTreeMap::new(), pods: BTreeMap::new() })
    }

    fn describe(&self) -> Description {
        let manifest = pintle_sdk::manifest!()
            .needs(NODE, &["get", "list", "watch"], "knows what has room")
            .needs(POD, &["get", "list", "watch", "bind", "patch/status"], "binds pods to nodes")
            .needs(EVENT, &["create"], "says why a pod waits");
        Description {
            manifest,
            scheduler_names: vec![self.config.scheduler_name.clone()],
            watches: Vec::new(),
        }
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            let result = match &delta {
                Delta::Upsert(object) if object.reference.kind == NODE => self.node(object),
                Delta::Upsert(object) => self.pod(object),
                Delta::Remove(object) if object.reference.kind == NODE => {
                    self.nodes.remove(&object.reference.name);
                    Ok(())
                }
                Delta::Remove(object) => {
                    self.release(&object.uid);
                    Ok(())
                }
            };
            if let Err(error) = result {
                log::warn!("{error}");
            }
        }
    }

    fn schedule(&mut self, _: &Context, _: &dyn Extensions, pods: Vec<Object>) -> Vec<Decision> {
        pods.into_iter().map(|pod| self.decide(&pod)).collect()
    }

    fn forget(&mut self, pod_uids: Vec<String>) {
        pod_uids.iter().for_each(|uid| self.release(uid));
    }
}

impl Plugin {
    fn decide(&mut self, object: &Object) -> Decision {
        let pod: Pod = match object.parse() {
            Ok(pod) => pod,
            Err(error) => return Decision::Ignore(error.to_string()),
        };
        let requests = requests(&pod);
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut best: Option<(i64, &str)> = None;
        for (name, place) in &self.nodes {
            match refusal(&pod, &requests, place) {
                Some(reason) => *reasons.entry(reason).or_default() += 1,
                None => {
                    let score = room_left(&requests, place);
                    // The first of equals, by name, so that a replay decides alike.
                    if best.is_none_or(|(known, _)| score > known) {
                        best = Some((score, name));
                    }
                }
            }
        }
        let Some((_, node)) = best else {
            let reasons: Vec<String> =
                reasons.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            return Decision::Unschedulable {
                pod_uid: object.uid.clone(),
                message: format!("0/{} nodes are available: {}.", self.nodes.len(), reasons.join(", ")),
                wake_on: Wake { node_changed: true, pod_removed: true, ..Wake::default() },
            };
        };
        let node = node.to_owned();
        self.claim(&object.uid, &node, requests);
        Decision::Bind { pod_uid: object.uid.clone(), node }
    }

    fn node(&mut self, object: &Object) -> Result<(), Error> {
        let node: Node = object.parse()?;
        let name = object.reference.name.clone();
        let mut place = Place { node, used: ResourceList::new(), pods: 0 };
        // Pods may be known before their node.
        for (_, requests) in self.pods.values().filter(|(on, _)| *on == name) {
            add(&mut place, requests);
        }
        self.nodes.insert(name, place);
        Ok(())
    }

    fn pod(&mut self, object: &Object) -> Result<(), Error> {
        let pod: Pod = object.parse()?;
        self.release(&object.uid);
        if !pod.is_finished() && !pod.spec.node_name.is_empty() {
            self.claim(&object.uid, &pod.spec.node_name, requests(&pod));
        }
        Ok(())
    }

    fn claim(&mut self, uid: &str, node: &str, requests: ResourceList) {
        if let Some(place) = self.nodes.get_mut(node) {
            add(place, &requests);
        }
        self.pods.insert(uid.to_owned(), (node.to_owned(), requests));
    }

    fn release(&mut self, uid: &str) {
        let Some((node, requests)) = self.pods.remove(uid) else { return };
        let Some(place) = self.nodes.get_mut(&node) else { return };
        place.pods -= 1;
        for (resource, quantity) in requests {
            let used = place.used.entry(resource).or_default();
            *used = *used - quantity;
        }
    }
}

fn add(place: &mut Place, requests: &ResourceList) {
    place.pods += 1;
    for (resource, quantity) in requests {
        let used = place.used.entry(resource.clone()).or_default();
        *used = *used + *quantity;
    }
}

/// What a pod asks for, of everything that one of its containers names.
fn requests(pod: &Pod) -> ResourceList {
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let names = containers.flat_map(|container| container.resources.requests.keys());
    names.chain(pod.spec.overhead.keys()).map(|name| (name.clone(), pod.requests(name))).collect()
}

/// Why a pod must not run there.
fn refusal(pod: &Pod, requests: &ResourceList, place: &Place) -> Option<String> {
    let node = &place.node;
    if node.spec.unschedulable || !node.is_ready() {
        return Some("node(s) were not ready".to_owned());
    }
    let bars = |taint: &&Taint| {
        taint.effect != "PreferNoSchedule"
            && !pod.spec.tolerations.iter().any(|toleration| toleration.tolerates(taint))
    };
    if let Some(taint) = node.spec.taints.iter().find(bars) {
        return Some(format!("node(s) had the untolerated taint {}", taint.key));
    }
    let selector = &pod.spec.node_selector;
    if selector.iter().any(|(key, value)| node.label(key) != Some(value)) {
        return Some("node(s) didn't match Pod's node selector".to_owned());
    }
    if place.pods >= room(place, "pods").value() {
        return Some("Too many pods".to_owned());
    }
    requests
        .iter()
        .find(|(resource, quantity)| !quantity.is_zero() && used(place, resource) + **quantity > room(place, resource))
        .map(|(resource, _)| format!("Insufficient {resource}"))
}

/// How much of the node stays free, in thousandths, the scarcer of CPU and memory.
fn room_left(requests: &ResourceList, place: &Place) -> i64 {
    let left = |resource: &str| {
        let room = room(place, resource);
        let wanted = requests.get(resource).copied().unwrap_or_default();
        let free = room - used(place, resource) - wanted;
        if room.is_zero() { 0 } else { (free.nano().saturating_mul(1000) / room.nano()) as i64 }
    };
    left("cpu").min(left("memory"))
}

fn room(place: &Place, resource: &str) -> Quantity {
    place.node.status.allocatable.get(resource).copied().unwrap_or_default()
}

fn used(place: &Place, resource: &str) -> Quantity {
    place.used.get(resource).copied().unwrap_or_default()
}

pintle_sdk::export_scheduler!(Plugin);
