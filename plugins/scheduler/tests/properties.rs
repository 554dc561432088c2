//! What must hold after any history: no node is ever overcommitted, the scores
//! kept up to date equal the scores computed afresh, and a replay of the
//! present gives the same view.

use std::collections::BTreeMap;

use pintle_plugin_scheduler::{Config, Plugin};
use pintle_sdk::NoExtensions;
use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::{Decision, Delta, Scheduler};
use proptest::prelude::*;
use serde_json::json;

#[derive(Debug, Clone)]
enum Step {
    Node { index: usize, cpu: i64, pods: i64, tainted: bool },
    RemoveNode(usize),
    Schedule { index: usize, cpu: i64, priority: i32, group: u8 },
    Confirm(usize),
    Forget(usize),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..6usize, 0..8i64, 0..6i64, any::<bool>())
            .prop_map(|(index, cpu, pods, tainted)| Step::Node { index, cpu, pods, tainted: tainted && index == 0 }),
        1 => (0..6usize).prop_map(Step::RemoveNode),
        6 => (0..40usize, 0..4i64, 0..3i32, 0..3u8)
            .prop_map(|(index, cpu, priority, group)| Step::Schedule { index, cpu, priority, group }),
        3 => (0..40usize).prop_map(Step::Confirm),
        1 => (0..40usize).prop_map(Step::Forget),
        2 => (0..40usize).prop_map(Step::Remove),
    ]
}

fn object(kind: KindRef, name: &str, json: serde_json::Value) -> Object {
    Object {
        reference: kind.named("", name),
        uid: name.to_owned(),
        revision: 1,
        json: json.to_string().into_bytes(),
    }
}

fn pod(index: usize, cpu: i64, priority: i32, group: u8, node: &str) -> Object {
    let json = json!({
        "metadata": {"ownerReferences": [{"uid": format!("g{group}"), "controller": true}]},
        "spec": {"nodeName": node, "priority": priority,
                 "containers": [{"resources": {"requests": {"cpu": cpu.to_string()}}}]},
    });
    object(POD, &format!("p{index}"), json)
}

/// What the cluster would know.
#[derive(Default)]
struct Model {
    nodes: BTreeMap<String, (i64, i64)>,
    /// Decided or bound: node, cpu, priority, group.
    pods: BTreeMap<usize, (String, i64, i32, u8)>,
    confirmed: BTreeMap<usize, bool>,
}

