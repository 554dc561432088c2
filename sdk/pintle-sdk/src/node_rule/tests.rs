//! What is remembered is what would be said anew.

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
    // What is asked for a second time is remembered.
    assert_eq!(ask(&mut table, "a", "").0, scores);
    assert_eq!(table.rule.0.get(), 8);
    assert_eq!(ask(&mut table, "a", "").0, scores);
    assert_eq!(table.rule.0.get(), 8);
    // A pod that differs in nothing that counts, and a node that does.
    table.sync_nodes(vec![node(2, "a", ""), node(4, "b", "core")]);
    let (scores, rejections) = ask(&mut table, "a", "");
    assert_eq!((scores[2], scores[4]), (100, 7));
    assert_eq!(rejections, [("node(s) of core".to_owned(), vec![4])]);
    assert_eq!(table.rule.0.get(), 10);
    table.sync_nodes(vec![NumberedNode { number: 4, node: None }]);
    assert_eq!(ask(&mut table, "a", "").1, []);
    assert_eq!(ask(&mut table, "a", "").0[4], 0);
}

#[test]
fn nodes_of_which_much_is_seen_are_no_ones_kind() {
    let mut table = table();
    let team = "t".repeat(1000);
    table.sync_nodes((0..3).map(|n| node(n, "a", &team)).collect());
    assert_eq!(ask(&mut table, "a", &team), (vec![100; 3], vec![]));
    assert_eq!(table.rule.0.get(), 6);
    table.sync_nodes(vec![node(1, "b", &team)]);
    assert_eq!(ask(&mut table, "a", &team), (vec![100, 7, 100], vec![]));
    table.sync_nodes((0..3).map(|number| NumberedNode { number, node: None }).collect());
    assert_eq!(ask(&mut table, "a", &team), (vec![0; 3], vec![]));
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
