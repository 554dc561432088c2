//! A rule for the scheduler: pods go where the disk is that they ask for.
//!
//! A pod with the label `wants-disk: ssd` is better on nodes with the label `disk: ssd`;
//! one with `needs-disk: ssd` runs nowhere else.
//!
//! Config (all optional): `nodeLabel` (`disk`), the label of nodes that is looked at.

use pintle_sdk::prelude::*;

/// What people write on a pod.
pub const WANTS: &str = "wants-disk";
pub const NEEDS: &str = "needs-disk";

/// The score of a node that has what the pod wants.
const GOOD: u8 = 100;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// The label of nodes that is looked at.
    pub node_label: String,
}

impl Default for Config {
    fn default() -> Self {
        Config { node_label: "disk".to_owned() }
    }
}

pub struct Plugin {
    config: Config,
}

impl NodeRule for Plugin {
    type Config = Config;
    // Only metadata is looked at, so only metadata is read.
    type Pod = AnyObject;
    type Node = AnyObject;
    const ABILITIES: Abilities = Abilities::BOTH;
    // Pods with the same labels are answered for once.
    const POD_FIELDS: &'static [&'static str] = &["metadata.labels"];

    fn new(config: Config) -> Result<Self, String> {
        if config.node_label.is_empty() {
            return Err("spec.config.nodeLabel: must not be empty".to_owned());
        }
        Ok(Plugin { config })
    }

    fn manifest(&self) -> Manifest {
        pintle_sdk::manifest!()
    }

    fn filter(&self, pod: &AnyObject, node: &AnyObject) -> Result<(), String> {
        match pod.metadata.labels.get(NEEDS) {
            Some(needed) if self.disk(node) != Some(needed) => {
                Err(format!("node(s) without a disk of type {needed}"))
            }
            _ => Ok(()),
        }
    }

    fn score(&self, pod: &AnyObject, node: &AnyObject) -> u8 {
        let wanted = pod.metadata.labels.get(WANTS);
        if wanted.is_some() && wanted == self.disk(node) { GOOD } else { 0 }
    }
}

impl Plugin {
    fn disk<'a>(&self, node: &'a AnyObject) -> Option<&'a String> {
        node.metadata.labels.get(&self.config.node_label)
    }
}

pintle_sdk::export_node_rule!(Plugin);
