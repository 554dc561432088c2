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

mod answers;
mod nodes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use self::answers::Answers;
use self::nodes::Nodes;
use crate::context::Context;
use crate::error::Error;
use crate::extension::Rejection;
use crate::manifest::Manifest;
use crate::object::Object;
use crate::scheduler_extension::{Abilities, Description, NumberedNode, SchedulerExtension};
use crate::types::NODE;

/// A rule about one pod and one node; exported with
/// [`export_node_rule!`](crate::export_node_rule!). What it says must depend on
/// nothing but its configuration and what its types read of the two: nodes that
/// agree in that are judged once, and so are pods. The fewer fields the types
/// have, the less is to be done.
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

/// A [`NodeRule`] as a [`SchedulerExtension`].
///
/// A rule is a function of what its types read of pod and node. So nodes that
/// agree in that are judged once, and an answer holds for every pod that agrees
/// in it; of a known answer only those nodes are judged anew that changed.
pub struct NodeTable<R: NodeRule> {
    rule: R,
    nodes: Nodes<R::Node>,
    scores: Answers<Vec<u8>>,
    rejections: Answers<Vec<Rejection>>,
    /// What the rule can see of the object at hand.
    part: Vec<u8>,
}

/// A pod that is asked about; read when that is necessary.
struct Asked<'o, P> {
    object: &'o Object,
    pod: Option<P>,
}

impl<P: DeserializeOwned> Asked<'_, P> {
    fn pod(&mut self) -> Option<&P> {
        if self.pod.is_none() {
            self.pod = read(&mut Vec::new(), self.object);
        }
        self.pod.as_ref()
    }
}

/// What cannot be read counts as absent: the server has checked it before, and
/// a rule that reads it otherwise has no say.
fn read<T: DeserializeOwned>(part: &mut Vec<u8>, object: &Object) -> Option<T> {
    part.clear();
    match crate::reading::read(&object.json, part) {
        Ok(value) => Some(value),
        Err(source) => {
            let reference = Box::new(object.reference.clone());
            crate::log::warn!("{}", Error::Parse { reference, source });
            None
        }
    }
}

impl<R: NodeRule> NodeTable<R> {
    /// Notes what the answer about the pod depends on: the fields that the rule
    /// names, or those that its type reads.
    fn asked<'o>(&mut self, object: &'o Object) -> Option<Asked<'o, R::Pod>> {
        let mut pod = None;
        if R::POD_FIELDS.is_empty() {
            pod = Some(read(&mut self.part, object)?);
        } else {
            self.part.clear();
            crate::reading::fields(&object.json, R::POD_FIELDS, &mut self.part);
        }
        Some(Asked { object, pod })
    }

    fn score_all(&self, pod: &R::Pod) -> Vec<u8> {
        let kinds = self.nodes.kinds();
        let judged: Vec<u8> =
            kinds.iter().map(|kind| judge(&self.rule, pod, kind.node())).collect();
        let mut share = [0; BEST as usize + 1];
        for (kind, score) in kinds.iter().zip(&judged) {
            share[*score as usize] += kind.numbers().len();
        }
        // The score of most nodes is written at once.
        let usual = (0..=BEST).max_by_key(|score| share[*score as usize]).unwrap_or(0);
        let mut scores = vec![usual; self.nodes.len()];
        for (kind, score) in kinds.iter().zip(judged).filter(|(_, score)| *score != usual) {
            for number in kind.numbers() {
                scores[*number as usize] = score;
            }
        }
        scores
    }

    fn reject_all(&self, pod: &R::Pod) -> Vec<Rejection> {
        let mut reasons: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for kind in self.nodes.kinds() {
            if let Some(node) = kind.node()
                && let Err(reason) = self.rule.filter(pod, node)
            {
                reasons.entry(reason).or_default().extend_from_slice(kind.numbers());
            }
        }
        let rejection = |(reason, mut nodes): (String, Vec<u32>)| {
            nodes.sort();
            Rejection { reason, nodes }
        };
        reasons.into_iter().map(rejection).collect()
    }
}

