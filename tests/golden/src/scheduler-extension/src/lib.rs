//! Uses everything that world `scheduler-extension-plugin` of 0.1.0 has: nodes
//! by number, deltas of another kind, `filter` and `score`. A ConfigMap named as
//! a node makes it the best one; pods named `picky…` keep off nodes named `…-1`.

use std::cell::RefCell;
use std::collections::BTreeSet;

wit_bindgen::generate!({ path: "../../../../wit", world: "scheduler-extension-plugin" });

use exports::pintle::plugin::scheduler_extension::{
    Ability, Description, Guest, NumberedNode, Rejection,
};
use pintle::plugin::log::{Level, log};
use pintle::plugin::types::{Context, Delta, Grant, KindRef, Manifest, Object};

struct Golden;

#[derive(Default)]
struct View {
    /// Names by number; empty: not in use.
    nodes: Vec<String>,
    best: BTreeSet<String>,
}

thread_local! {
    static VIEW: RefCell<View> = RefCell::new(View::default());
}

fn kind(kind: &str) -> KindRef {
    KindRef { group: String::new(), version: "v1".into(), kind: kind.into() }
}

impl Guest for Golden {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        if config == br#"{"refuse":true}"# {
            return Err("refused as asked".into());
        }
        let need = |name: &str| Grant {
            kind: kind(name),
            verbs: vec!["watch".into()],
            reason: "to know them".into(),
        };
        Ok(Description {
            manifest: Manifest {
                name: "golden-scheduler-extension".into(),
                version: "0.1.0".into(),
                needs: vec![need("Node"), need("ConfigMap")],
            },
            scheduler_names: vec!["default-scheduler".into()],
            watches: vec![kind("ConfigMap")],
            abilities: Ability::FILTER | Ability::SCORE,
            pod_fields: vec!["metadata.name".into()],
        })
    }

    fn sync_nodes(nodes: Vec<NumberedNode>) {
        VIEW.with_borrow_mut(|view| {
            for NumberedNode { number, node } in nodes {
                let number = number as usize;
                if view.nodes.len() <= number {
                    view.nodes.resize(number + 1, String::new());
                }
                view.nodes[number] = node.map(|node| node.ref_.name).unwrap_or_default();
            }
        });
    }

    fn sync(deltas: Vec<Delta>) {
        VIEW.with_borrow_mut(|view| {
            for delta in deltas {
                match delta {
                    Delta::Upsert(object) => view.best.insert(object.ref_.name),
                    Delta::Remove(object) => view.best.remove(&object.ref_.name),
                };
            }
        });
    }

    fn filter(_: Context, pod: Object) -> Vec<Rejection> {
        if pod.ref_.name == "trapping" {
            log(Level::Error, "about to trap");
            panic!("asked to trap");
        }
        if !pod.ref_.name.starts_with("picky") {
            return Vec::new();
        }
        VIEW.with_borrow(|view| {
            let nodes = (0..).zip(&view.nodes).filter(|(_, name)| name.ends_with("-1"));
            let nodes: Vec<u32> = nodes.map(|(number, _)| number).collect();
            vec![Rejection { reason: "node(s) named so".into(), nodes }]
        })
    }

    fn score(_: Context, _: Object) -> Vec<u8> {
        VIEW.with_borrow(|view| {
            view.nodes.iter().map(|name| if view.best.contains(name) { 100 } else { 0 }).collect()
        })
    }
}

export!(Golden);
