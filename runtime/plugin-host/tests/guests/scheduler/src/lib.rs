//! Binds to the node with the fewest pods that it knows of; counts, because a
//! scheduler that forgets or doubles a pod shows in the counts. Nodes hold
//! `spec.capacity` pods (default: any number). With `extensions: true` it asks
//! scheduler extensions first: nodes that they reject are out, and the best
//! score comes before the fewest pods.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

wit_bindgen::generate!({ path: "../../../../../wit", world: "scheduler-plugin" });

use exports::pintle::plugin::scheduler::{Binding, Decision, Description, Guest, Preemption, Unschedulable, Wake};
use pintle::plugin::extensions::{self, Evaluation};
use pintle::plugin::log;
use pintle::plugin::types::{Context, Delta, Grant, KindRef, Manifest, Object};

struct Counting;

#[derive(Default)]
struct View {
    config: Value,
    /// Capacity by node.
    nodes: BTreeMap<String, u64>,
    /// Node by pod uid.
    pods: BTreeMap<String, String>,
    counts: BTreeMap<String, u64>,
    /// Known nodes by count, so that the emptiest is found at once.
    order: BTreeSet<(u64, String)>,
    /// Pods so far.
    asked: u64,
    leaked: Vec<Vec<u8>>,
}

thread_local! {
    static VIEW: RefCell<View> = RefCell::new(View::default());
}

fn kind(kind: &str) -> KindRef {
    KindRef { group: String::new(), version: "v1".into(), kind: kind.into() }
}

impl View {
    fn count(&self, node: &str) -> u64 {
        self.counts.get(node).copied().unwrap_or(0)
    }

    fn recount(&mut self, node: &str, count: u64) {
        let before = self.counts.insert(node.to_owned(), count).unwrap_or(0);
        if self.order.remove(&(before, node.to_owned())) {
            self.order.insert((count, node.to_owned()));
        }
    }

    fn give(&mut self, uid: &str, node: &str) {
        self.take(uid);
        self.pods.insert(uid.to_owned(), node.to_owned());
        self.recount(node, self.count(node) + 1);
    }

    fn take(&mut self, uid: &str) {
        if let Some(node) = self.pods.remove(uid) {
            self.recount(&node, self.count(&node) - 1);
        }
    }

    fn node(&mut self, name: String, capacity: u64) {
        self.order.insert((self.count(&name), name.clone()));
        self.nodes.insert(name, capacity);
    }

    fn pick(&self, pod_uid: &str) -> Result<String, String> {
        let asked = self.config["extensions"] == true;
        let version = if asked { extensions::evaluate(pod_uid) } else { 0 };
        let said = if version == 0 { Said::default() } else { Said::from(extensions::read(version)) };
        let free = self.order.iter().filter(|(count, node)| *count < self.nodes[node]);
        let mut fitting = free.filter(|(_, node)| !said.rejected.contains_key(node));
        let best = if self.config["pick"] == "fullest" {
            fitting.next_back()
        } else if said.scores.is_empty() {
            fitting.next()
        } else {
            // The first of the best, which has the fewest pods.
            fitting.min_by_key(|(_, node)| u16::MAX - said.scores.get(node).copied().unwrap_or(0))
        };
        best.map(|(_, node)| node.clone()).ok_or_else(|| {
            let mut reasons = BTreeMap::<&str, usize>::new();
            for reason in said.rejected.values() {
                *reasons.entry(reason).or_default() += 1;
            }
            let reasons: Vec<String> =
                reasons.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            let all = self.nodes.len();
            if reasons.is_empty() {
                format!("0/{all} nodes are available")
            } else {
                format!("0/{all} nodes are available: {}.", reasons.join(", "))
            }
        })
    }
}

/// What extensions say, by the names of nodes.
#[derive(Default)]
struct Said {
    rejected: BTreeMap<String, String>,
    scores: BTreeMap<String, u16>,
}

impl From<Evaluation> for Said {
    fn from(evaluation: Evaluation) -> Self {
        let names = extensions::nodes();
        let name = |number: usize| names.get(number).cloned().unwrap_or_default();
        let mut said = Self::default();
        for rejection in evaluation.rejections {
            for number in rejection.nodes {
                said.rejected.insert(name(number as usize), rejection.reason.clone());
            }
        }
        for (number, score) in evaluation.scores.into_iter().enumerate() {
            said.scores.insert(name(number), score);
        }
        said
    }
}

