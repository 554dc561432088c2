//! Budgets and what they allow.

use pintle_plugin_disruption::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

/// A ReplicaSet that wants `wanted` pods, of which `ready` are ready.
fn cluster(wanted: usize, ready: usize, spec: Value) -> Cluster {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let set = cluster.create(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": wanted}}));
    let uid = cluster.object(&set).unwrap()["metadata"]["uid"].clone();
    for number in 0..wanted {
        let status = if number < ready { "True" } else { "False" };
        cluster.create(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("web-{number}"), "namespace": "default", "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true}]},
            "spec": {"nodeName": "n"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}));
    }
    let mut budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}}});
    pintle_sdk_testing::merge_patch(&mut budget, &json!({ "spec": spec }));
    cluster.create(budget);
    cluster.settle();
    cluster
}

fn budget() -> ObjectRef {
    POD_DISRUPTION_BUDGET.named("default", "web")
}

fn allowed(cluster: &Cluster) -> (i64, i64, i64) {
    let status = &cluster.object(&budget()).unwrap()["status"];
    let number = |field: &str| status[field].as_i64().unwrap();
    (number("expectedPods"), number("desiredHealthy"), number("disruptionsAllowed"))
}

#[test]
fn bounds_as_numbers_and_percentages() {
    fn check(wanted: usize, ready: usize, spec: Value, expect: (i64, i64, i64)) {
        assert_eq!(allowed(&cluster(wanted, ready, spec.clone())), expect, "{spec}");
    }
    check(4, 4, json!({"minAvailable": 3}), (4, 3, 1));
    check(4, 3, json!({"minAvailable": 3}), (4, 3, 0));
    check(4, 4, json!({"minAvailable": "50%"}), (4, 2, 2));
    check(5, 5, json!({"minAvailable": "50%"}), (5, 3, 2));
    check(4, 4, json!({"maxUnavailable": 1}), (4, 3, 1));
    check(4, 2, json!({"maxUnavailable": 1}), (4, 3, 0));
    check(4, 4, json!({"maxUnavailable": "50%"}), (4, 2, 2));
    check(4, 4, json!({"maxUnavailable": 0}), (4, 4, 0));
    check(2, 2, json!({"minAvailable": 100}), (2, 100, 0));
}

#[test]
fn readiness_is_followed() {
    let mut cluster = cluster(3, 3, json!({"minAvailable": 2}));
    assert_eq!(allowed(&cluster).2, 1);
    let conditions = json!([{"type": "Ready", "status": "False"}]);
    cluster.patch_status(&POD.named("default", "web-0"), json!({ "conditions": conditions }));
    cluster.settle();
    assert_eq!(allowed(&cluster).2, 0);
    let condition = &cluster.object(&budget()).unwrap()["status"]["conditions"][0];
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("InsufficientPods"))
    );
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn a_granted_eviction_counts_until_it_is_seen_or_forgotten() {
    let mut cluster = cluster(3, 3, json!({"minAvailable": 2}));
    let now = pintle_sdk::api::time::format_seconds(cluster.now_unix_ms);
    cluster
        .patch_status(&budget(), json!({"disruptedPods": {"web-1": now}, "disruptionsAllowed": 0}));
    cluster.settle();
    assert_eq!(allowed(&cluster).2, 0);
    cluster.advance(119_000);
    assert_eq!(allowed(&cluster).2, 0);
    cluster.advance(2_000);
    assert_eq!(allowed(&cluster).2, 1);
    assert_eq!(cluster.object(&budget()).unwrap()["status"]["disruptedPods"], json!({}));
}

#[test]
fn pods_without_controller_are_not_expected() {
    let mut cluster = cluster(1, 1, json!({"minAvailable": "50%"}));
    let ready = json!([{"type": "Ready", "status": "True"}]);
    cluster.create(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "bare", "namespace": "default", "labels": {"app": "web"}}, "spec": {},
        "status": {"phase": "Running", "conditions": ready}}));
    cluster.settle();
    let budget = cluster.object(&budget()).unwrap();
    assert_eq!(budget["status"]["expectedPods"], 1);
    assert_eq!(budget["status"]["currentHealthy"], 2);
    assert_eq!(cluster.events.last().unwrap().reason, "UnmanagedPods");
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn owners_without_a_scale_cannot_be_counted() {
    let mut cluster = cluster(1, 1, json!({"minAvailable": "50%"}));
    let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d",
        "controller": true});
    cluster.create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "daemon",
        "namespace": "default", "labels": {"app": "web"}, "ownerReferences": [owner]}, "spec": {}}));
    cluster.settle();
    assert_eq!(allowed(&cluster).2, 0);
    let event = cluster.events.last().unwrap();
    assert_eq!(
        (event.reason.as_str(), event.note.as_str()),
        (
            "CalculateExpectedPodCountFailed",
            "Failed to calculate the number of expected pods: daemonsets.apps does not implement the scale subresource"
        )
    );
    assert!(cluster.restart().actions.is_empty());
}