impl Model {
    fn used(&self, node: &str) -> (i64, i64) {
        let on = self.pods.values().filter(|pod| pod.0 == node);
        on.fold((0, 0), |(cpu, count), pod| (cpu + pod.1, count + 1))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn never_overcommits(steps in prop::collection::vec(step(), 1..120), seed in any::<u64>()) {
        let mut plugin = Plugin::new(Config::default()).unwrap();
        let mut model = Model::default();
        for (round, step) in steps.into_iter().enumerate() {
            match step {
                Step::Node { index, cpu, pods, tainted } => {
                    let name = format!("n{index}");
                    let taints = if tainted { json!([{"key": "k", "effect": "PreferNoSchedule"}]) } else { json!([]) };
                    let json = json!({"metadata": {"name": name}, "spec": {"taints": taints},
                        "status": {"allocatable": {"cpu": cpu.to_string(), "memory": "1Gi", "pods": pods.to_string()}}});
                    plugin.sync(vec![Delta::Upsert(object(NODE, &name, json))]);
                    model.nodes.insert(name, (cpu, pods));
                }
                Step::RemoveNode(index) => {
                    let name = format!("n{index}");
                    plugin.sync(vec![Delta::Remove(object(NODE, &name, json!({})))]);
                    model.nodes.remove(&name);
                }
                Step::Schedule { index, cpu, priority, group } => {
                    if model.pods.contains_key(&index) {
                        continue;
                    }
                    let context = Context { now_unix_ms: 0, seed: seed ^ round as u64, revision: 1 };
                    let decision = plugin.schedule(&context, &NoExtensions, vec![pod(index, cpu, priority, group, "")]).remove(0);
                    let fits = |name: &String, (capacity, pods): &(i64, i64)| {
                        let (used, count) = model.used(name);
                        (cpu == 0 || used + cpu <= *capacity) && count < *pods
                    };
                    match decision {
                        Decision::Bind { node, .. } => {
                            let capacity = model.nodes.get(&node).expect("bound to a node that exists");
                            prop_assert!(fits(&node, capacity), "{node} is overcommitted");
                            model.pods.insert(index, (node, cpu, priority, group));
                        }
                        Decision::Unschedulable { .. } => {
                            // Nothing fits, claims of nominated pods apart (none are made below).
                            prop_assert!(!model.nodes.iter().any(|(name, capacity)| fits(name, capacity)));
                        }
                        Decision::Preempt { node, victims, pod_uid, .. } => {
                            prop_assert!(!victims.is_empty());
                            for victim in &victims {
                                let victim: usize = victim[1..].parse().unwrap();
                                let known = &model.pods[&victim];
                                prop_assert!(known.0 == node && known.2 < priority);
                            }
                            // The host may drop a preemption; the victims then stay.
                            plugin.forget(vec![pod_uid]);
                            for victim in victims {
                                let victim: usize = victim[1..].parse().unwrap();
                                let (node, cpu, priority, group) = model.pods[&victim].clone();
                                plugin.sync(vec![Delta::Upsert(pod(victim, cpu, priority, group, &node))]);
                            }
                        }
                        Decision::Ignore(reason) => prop_assert!(false, "{reason}"),
                    }
                }
                Step::Confirm(index) => {
                    if let Some((node, cpu, priority, group)) = model.pods.get(&index) {
                        plugin.sync(vec![Delta::Upsert(pod(index, *cpu, *priority, *group, node))]);
                        model.confirmed.insert(index, true);
                    }
                }
                Step::Forget(index) => {
                    if !model.confirmed.contains_key(&index) {
                        plugin.forget(vec![format!("p{index}")]);
                        model.pods.remove(&index);
                    }
                }
                Step::Remove(index) => {
                    if let Some((node, cpu, priority, group)) = model.pods.remove(&index) {
                        plugin.sync(vec![Delta::Remove(pod(index, cpu, priority, group, &node))]);
                        model.confirmed.remove(&index);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Scores that were kept up to date one node at a time are the scores that a
    /// fresh view computes in one pass.
    #[test]
    fn kept_scores_equal_fresh_ones(placed in prop::collection::vec((0..8usize, 0..4i64, 0..3u8), 0..30), strategy in any::<bool>()) {
        use pintle_plugin_scheduler::config::{Config, Strategy};
        use pintle_plugin_scheduler::requests::Requests;
        use pintle_plugin_scheduler::score::Scores;
        use pintle_plugin_scheduler::{pod::RawPod, shape::{Shape, tolerations}, view::{Placed, State, View}};
        let scoring_strategy = if strategy { Strategy::LeastAllocated } else { Strategy::MostAllocated };
        let settings = Config { scoring_strategy, ..Config::default() }.profiles().unwrap().remove(0).1;
        let shape_of = |cpu: i64, group: u8| {
            let object = pod(0, cpu, 0, group, "");
            {
                let pod = RawPod::read(&object).unwrap();
                let tolerations = tolerations(&pod).unwrap();
                let serial = 4 * cpu as u64 + u64::from(group);
                std::rc::Rc::new(Shape::of(&pod, Requests::of(&pod), tolerations, serial, &settings).unwrap())
            }
        };
        let mut view = View::new();
        for index in 0..8 {
            let json = json!({"metadata": {}, "spec": {}, "status": {"allocatable": {"cpu": "9", "memory": "1Gi", "pods": "9"}}});
            view.upsert_node(&format!("n{index}"), json.to_string().as_bytes()).unwrap();
        }
        let shape = shape_of(1, 1);
        let mut kept = Scores::default();
        kept.refresh(&view, &shape);
        for (index, (slot, cpu, group)) in placed.into_iter().enumerate() {
            let placed = Placed {
                slot, shape: shape_of(cpu, group), priority: 0, name: "p".into(), start_time: Box::default(),
                terminating: false, state: State::Bound,
            };
            view.place(&format!("p{}", index % 12), placed);
            kept.refresh(&view, &shape);
            let mut fresh = Scores::default();
            fresh.refresh(&view, &shape);
            for slot in 0..view.len() {
                prop_assert_eq!(kept.values()[slot], fresh.values()[slot]);
            }
        }
    }
}
