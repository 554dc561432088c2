//! A scheduler extension that does what its configuration says:
//!
//! | Key | |
//! |---|---|
//! | `score: zone` | 100 for nodes whose label `zone` is the pod's, else 0 |
//! | `score: label` | what the node's label `score` says |
//! | `filter: zone` | no node of another zone, `node(s) in another zone` |
//! | `filter: single` | no node with a pod of the same label `app`; watches Pod |
//! | `filter: gate` | no node unless ConfigMap `default/open` exists; watches ConfigMap |
//! | `fault` | `trap`, `loop`, `hoard`, `score`, `number` in every answer, `sync` in `sync-nodes`, `late` on the 20th answer |
//! | `poison` | traps on the pod of this name |
//! | `slow` | so many thousand rounds of work per answer |

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

wit_bindgen::generate!({ path: "../../../../../wit", world: "scheduler-extension-plugin" });

use exports::pintle::plugin::scheduler_extension::{
    Ability, Description, Guest, NumberedNode, Rejection,
};
use pintle::plugin::log;
use pintle::plugin::types::{Context, Delta, Grant, KindRef, Manifest, Object};

struct Configured;

struct Node {
    name: String,
    zone: String,
    score: u8,
}

#[derive(Default)]
struct View {
    config: Value,
    nodes: Vec<Option<Node>>,
    /// Node and label `app` of bound pods, by uid.
    pods: BTreeMap<String, (String, String)>,
    open: BTreeSet<String>,
    answers: u64,
}

thread_local! {
    static VIEW: RefCell<View> = RefCell::new(View::default());
}

fn kind(kind: &str) -> KindRef {
    KindRef { group: String::new(), version: "v1".into(), kind: kind.into() }
}

fn parse(object: &Object) -> Value {
    serde_json::from_slice(&object.json).unwrap()
}

fn label(object: &Value, key: &str) -> String {
    object["metadata"]["labels"][key].as_str().unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

impl View {
    fn says(&self, key: &str, value: &str) -> bool {
        self.config[key].as_str() == Some(value)
    }

    fn misbehave(&mut self, pod: &Object) {
        self.answers += 1;
        assert!(!self.says("poison", &pod.ref_.name), "asked to trap on {}", pod.ref_.name);
        match self.config["fault"].as_str() {
            Some("trap") => panic!("asked to trap"),
            Some("late") if self.answers == 20 => panic!("asked to trap on the 20th answer"),
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
        for round in 0..1000 * self.config["slow"].as_u64().unwrap_or(0) {
            std::hint::black_box(round);
        }
    }

    fn rejected(&self, unfit: impl Fn(&Node) -> bool) -> Vec<u32> {
        let nodes = (0..).zip(&self.nodes);
        nodes.filter(|(_, node)| node.as_ref().is_some_and(&unfit)).map(|(n, _)| n).collect()
    }
}

impl Guest for Configured {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        std::panic::set_hook(Box::new(|info| log::log(log::Level::Error, &info.to_string())));
        let config: Value = serde_json::from_slice(&config).map_err(|error| error.to_string())?;
        let version = config["version"].as_str().unwrap_or("1").to_owned();
        let mut abilities = Ability::empty();
        if config["filter"].is_string() || config["fault"] == "number" {
            abilities = abilities | Ability::FILTER;
        }
        if config["score"].is_string() || config["fault"] == "score" {
            abilities = abilities | Ability::SCORE;
        }
        let watches: Vec<KindRef> = match config["filter"].as_str() {
            Some("single") => vec![kind("Pod")],
            Some("gate") => vec![kind("ConfigMap")],
            _ => Vec::new(),
        };
        let need = |kind: &KindRef| Grant {
            kind: kind.clone(),
            verbs: vec!["watch".into()],
            reason: "to answer".into(),
        };
        let needs = [kind("Node")].iter().chain(&watches).map(need).collect();
        let description = Description {
            manifest: Manifest { name: "configured".into(), version, needs },
            scheduler_names: strings(&config["schedulerNames"]),
            watches,
            abilities,
            pod_fields: strings(&config["podFields"]),
        };
        VIEW.with_borrow_mut(|view| view.config = config);
        Ok(description)
    }

    fn sync_nodes(nodes: Vec<NumberedNode>) {
        VIEW.with_borrow_mut(|view| {
            assert!(!view.says("fault", "sync"), "asked to trap in sync-nodes");
            for NumberedNode { number, node } in nodes {
                let number = number as usize;
                if view.nodes.len() <= number {
                    view.nodes.resize_with(number + 1, || None);
                }
                view.nodes[number] = node.map(|node| {
                    let value = parse(&node);
                    Node {
                        name: node.ref_.name,
                        zone: label(&value, "zone"),
                        score: label(&value, "score").parse().unwrap_or(0),
                    }
                });
            }
        });
    }

    fn sync(deltas: Vec<Delta>) {
        VIEW.with_borrow_mut(|view| {
            for delta in deltas {
                match delta {
                    Delta::Upsert(object) if object.ref_.kind.kind == "Pod" => {
                        let value = parse(&object);
                        let node = value["spec"]["nodeName"].as_str().unwrap().to_owned();
                        view.pods.insert(object.uid, (node, label(&value, "app")));
                    }
                    Delta::Remove(object) if object.ref_.kind.kind == "Pod" => {
                        view.pods.remove(&object.uid);
                    }
                    Delta::Upsert(object) => {
                        view.open.insert(object.ref_.name);
                    }
                    Delta::Remove(object) => {
                        view.open.remove(&object.ref_.name);
                    }
                }
            }
        });
    }

    fn filter(_: Context, pod: Object) -> Vec<Rejection> {
        VIEW.with_borrow_mut(|view| {
            view.misbehave(&pod);
            let value = parse(&pod);
            let (reason, nodes) = match view.config["filter"].as_str() {
                Some("zone") => {
                    let zone = label(&value, "zone");
                    let other = |node: &Node| !zone.is_empty() && node.zone != zone;
                    ("node(s) in another zone", view.rejected(other))
                }
                Some("single") => {
                    let app = label(&value, "app");
                    let taken: BTreeSet<&String> = view
                        .pods
                        .iter()
                        .filter(|(uid, (_, other))| **uid != pod.uid && *other == app)
                        .map(|(_, (node, _))| node)
                        .collect();
                    ("node(s) had such a pod", view.rejected(|node| taken.contains(&node.name)))
                }
                Some("gate") => {
                    ("the gate is closed", view.rejected(|_| !view.open.contains("open")))
                }
                _ => ("no such node", vec![u32::MAX]),
            };
            vec![Rejection { reason: reason.to_owned(), nodes }]
        })
    }

    fn score(_: Context, pod: Object) -> Vec<u8> {
        VIEW.with_borrow_mut(|view| {
            view.misbehave(&pod);
            if view.says("fault", "score") {
                return vec![101; view.nodes.len()];
            }
            let zone = label(&parse(&pod), "zone");
            let by_zone = view.says("score", "zone");
            let score = |node: &Option<Node>| match node {
                None => 0,
                Some(node) if by_zone => 100 * u8::from(node.zone == zone),
                Some(node) => node.score,
            };
            view.nodes.iter().map(score).collect()
        })
    }
}

export!(Configured);