impl View {
    /// Faults that come after a while, and decisions that others would not make.
    fn misbehave(&mut self, pod: &Object) -> Option<Decision> {
        self.asked += 1;
        if self.config["trapAt"].as_u64() == Some(self.asked) {
            panic!("asked to trap at pod number {}", self.asked);
        }
        if let Some(bytes) = self.config["leak"].as_u64() {
            self.leaked.push(std::hint::black_box(vec![1_u8; bytes as usize]));
        }
        if self.config["schedule"] == "preempt" {
            return Some(Decision::Preempt(Preemption {
                pod_uid: pod.uid.clone(),
                node: String::new(),
                victims: Vec::new(),
                message: "asked to preempt".into(),
            }));
        }
        if self.config["schedule"] == "nowhere" {
            let node = "nowhere".to_owned();
            return Some(Decision::Bind(Binding { pod_uid: pod.uid.clone(), node }));
        }
        // Every so many pods are given to the fullest node instead.
        let every = self.config["differs"].as_u64()?;
        let fullest = self.order.iter().next_back()?.1.clone();
        if self.asked % every != 0 {
            return None;
        }
        self.give(&pod.uid, &fullest);
        Some(Decision::Bind(Binding { pod_uid: pod.uid.clone(), node: fullest }))
    }
}

impl Guest for Counting {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        std::panic::set_hook(Box::new(|info| log::log(log::Level::Error, &info.to_string())));
        let config: Value = serde_json::from_slice(&config).map_err(|error| error.to_string())?;
        let version = config["version"].as_str().unwrap_or("1").to_owned();
        let name = config["schedulerName"].as_str().unwrap_or("default-scheduler").to_owned();
        VIEW.with_borrow_mut(|view| view.config = config);
        let need = |name: &str, verbs: &[&str]| Grant {
            kind: kind(name),
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            reason: "to schedule".into(),
        };
        let needs = vec![need("Node", &["list", "watch"]), need("Pod", &["list", "watch", "bind"])];
        Ok(Description {
            manifest: Manifest { name: "counting".into(), version, needs },
            scheduler_names: vec![name],
            watches: Vec::new(),
        })
    }

    fn sync(deltas: Vec<Delta>) {
        VIEW.with_borrow_mut(|view| {
            for delta in deltas {
                match delta {
                    Delta::Upsert(object) => {
                        let value: Value = serde_json::from_slice(&object.json).unwrap();
                        if object.ref_.kind.kind == "Node" {
                            let capacity = value["spec"]["capacity"].as_u64().unwrap_or(u64::MAX);
                            view.node(object.ref_.name, capacity);
                        } else {
                            let node = value["spec"]["nodeName"].as_str().unwrap().to_owned();
                            view.give(&object.uid, &node);
                        }
                    }
                    Delta::Remove(object) if object.ref_.kind.kind == "Node" => {
                        let count = view.count(&object.ref_.name);
                        view.order.remove(&(count, object.ref_.name.clone()));
                        view.nodes.remove(&object.ref_.name);
                    }
                    Delta::Remove(object) => view.take(&object.uid),
                }
            }
        });
    }

    fn schedule(_: Context, pods: Vec<Object>) -> Vec<Decision> {
        VIEW.with_borrow_mut(|view| {
            match view.config["schedule"].as_str() {
                Some("trap") => panic!("asked to trap in schedule"),
                Some("short") => return Vec::new(),
                Some("loop") => loop {
                    std::hint::black_box(());
                },
                Some("hoard") => {
                    let mut hoard = Vec::new();
                    loop {
                        hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                    }
                }
                _ => {}
            }
            pods.into_iter()
                .map(|pod| {
                    if view.config["poison"].as_str().is_some_and(|poison| poison == pod.ref_.name) {
                        panic!("asked to trap on {}", pod.ref_.name);
                    }
                    if let Some(decision) = view.misbehave(&pod) {
                        return decision;
                    }
                    match view.pick(&pod.uid) {
                        Ok(node) => {
                            view.give(&pod.uid, &node);
                            Decision::Bind(Binding { pod_uid: pod.uid, node })
                        }
                        Err(message) => Decision::Unschedulable(Unschedulable {
                            pod_uid: pod.uid,
                            message,
                            wake_on: Wake::NODE_CHANGED | Wake::POD_REMOVED,
                        }),
                    }
                })
                .collect()
        })
    }

    fn forget(pod_uids: Vec<String>) {
        VIEW.with_borrow_mut(|view| pod_uids.iter().for_each(|uid| view.take(uid)));
    }
}

export!(Counting);
