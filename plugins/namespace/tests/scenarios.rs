//! A namespace from creation to the end.

use pintle_plugin_namespace::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

fn cluster() -> Cluster {
    Cluster::new().with::<Plugin>(json!({}))
}

fn add(cluster: &mut Cluster, kind: &str, namespace: &str, name: &str, extra: Value) -> ObjectRef {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": {}});
    pintle_sdk_testing::merge_patch(&mut object, &extra);
    cluster.create(object)
}

fn add_namespace(cluster: &mut Cluster, name: &str) -> ObjectRef {
    cluster.create(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {}}),
    )
}

fn condition(cluster: &Cluster, namespace: &ObjectRef, r#type: &str) -> String {
    let conditions =
        cluster.object(namespace).unwrap()["status"]["conditions"].as_array().unwrap().clone();
    let found = conditions.into_iter().find(|condition| condition["type"] == r#type).unwrap();
    found["message"].as_str().unwrap().to_owned()
}

#[test]
fn new_namespaces_are_furnished_and_stay_so() {
    let mut cluster = cluster();
    add_namespace(&mut cluster, "web");
    cluster.settle();
    let account = SERVICE_ACCOUNT.named("web", "default");
    assert!(cluster.object(&account).is_some());
    cluster.delete(&account);
    cluster.settle();
    assert!(cluster.object(&account).is_some());
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn a_deleted_namespace_is_emptied_pods_first() {
    let mut cluster = cluster();
    let namespace = add_namespace(&mut cluster, "web");
    let other = add_namespace(&mut cluster, "other");
    let running = add(&mut cluster, "Pod", "web", "running", json!({"spec": {"nodeName": "n1"}}));
    add(&mut cluster, "Pod", "web", "pending", json!({}));
    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    let secret = add(&mut cluster, "Secret", "web", "held", held);
    cluster.settle();
    cluster.delete(&namespace);
    cluster.settle();
    // The pod on a node has its grace; nothing else is touched meanwhile.
    assert!(cluster.object(&running).unwrap()["metadata"].get("deletionTimestamp").is_some());
    assert!(cluster.object(&secret).unwrap()["metadata"].get("deletionTimestamp").is_none());
    assert_eq!(
        condition(&cluster, &namespace, "NamespaceContentRemaining"),
        "Some resources are remaining: pods. has 1 resource instances"
    );
    cluster.remove(&running);
    cluster.settle();
    assert_eq!(
        condition(&cluster, &namespace, "NamespaceFinalizersRemaining"),
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    );
    cluster.patch(&secret, json!({"metadata": {"finalizers": null}}));
    cluster.settle();
    assert!(cluster.object(&namespace).is_none());
    assert!(cluster.object(&SERVICE_ACCOUNT.named("web", "default")).is_none());
    assert!(cluster.object(&other).is_some());
}

#[test]
fn a_full_namespace_goes_in_steps() {
    let mut cluster = cluster();
    let namespace = add_namespace(&mut cluster, "web");
    for index in 0..1200 {
        add(&mut cluster, "ConfigMap", "web", &format!("map-{index}"), json!({}));
    }
    cluster.settle();
    cluster.delete(&namespace);
    cluster.advance(1000);
    assert!(cluster.object(&namespace).is_none());
}