/// A number without a node has no score.
fn judge<R: NodeRule>(rule: &R, pod: &R::Pod, node: Option<&R::Node>) -> u8 {
    node.map_or(0, |node| rule.score(pod, node).min(BEST))
}

/// The number is rejected for this reason, or for none.
fn reject(rejections: &mut Vec<Rejection>, number: u32, reason: Option<String>) {
    for rejection in rejections.iter_mut() {
        if let Ok(place) = rejection.nodes.binary_search(&number) {
            rejection.nodes.remove(place);
        }
    }
    if let Some(reason) = reason {
        let place = rejections.binary_search_by(|known| known.reason.cmp(&reason));
        let place = place.unwrap_or_else(|place| {
            rejections.insert(place, Rejection { reason, nodes: Vec::new() });
            place
        });
        let nodes = &mut rejections[place].nodes;
        if let Err(place) = nodes.binary_search(&number) {
            nodes.insert(place, number);
        }
    }
    rejections.retain(|rejection| !rejection.nodes.is_empty());
}

impl<R: NodeRule> SchedulerExtension for NodeTable<R> {
    type Config = R::Config;

    fn new(config: R::Config) -> Result<Self, String> {
        Ok(NodeTable {
            rule: R::new(config)?,
            nodes: Nodes::new(),
            scores: Answers::new(),
            rejections: Answers::new(),
            part: Vec::new(),
        })
    }

    fn describe(&self) -> Description {
        let manifest = self.rule.manifest().needs(NODE, &["watch"], "knows the nodes");
        Description::new(manifest, R::ABILITIES).pod_fields(R::POD_FIELDS)
    }

    fn sync_nodes(&mut self, nodes: Vec<NumberedNode>) {
        for NumberedNode { number, node } in nodes {
            let node = node.and_then(|node| read(&mut self.part, &node));
            self.nodes.set(number, node.map(|node| (node, self.part.as_slice())));
        }
    }

    fn filter(&mut self, _: &Context, pod: &Object) -> Vec<Rejection> {
        let Some(mut asked) = self.asked(pod) else { return Vec::new() };
        let position = self.nodes.position();
        if let Some(kept) = self.rejections.get(&self.part)
            && let Some(changed) = self.nodes.changed_since(kept.position)
        {
            for &number in changed {
                let Some(pod) = asked.pod() else { return Vec::new() };
                let judged = self.nodes.node(number).map(|node| self.rule.filter(pod, node));
                reject(&mut kept.answer, number, judged.and_then(Result::err));
            }
            kept.position = position;
            return kept.answer.clone();
        }
        let Some(pod) = asked.pod() else { return Vec::new() };
        let rejections = self.reject_all(pod);
        let bytes = rejections.iter().map(|r| r.reason.len() + 4 * r.nodes.len()).sum();
        self.rejections.keep(&self.part, &rejections, position, bytes);
        rejections
    }

    fn score(&mut self, _: &Context, pod: &Object) -> Vec<u8> {
        let Some(mut asked) = self.asked(pod) else { return Vec::new() };
        let position = self.nodes.position();
        if let Some(kept) = self.scores.get(&self.part)
            && let Some(changed) = self.nodes.changed_since(kept.position)
        {
            kept.answer.resize(self.nodes.len(), 0);
            for &number in changed {
                let Some(pod) = asked.pod() else { return Vec::new() };
                let score = judge(&self.rule, pod, self.nodes.node(number));
                kept.answer[number as usize] = score;
            }
            kept.position = position;
            return kept.answer.clone();
        }
        let Some(pod) = asked.pod() else { return Vec::new() };
        let scores = self.score_all(pod);
        self.scores.keep(&self.part, &scores, position, scores.len());
        scores
    }
}
