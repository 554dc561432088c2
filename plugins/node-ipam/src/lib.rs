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

use pintle_sdk::prelude::*;
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
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ranges::new(&config.cluster_cidr, config.node_mask_size)?;
        Ok(Plugin { cluster_cidr: config.cluster_cidr, node_mask_size: config.node_mask_size })
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
        let mut nodes = lister.read_all::<Node>(Query::any_kind())?;
        // First come, first served.
        nodes.sort_unstable_by(|a, b| age(a).cmp(&age(b)));
        let mut ranges =
            Ranges::new(&self.cluster_cidr, self.node_mask_size).map_err(Error::retry)?;
        for node in &nodes {
            for cidr in node.spec.pod_cidrs.iter().chain([&node.spec.pod_cidr]) {
                ranges.occupy(cidr);
            }
        }
        let mut outcome = Outcome::done();
        let wanting = nodes
            .iter()
            .filter(|node| node.spec.pod_cidr.is_empty() && node.spec.pod_cidrs.is_empty())
            .filter(|node| !node.metadata.is_being_deleted());
        for node in wanting.take(MOST_AT_ONCE) {
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

fn age(node: &Typed<Node>) -> (Option<&str>, &str) {
    (node.metadata.creation_timestamp.as_deref(), &node.reference.name)
}

pintle_sdk::export_controller!(Plugin);
