//! Uses everything that world `scheduler-plugin` of 0.1.0 has: deltas, every
//! decision, `forget`, and what extensions say. The name of a pod says which
//! decision it gets.

use std::cell::RefCell;
use std::collections::BTreeMap;

wit_bindgen::generate!({ path: "../../../../wit", world: "scheduler-plugin" });

use exports::pintle::plugin::scheduler::{
    Binding, Decision, Description, Guest, Preemption, Unschedulable, Wake,
};
use pintle::plugin::extensions;
use pintle::plugin::log::{Level, log};
use pintle::plugin::types::{Context, Delta, Grant, KindRef, Manifest, Object};

struct Golden;

#[derive(Default)]
struct View {
    /// Pods by node.
    nodes: BTreeMap<String, Vec<String>>,
    forgotten: Vec<String>,
}

thread_local! {
    static VIEW: RefCell<View> = RefCell::new(View::default());
}

fn kind(kind: &str) -> KindRef {
    KindRef { group: String::new(), version: "v1".into(), kind: kind.into() }
}

/// The only field that is needed of a pod.
fn node_name(pod: &Object) -> Option<String> {
    let text = String::from_utf8_lossy(&pod.json).into_owned();
    let rest = text.split_once("\"nodeName\":\"")?.1;
    Some(rest.split_once('"')?.0.to_owned())
}

impl View {
    fn take(&mut self, uid: &str) {
        for pods in self.nodes.values_mut() {
            pods.retain(|pod| pod != uid);
        }
    }

    fn give(&mut self, uid: &str, node: &str) {
        self.take(uid);
        self.nodes.entry(node.to_owned()).or_default().push(uid.to_owned());
    }

    /// The best node by what extensions say, then the emptiest, then by name.
    fn pick(&self, uid: &str) -> Result<String, String> {
        let version = extensions::evaluate(uid);
        let (mut rejected, mut scores) = (BTreeMap::new(), BTreeMap::new());
        if version != 0 {
            log(Level::Debug, &format!("numbering {} version {version}", extensions::numbering()));
            let names = extensions::nodes();
            let evaluation = extensions::read(version);
            for rejection in &evaluation.rejections {
                for number in &rejection.nodes {
                    rejected.insert(names[*number as usize].clone(), rejection.reason.clone());
                }
            }
            for (name, score) in names.into_iter().zip(evaluation.scores) {
                scores.insert(name, score);
            }
        }
        let fitting = self.nodes.iter().filter(|(name, _)| !rejected.contains_key(*name));
        let best = fitting.min_by_key(|(name, pods)| {
            (u16::MAX - scores.get(*name).copied().unwrap_or(0), pods.len())
        });
        best.map(|(name, _)| name.clone()).ok_or_else(|| {
            let reason = rejected.values().next().map_or("none", String::as_str);
            format!("0/{} nodes are available: {reason}", self.nodes.len())
        })
    }
}

impl Guest for Golden {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        if config == br#"{"refuse":true}"# {
            return Err("refused as asked".into());
        }
        let need = |name: &str, verbs: &[&str]| Grant {
            kind: kind(name),
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            reason: "to schedule".into(),
        };
        let needs = vec![
            need("Node", &["list", "watch"]),
            need("Pod", &["list", "watch", "bind", "delete"]),
            need("ConfigMap", &["list", "watch"]),
        ];
        Ok(Description {
            manifest: Manifest { name: "golden-scheduler".into(), version: "0.1.0".into(), needs },
            scheduler_names: vec!["default-scheduler".into()],
            watches: vec![kind("ConfigMap")],
        })
    }

    fn sync(deltas: Vec<Delta>) {
        VIEW.with_borrow_mut(|view| {
            for delta in deltas {
                match delta {
                    Delta::Upsert(object) if object.ref_.kind.kind == "Node" => {
                        view.nodes.entry(object.ref_.name).or_default();
                    }
                    Delta::Upsert(object) if object.ref_.kind.kind == "Pod" => {
                        let node = node_name(&object).expect("pods that come in are bound");
                        view.give(&object.uid, &node);
                    }
                    Delta::Remove(object) if object.ref_.kind.kind == "Node" => {
                        view.nodes.remove(&object.ref_.name);
                    }
                    Delta::Remove(object) => view.take(&object.uid),
                    Delta::Upsert(_) => {}
                }
            }
        });
    }

    fn schedule(_: Context, pods: Vec<Object>) -> Vec<Decision> {
        VIEW.with_borrow_mut(|view| {
            pods.into_iter()
                .map(|pod| {
                    let pod_uid = pod.uid;
                    match pod.ref_.name.as_str() {
                        "trapping" => panic!("asked to trap"),
                        "ignored" => Decision::Ignore("as asked".into()),
                        "stuck" => Decision::Unschedulable(Unschedulable {
                            pod_uid,
                            message: format!("stuck; {} forgotten", view.forgotten.len()),
                            wake_on: Wake::NODE_CHANGED
                                | Wake::POD_REMOVED
                                | Wake::POD_ADDED
                                | Wake::OTHER_CHANGED,
                        }),
                        "preempting" => {
                            let full = view.nodes.iter().find(|(_, pods)| !pods.is_empty());
                            let Some((node, victims)) = full else {
                                return Decision::Ignore("nobody to preempt".into());
                            };
                            Decision::Preempt(Preemption {
                                pod_uid,
                                node: node.clone(),
                                victims: victims[..1].to_vec(),
                                message: "makes room".into(),
                            })
                        }
                        _ => match view.pick(&pod_uid) {
                            Ok(node) => {
                                view.give(&pod_uid, &node);
                                Decision::Bind(Binding { pod_uid, node })
                            }
                            Err(message) => Decision::Unschedulable(Unschedulable {
                                pod_uid,
                                message,
                                wake_on: Wake::NODE_CHANGED,
                            }),
                        },
                    }
                })
                .collect()
        })
    }

    fn forget(pod_uids: Vec<String>) {
        VIEW.with_borrow_mut(|view| {
            for uid in pod_uids {
                view.take(&uid);
                view.forgotten.push(uid);
            }
        });
    }
}

export!(Golden);
