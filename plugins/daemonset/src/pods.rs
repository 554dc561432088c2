//! The pods of a set: made for one node each, and found again by it.

use std::collections::BTreeMap;

use pintle_sdk::names::Random;
use pintle_sdk::placement::Placement;
use pintle_sdk::prelude::*;
use pintle_sdk::revisions::{HASH_LABEL, Revision};
use pintle_sdk::workload::pod_from_template;
use serde_json::{Value, json};

use crate::nodes;

const GENERATION_LABEL: &str = "pod-template-generation";

/// Pods by the node they are on, or were made for.
pub type ByNode<'a> = BTreeMap<String, Vec<&'a Typed<Pod>>>;

pub fn by_node<'a>(lister: &dyn Lister, pods: &'a [Typed<Pod>]) -> ByNode<'a> {
    let mut found = ByNode::new();
    for pod in pods {
        let node = if pod.spec.node_name.is_empty() {
            // The typed form does not know affinity.
            lister
                .get(&pod.reference)
                .and_then(|object| object.parse::<Value>().ok())
                .and_then(|whole| Placement::of(&whole["spec"]).pinned_to().map(str::to_owned))
        } else {
            Some(pod.spec.node_name.clone())
        };
        if let Some(node) = node {
            found.entry(node).or_default().push(pod);
        }
    }
    // Oldest first; a finished pod stands behind one that runs.
    for pods in found.values_mut() {
        pods.sort_by_key(|pod| {
            let age = pod.metadata.creation_timestamp.clone().unwrap_or_default();
            (pod.is_finished(), age, pod.reference.name.clone())
        });
    }
    found
}

pub fn is_of(pod: &Pod, revision: &str) -> bool {
    pod.metadata.labels.get(HASH_LABEL).is_some_and(|found| found == revision)
}

/// The pod for one node.
pub fn new_pod(
    set: &Typed<DaemonSet>,
    revision: &Revision,
    node: &str,
    random: &mut Random,
) -> Value {
    let mut pod = pod_from_template(set, &revision.template);
    let prefix = format!("{}-", set.reference.name);
    pod["metadata"]["generateName"] = json!(prefix);
    pod["metadata"]["name"] = json!(random.name(&prefix));
    if !pod["metadata"]["labels"].is_object() {
        pod["metadata"]["labels"] = json!({});
    }
    pod["metadata"]["labels"][HASH_LABEL] = json!(revision.name);
    pod["metadata"]["labels"][GENERATION_LABEL] = json!(set.metadata.generation.to_string());
    let spec = &mut pod["spec"];
    pin(spec, node);
    tolerate(spec);
    pod
}

/// Required affinity to the node's name. What the template requires has been
/// found true of the node and is replaced: terms are alternatives, and each
/// would have to name the node.
fn pin(spec: &mut Value, node: &str) {
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    if !spec["affinity"].is_object() {
        spec["affinity"] = json!({});
    }
    let affinity = &mut spec["affinity"];
    if !affinity["nodeAffinity"].is_object() {
        affinity["nodeAffinity"] = json!({});
    }
    affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [{"matchFields": fields}]});
}

fn tolerate(spec: &mut Value) {
    let host_network = spec["hostNetwork"] == true;
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for toleration in nodes::tolerations(host_network) {
        let wanted = json!(toleration);
        let known = tolerations.iter().any(|have| {
            ["key", "effect", "operator"].iter().all(|field| have[field] == wanted[field])
        });
        if !known {
            tolerations.push(wanted);
        }
    }
    spec["tolerations"] = Value::Array(tolerations);
}
