//! Prints what a decision costs natively: 5000 nodes, pods of one template, of
//! 64 templates in turn, and each of a template of its own.

use std::time::Instant;

use pintle_plugin_scheduler::{Config, Plugin};
use pintle_sdk::NoExtensions;
use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::{Decision, Delta, Scheduler};
use serde_json::json;

const NODES: usize = 5000;
const PODS: usize = 5000;

fn object(kind: KindRef, name: String, json: serde_json::Value) -> Object {
    Object {
        reference: kind.named("", name.clone()),
        uid: name,
        revision: 1,
        json: json.to_string().into_bytes(),
    }
}

fn node(index: usize) -> Delta {
    let name = format!("node-{index}");
    let json = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": format!("z{}", index % 3)}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110"}},
    });
    Delta::Upsert(object(NODE, name, json))
}

fn pod(index: usize, template: usize) -> Object {
    let json = json!({
        "metadata": {"name": format!("pod-{index}"), "namespace": "default", "labels": {"app": "web"},
            "ownerReferences": [{"uid": format!("rs-{template}"), "controller": true}]},
        "spec": {"containers": [{"name": "c", "image": "web:1", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]},
        "status": {"phase": "Pending"},
    });
    object(POD, format!("pod-{index}"), json)
}

fn main() {
    for (what, templates) in
        [("one template", 1), ("64 templates in turn", 64), ("a template per pod", PODS)]
    {
        let mut plugin = Plugin::new(Config::default()).expect("the default configuration");
        let nodes: Vec<Delta> = (0..NODES).map(node).collect();
        let start = Instant::now();
        plugin.sync(nodes);
        let replay = start.elapsed().as_secs_f64() * 1e3;
        let pods: Vec<Object> = (0..PODS).map(|index| pod(index, index % templates)).collect();
        let start = Instant::now();
        let mut bound = 0;
        for (batch, pods) in pods.chunks(100).enumerate() {
            let context = Context { now_unix_ms: 0, seed: batch as u64, revision: 1 };
            let decisions = plugin.schedule(&context, &NoExtensions, pods.to_vec());
            bound += decisions
                .iter()
                .filter(|decision| matches!(decision, Decision::Bind { .. }))
                .count();
        }
        let each = start.elapsed().as_secs_f64() * 1e6 / PODS as f64;
        println!(
            "{what}: {each:.1} µs a decision, {bound} of {PODS} bound; {NODES} nodes replayed in {replay:.1} ms"
        );
    }
}
