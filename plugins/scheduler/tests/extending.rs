//! What scheduler extensions say counts, and costs nothing when nobody speaks.

mod support;

use std::cell::Cell;

use pintle_sdk::extension::{Evaluation, Rejection};
use pintle_sdk::scheduler::{Decision, Scheduler};
use pintle_sdk::{Extensions, Object};
use serde_json::json;
use support::*;

/// One extension that rejects some nodes and scores them.
struct One {
    numbering: u64,
    nodes: Vec<String>,
    version: u64,
    evaluation: Evaluation,
    reads: Cell<usize>,
    mappings: Cell<usize>,
}

impl One {
    fn new(names: &[&str], version: u64, evaluation: Evaluation) -> Self {
        let nodes = names.iter().map(|name| name.to_string()).collect();
        One {
            numbering: 1,
            nodes,
            version,
            evaluation,
            reads: Cell::new(0),
            mappings: Cell::new(0),
        }
    }
}

impl Extensions for One {
    fn numbering(&self) -> u64 {
        self.numbering
    }

    fn nodes(&self) -> Vec<String> {
        self.mappings.set(self.mappings.get() + 1);
        self.nodes.clone()
    }

    fn evaluate(&self, _: &str) -> u64 {
        self.version
    }

    fn read(&self, version: u64) -> Evaluation {
        assert_eq!(version, self.version);
        self.reads.set(self.reads.get() + 1);
        self.evaluation.clone()
    }
}

fn rejecting(reason: &str, nodes: &[u32]) -> Evaluation {
    let rejection = Rejection { reason: reason.to_owned(), nodes: nodes.to_vec() };
    Evaluation { rejections: vec![rejection], scores: Vec::new() }
}

fn three() -> Vec<Object> {
    ["a", "b", "c"].iter().map(|name| node(name, "4", json!({}))).collect()
}

#[test]
fn rejections_are_reasons_by_number_of_the_node() {
    let mut plugin = plugin(&three());
    // Numbers are the host's: here in another order, with a free one between.
    let names = ["c", "", "b", "a"];
    let some = One::new(&names, 7, rejecting("node(s) were too loud", &[0, 3]));
    let Decision::Bind { node, .. } = schedule_with(&mut plugin, &some, &pod("p", "1", json!({})))
    else {
        panic!()
    };
    assert_eq!(node, "b");
    let all = One::new(&names, 8, rejecting("node(s) were too loud", &[0, 2, 3]));
    let Decision::Unschedulable { message, wake_on, .. } =
        schedule_with(&mut plugin, &all, &pod("q", "1", json!({})))
    else {
        panic!()
    };
    assert_eq!(
        message,
        "0/3 nodes are available: 3 node(s) were too loud. preemption: 0/3 nodes are available: \
         3 Preemption is not helpful for scheduling."
    );
    assert!(wake_on.other_changed && wake_on.pod_added && wake_on.pod_removed);
}

#[test]
fn scores_join_the_total_by_weight() {
    fn check(weight: u32, expect: &str) {
        let config = json!({"weights": {"extensions": weight}});
        // "c" is a third full, which costs it less than 50 points.
        let mut plugin =
            configured(config, &[node("a", "4", json!({})), node("c", "4", json!({}))]);
        upsert(&mut plugin, &[pod("there", "1", json!({"spec": {"nodeName": "c"}}))]);
        let scores = Evaluation { rejections: Vec::new(), scores: vec![0, 10_000] };
        let one = One::new(&["a", "c"], 3, scores);
        let decision = schedule_with(&mut plugin, &one, &pod("p", "1", json!({})));
        let Decision::Bind { node, .. } = decision else { panic!() };
        assert_eq!(node, expect, "weight {weight}");
    }
    check(0, "a");
    check(1, "c");
}

#[test]
fn equal_versions_are_read_once_and_numbers_mapped_once() {
    let mut plugin = plugin(&three());
    let one = One::new(&["a", "b", "c"], 5, rejecting("no", &[0]));
    for index in 0..4 {
        schedule_with(&mut plugin, &one, &pod(&format!("p{index}"), "1", json!({})));
    }
    assert_eq!((one.reads.get(), one.mappings.get()), (1, 1));
    // A node more: its slot has to be found.
    upsert(&mut plugin, &[node("d", "4", json!({}))]);
    schedule_with(&mut plugin, &one, &pod("p5", "1", json!({})));
    assert_eq!((one.reads.get(), one.mappings.get()), (2, 2));
}

#[test]
fn nobody_has_a_say() {
    let mut plugin = plugin(&three());
    let silent = One::new(&["a", "b", "c"], 0, rejecting("never heard", &[0, 1, 2]));
    let pods: Vec<Object> = (0..3).map(|i| pod(&format!("p{i}"), "1", json!({}))).collect();
    let decisions = plugin.schedule(&context(), &silent, pods);
    assert!(decisions.iter().all(|decision| matches!(decision, Decision::Bind { .. })));
    assert_eq!((silent.reads.get(), silent.mappings.get()), (0, 0));
}
