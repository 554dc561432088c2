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
        self.rejections.keep(&self.part, rejections.clone(), position, bytes);
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
        self.scores.keep(&self.part, scores.clone(), position, scores.len());
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NoConfig;
    use crate::types::POD;
    use proptest::prelude::*;
    use serde_json::json;

    /// Scores and rejects by a label each, and counts how often it is asked.
    #[derive(Default)]
    struct Labels(std::cell::Cell<usize>);

    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Labelled {
        metadata: Metadata,
    }

    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Metadata {
        labels: Known,
    }

    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Known {
        zone: String,
        team: String,
    }

    impl NodeRule for Labels {
        type Config = NoConfig;
        type Pod = Labelled;
        type Node = Labelled;
        const ABILITIES: Abilities = Abilities::BOTH;

        fn new(_: NoConfig) -> Result<Self, String> {
            Ok(Labels::default())
        }

        fn manifest(&self) -> Manifest {
            Manifest::new("labels", "1")
        }

        fn filter(&self, pod: &Labelled, node: &Labelled) -> Result<(), String> {
            self.0.set(self.0.get() + 1);
            let (pod, node) = (&pod.metadata.labels, &node.metadata.labels);
            if node.team.is_empty() || pod.team == node.team {
                return Ok(());
            }
            Err(format!("node(s) of {}", node.team))
        }

        fn score(&self, pod: &Labelled, node: &Labelled) -> u8 {
            self.0.set(self.0.get() + 1);
            if pod.metadata.labels.zone == node.metadata.labels.zone { 200 } else { 7 }
        }
    }

    fn object(kind: crate::KindRef, name: &str, zone: &str, team: &str) -> Object {
        let labels = json!({"name": name, "zone": zone, "team": team});
        let json = json!({"metadata": {"name": name, "labels": labels}, "spec": {"x": name}});
        Object {
            reference: kind.named("", name),
            uid: name.to_owned(),
            revision: 1,
            json: json.to_string().into_bytes(),
        }
    }

    fn node(number: u32, zone: &str, team: &str) -> NumberedNode {
        let node = Some(object(NODE, &format!("n{number}"), zone, team));
        NumberedNode { number, node }
    }

    type Said = (Vec<u8>, Vec<(String, Vec<u32>)>);

    fn ask(table: &mut NodeTable<Labels>, zone: &str, team: &str) -> Said {
        let context = Context { now_unix_ms: 0, seed: 0, revision: 1 };
        let pod = object(POD, "p", zone, team);
        let rejections = table.filter(&context, &pod);
        let rejections = rejections.into_iter().map(|r| (r.reason, r.nodes)).collect();
        (table.score(&context, &pod), rejections)
    }

    fn table() -> NodeTable<Labels> {
        NodeTable::new(NoConfig {}).unwrap()
    }

    #[test]
    fn nodes_are_judged_by_kind_and_again_when_they_change() {
        let mut table = table();
        table.sync_nodes((0..1000).map(|n| node(n, ["a", "b"][n as usize % 2], "")).collect());
        let (scores, rejections) = ask(&mut table, "a", "");
        assert_eq!((scores[0], scores[1], scores.len()), (100, 7, 1000));
        assert_eq!(rejections, []);
        assert_eq!(table.rule.0.get(), 4);
        // A pod that differs in nothing that counts, and a node that does.
        table.sync_nodes(vec![node(2, "a", ""), node(4, "b", "core")]);
        let (scores, rejections) = ask(&mut table, "a", "");
        assert_eq!((scores[2], scores[4]), (100, 7));
        assert_eq!(rejections, [("node(s) of core".to_owned(), vec![4])]);
        assert_eq!(table.rule.0.get(), 6);
        table.sync_nodes(vec![NumberedNode { number: 4, node: None }]);
        assert_eq!(ask(&mut table, "a", "").1, []);
        assert_eq!(ask(&mut table, "a", "").0[4], 0);
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_what_a_fresh_table_says(
            steps in proptest::collection::vec((0u32..20, 0usize..5, 0usize..3, 0usize..3), 1..80),
        ) {
            let zones = ["", "a", "b", "c"];
            let teams = ["", "core", "web"];
            let mut table = table();
            let mut present = BTreeMap::new();
            let mut most = 0;
            for (number, zone, team, pod) in steps {
                let now = zones.get(zone).map(|zone| node(number, zone, teams[team]));
                present.insert(number, now.clone());
                most = most.max(number + 1);
                table.sync_nodes(vec![now.unwrap_or(NumberedNode { number, node: None })]);
                let mut fresh = self::table();
                fresh.sync_nodes(vec![NumberedNode { number: most - 1, node: None }]);
                fresh.sync_nodes(present.values().flatten().cloned().collect());
                let (zone, team) = (zones[pod + 1], teams[pod]);
                prop_assert_eq!(ask(&mut table, zone, team), ask(&mut fresh, zone, team));
            }
        }
    }
}
