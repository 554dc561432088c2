//! The short way to a scheduler extension: a rule about one pod and one node.
//!
//! ```
//! use pintle_sdk::prelude::*;
//!
//! /// Pods go where their image is said to be warm.
//! struct Warm;
//!
//! impl NodeRule for Warm {
//!     type Config = NoConfig;
//!     type Pod = AnyObject;
//!     type Node = AnyObject;
//!     const ABILITIES: Abilities = Abilities::SCORE;
//!     const POD_FIELDS: &'static [&'static str] = &["metadata.labels"];
//!
//!     fn new(_: NoConfig) -> Result<Self, String> {
//!         Ok(Warm)
//!     }
//!
//!     fn manifest(&self) -> Manifest {
//!         pintle_sdk::manifest!()
//!     }
//!
//!     fn score(&self, pod: &AnyObject, node: &AnyObject) -> u8 {
//!         let app = pod.metadata.labels.get("app");
//!         if app.is_some() && app == node.metadata.labels.get("warm") { 100 } else { 0 }
//!     }
//! }
//!
//! pintle_sdk::export_node_rule!(Warm);
//! ```

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::extension::Rejection;
use crate::manifest::Manifest;
use crate::object::Object;
use crate::scheduler_extension::{Abilities, Description, NumberedNode, SchedulerExtension};
use crate::types::NODE;

/// A rule about one pod and one node; exported with
/// [`export_node_rule!`](crate::export_node_rule!). The nodes are kept parsed,
/// so a question costs one call of the rule per node and one parse of the pod.
pub trait NodeRule: Sized {
    /// `spec.config` of the Plugin object; use `#[serde(deny_unknown_fields, default)]`.
    type Config: DeserializeOwned;
    /// The fields of the pod that the rule looks at: [`Pod`](crate::types::Pod),
    /// [`AnyObject`](crate::types::AnyObject), or a smaller type of your own.
    type Pod: DeserializeOwned;
    /// The fields of nodes that the rule looks at.
    type Node: DeserializeOwned;

    /// Which of [`NodeRule::filter`] and [`NodeRule::score`] the rule has.
    const ABILITIES: Abilities;
    /// Every field of the pod that the answer depends on: pods that agree in them
    /// are answered for once. Empty: each pod is asked about.
    const POD_FIELDS: &'static [&'static str] = &[];

    /// An error text refuses the configuration.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// Name and version: [`manifest!()`](crate::manifest!). To watch nodes is asked for
    /// without further ado.
    fn manifest(&self) -> Manifest;

    /// `Err` says why the pod must not run there, as in
    /// `0/3 nodes are available: 2 <reason>.`
    fn filter(&self, pod: &Self::Pod, node: &Self::Node) -> Result<(), String> {
        let _ = (pod, node);
        Ok(())
    }

    /// How good the node is for the pod, 0 to 100; more counts as 100.
    fn score(&self, pod: &Self::Pod, node: &Self::Node) -> u8 {
        let _ = (pod, node);
        0
    }
}

/// The best score.
const BEST: u8 = 100;

/// A [`NodeRule`] as a [`SchedulerExtension`]: keeps the nodes, by number.
pub struct NodeTable<R: NodeRule> {
    rule: R,
    nodes: Vec<Option<R::Node>>,
}

impl<R: NodeRule> NodeTable<R> {
    fn read(&self, pod: &Object) -> Option<R::Pod> {
        match pod.parse() {
            Ok(pod) => Some(pod),
            // The server has checked it before; a rule that reads it otherwise has no say.
            Err(error) => {
                crate::log::warn!("{error}");
                None
            }
        }
    }
}

impl<R: NodeRule> SchedulerExtension for NodeTable<R> {
    type Config = R::Config;

    fn new(config: R::Config) -> Result<Self, String> {
        Ok(NodeTable { rule: R::new(config)?, nodes: Vec::new() })
    }

    fn describe(&self) -> Description {
        let manifest = self.rule.manifest().needs(NODE, &["watch"], "knows the nodes");
        Description::new(manifest, R::ABILITIES).pod_fields(R::POD_FIELDS)
    }

    fn sync_nodes(&mut self, nodes: Vec<NumberedNode>) {
        for NumberedNode { number, node } in nodes {
            let number = number as usize;
            if self.nodes.len() <= number {
                self.nodes.resize_with(number + 1, || None);
            }
            self.nodes[number] = node.and_then(|node| match node.parse() {
                Ok(node) => Some(node),
                Err(error) => {
                    crate::log::warn!("{error}");
                    None
                }
            });
        }
    }

    fn filter(&mut self, _: &Context, pod: &Object) -> Vec<Rejection> {
        let Some(pod) = self.read(pod) else { return Vec::new() };
        let mut reasons: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (number, node) in (0..).zip(&self.nodes) {
            let Some(node) = node else { continue };
            if let Err(reason) = self.rule.filter(&pod, node) {
                reasons.entry(reason).or_default().push(number);
            }
        }
        reasons.into_iter().map(|(reason, nodes)| Rejection { reason, nodes }).collect()
    }

    fn score(&mut self, _: &Context, pod: &Object) -> Vec<u8> {
        let Some(pod) = self.read(pod) else { return Vec::new() };
        let score = |node: &R::Node| self.rule.score(&pod, node).min(BEST);
        self.nodes.iter().map(|node| node.as_ref().map_or(0, score)).collect()
    }
}
