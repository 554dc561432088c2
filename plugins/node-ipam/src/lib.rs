//! Gives every node a range of pod addresses: `spec.podCIDR` and `spec.podCIDRs`.
//!
//! Watches Nodes. All of them share one key, so that two nodes are never given
//! the same range by decisions that did not see each other. Each node without a
//! range gets the lowest free one; what is assigned is never changed.
//!
//! Config: `clusterCIDR` (`10.244.0.0/16`), `nodeMaskSize` (24; 64 for IPv6).
//!
//! Does not know: which addresses pods have (the CNI plugin), or routes. Read
//! first: [`ranges::Ranges`].

pub mod ranges;

use pintle_sdk::action::Target;
use pintle_sdk::prelude::*;
use pintle_sdk::remembered::{FromObject, Remembered};
use serde_json::json;

use crate::ranges::Ranges;

/// Patches in one step; the rest follows when these are seen.
const MOST_AT_ONCE: usize = 500;
/// While the ranges are used up, look again: a range may have become free by a
/// change that is not an event of its own.
const RETRY_MS: u64 = 60_000;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    #[serde(rename = "nodeMaskSize")]
    pub node_mask_size: Option<u8>,
}

impl Default for Config {
    fn default() -> Self {
        Config { cluster_cidr: "10.244.0.0/16".to_owned(), node_mask_size: None }
    }
}

pub struct Plugin {
    cluster_cidr: String,
    node_mask_size: Option<u8>,
    nodes: Remembered<Place>,
}

/// Nodes that are remembered.
const MOST_NODES: usize = 100_000;

/// What matters of a node.
const OF_NODE: &[&str] =
    &["metadata.creationTimestamp", "metadata.deletionTimestamp", "spec.podCIDR", "spec.podCIDRs"];

/// A node as one that has a range, or wants one.
#[derive(Debug, Clone)]
struct Place {
    reference: ObjectRef,
    uid: String,
    created: Option<String>,
    ranges: Vec<String>,
    leaving: bool,
}

impl FromObject for Place {
    fn from_object(object: Object) -> Result<Self, Error> {
        let node: Node = object.parse()?;
        let both = node.spec.pod_cidrs.iter().chain([&node.spec.pod_cidr]);
        Ok(Place {
            ranges: both.filter(|range| !range.is_empty()).cloned().collect(),
            leaving: node.metadata.is_being_deleted(),
            created: node.metadata.creation_timestamp,
            reference: object.reference,
            uid: object.uid,
        })
    }
}

impl Target for Place {
    fn reference(&self) -> &ObjectRef {
        &self.reference
    }

    fn uid(&self) -> &str {
        &self.uid
    }
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ranges::new(&config.cluster_cidr, config.node_mask_size)?;
        Ok(Plugin {
            cluster_cidr: config.cluster_cidr,
            node_mask_size: config.node_mask_size,
            nodes: Remembered::at_most(MOST_NODES),
        })
    }

    fn describe(&self) -> Description {
        // Every Node has the same `kind`, so this is the one key `Node`.
        let one_key = Enqueue::NamedBy(NODE, "kind".to_owned());
        Description::new(
            Manifest::new("node-ipam", env!("CARGO_PKG_VERSION"))
                .needs(
                    NODE,
                    &["get", "list", "watch", "patch"],
                    "reads the ranges in use, writes spec.podCIDR",
                )
                .needs(EVENT, &["create"], "says when no range is left"),
        )
        .watch(Watch::of(NODE).when_changed(&["spec.podCIDR", "spec.podCIDRs"]).enqueue(one_key))
    }

    fn reconcile(&self, _: &Context, lister: &dyn Lister, _: &Request) -> Result<Outcome, Error> {
        let mut ranges =
            Ranges::new(&self.cluster_cidr, self.node_mask_size).map_err(Error::retry)?;
        let all = Query::of(NODE).fields(OF_NODE);
        let mut wanting: Vec<Place> = self.nodes.look(lister, &all, |nodes| {
            let wants = |node: &&Place| node.ranges.is_empty() && !node.leaving;
            let wanting: Vec<Place> = nodes.values().filter(wants).cloned().collect();
            if !wanting.is_empty() {
                nodes.values().flat_map(|node| &node.ranges).for_each(|range| ranges.occupy(range));
            }
            wanting
        })?;
        // First come, first served.
        wanting.sort_unstable_by(|a, b| age(a).cmp(&age(b)));
        let mut outcome = Outcome::done();
        for node in wanting.iter().take(MOST_AT_ONCE) {
            match ranges.take() {
                Some(cidr) => {
                    let body = json!({"metadata": {"uid": node.uid}, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}});
                    outcome.push(Patch::merge(node, &body));
                }
                None => {
                    let note =
                        format!("Node {} status is now: CIDRNotAvailable", node.reference.name);
                    outcome.push(Event::normal(node, "CIDRNotAvailable", note).action("Assign"));
                    outcome.requeue_after(RETRY_MS);
                }
            }
        }
        Ok(outcome)
    }
}

fn age(node: &Place) -> (Option<&str>, &str) {
    (node.created.as_deref(), &node.reference.name)
}

pintle_sdk::export_controller!(Plugin);
