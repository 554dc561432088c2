//! Pods that are left behind.

use pintle_plugin_pod_gc::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

fn cluster(config: Value) -> Cluster {
    let mut cluster = Cluster::new().with::<Plugin>(config);
    cluster.create(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {}}),
    );
    cluster
}

fn pod(name: &str, node: &str, phase: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node}, "status": {"phase": phase}})
}

fn names(cluster: &Cluster) -> Vec<String> {
    let name = |pod: &&Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
    cluster.all(&POD).iter().map(name).collect()
}

#[test]
fn pods_of_a_lost_node_fail_and_go() {
    let mut cluster = cluster(json!({}));
    cluster.create(pod("a", "n1", "Running"));
    cluster.settle();
    cluster.delete(&NODE.named("", "n1"));
    cluster.settle();
    assert_eq!(names(&cluster), ["a"], "the node may come back");
    let run = cluster.advance(40_000);
    assert!(names(&cluster).is_empty());
    let Action::Patch(patch) = &run.actions[0] else { panic!("{:?}", run.actions) };
    let body: Value = serde_json::from_slice(&patch.body).unwrap();
    assert_eq!(body["status"]["phase"], "Failed");
    assert_eq!(body["status"]["conditions"][0]["reason"], "DeletionByPodGC");
}

#[test]
fn a_node_that_comes_back_keeps_its_pods() {
    let mut cluster = cluster(json!({}));
    cluster.create(pod("a", "n2", "Running"));
    cluster.settle();
    cluster.create(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}, "spec": {}}),
    );
    cluster.advance(100_000);
    assert_eq!(names(&cluster), ["a"]);
}

#[test]
fn an_ending_pod_that_was_never_bound_goes() {
    let mut cluster = cluster(json!({}));
    let mut waiting = pod("a", "", "Pending");
    waiting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    cluster.insert(waiting);
    cluster.restart();
    assert!(names(&cluster).is_empty());
}

#[test]
fn an_ending_pod_on_a_node_out_of_service_goes() {
    let mut cluster = cluster(json!({}));
    let mut ending = pod("a", "n1", "Running");
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    cluster.insert(ending);
    cluster.restart();
    assert_eq!(names(&cluster), ["a"]);
    let taint = json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]);
    cluster.patch(&NODE.named("", "n1"), json!({"spec": {"taints": taint}}));
    cluster.settle();
    assert!(names(&cluster).is_empty());
}

#[test]
fn only_so_many_finished_pods_are_kept() {
    let mut cluster = cluster(json!({"terminatedPodThreshold": 2}));
    for (number, phase) in ["Succeeded", "Failed", "Succeeded", "Running"].iter().enumerate() {
        cluster.now_unix_ms += 1000;
        cluster.create(pod(&format!("p{number}"), "n1", phase));
        cluster.settle();
    }
    assert_eq!(names(&cluster), ["p1", "p2", "p3"]);
}
