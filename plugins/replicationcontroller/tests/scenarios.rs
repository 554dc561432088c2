//! A ReplicationController and its pods.

use pintle_plugin_replicationcontroller::{Plugin, REPLICATION_CONTROLLER};
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::json;

#[test]
fn creates_adopts_reports_and_deletes() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    cluster.create(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "orphan", "namespace": "default", "labels": {"app": "web"}}, "spec": {}}));
    let controller = cluster.create(json!({"apiVersion": "v1", "kind": "ReplicationController",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 3, "selector": {"app": "web"},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}}}));
    cluster.settle();
    assert_eq!(cluster.all(&POD).len(), 3);
    let orphan = cluster.object(&POD.named("default", "orphan")).unwrap();
    assert_eq!(orphan["metadata"]["ownerReferences"][0]["kind"], "ReplicationController");
    assert_eq!(
        cluster.object(&controller).unwrap()["status"],
        json!({"replicas": 3, "fullyLabeledReplicas": 3, "observedGeneration": 1})
    );
    assert!(cluster.restart().actions.is_empty());
    cluster.patch(&controller, json!({"spec": {"replicas": 1}}));
    cluster.settle();
    assert_eq!(cluster.all(&POD).len(), 1);
    assert_eq!(controller.kind, REPLICATION_CONTROLLER);
}
