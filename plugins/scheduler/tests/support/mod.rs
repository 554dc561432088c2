//! Nodes and pods in as few words as a scenario needs.

#![allow(dead_code, reason = "each scenario file uses what it needs")]

use pintle_plugin_scheduler::{Config, Plugin};
use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::{Decision, Delta, Scheduler};
use pintle_sdk::{Context, Extensions, KindRef, NoExtensions, Object};
use serde_json::{Value, json};

pub fn object(kind: KindRef, namespace: &str, name: &str, json: Value) -> Object {
    Object {
        reference: kind.named(namespace, name),
        uid: format!("{name}-uid"),
        revision: 1,
        json: serde_json::to_vec(&json).unwrap(),
    }
}

pub fn node(name: &str, cpu: &str, extra: Value) -> Object {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}},
    });
    merge(&mut node, extra);
    object(NODE, "", name, node)
}

pub fn pod(name: &str, cpu: &str, extra: Value) -> Object {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    });
    merge(&mut pod, extra);
    object(POD, "default", name, pod)
}

pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

pub fn configured(config: Value, nodes: &[Object]) -> Plugin {
    let config: Config = serde_json::from_value(config).unwrap();
    let mut plugin = Plugin::new(config).unwrap();
    plugin.sync(nodes.iter().cloned().map(Delta::Upsert).collect());
    plugin
}

pub fn plugin(nodes: &[Object]) -> Plugin {
    configured(json!({}), nodes)
}

pub fn upsert(plugin: &mut Plugin, objects: &[Object]) {
    plugin.sync(objects.iter().cloned().map(Delta::Upsert).collect());
}

pub fn context() -> Context {
    Context { now_unix_ms: 1_000_000, seed: 1, revision: 1 }
}

pub fn schedule(plugin: &mut Plugin, pod: &Object) -> Decision {
    schedule_with(plugin, &NoExtensions, pod)
}

pub fn schedule_with(plugin: &mut Plugin, extensions: &dyn Extensions, pod: &Object) -> Decision {
    plugin.schedule(&context(), extensions, vec![pod.clone()]).remove(0)
}

pub fn bound_to(plugin: &mut Plugin, pod: &Object) -> String {
    match schedule(plugin, pod) {
        Decision::Bind { node, .. } => node,
        other => panic!("{other:?}"),
    }
}

pub fn refusal(plugin: &mut Plugin, pod: &Object) -> String {
    match schedule(plugin, pod) {
        Decision::Unschedulable { message, .. } => message,
        other => panic!("{other:?}"),
    }
}
