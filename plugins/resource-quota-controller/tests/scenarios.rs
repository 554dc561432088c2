//! What a quota's status says.

use pintle_plugin_resource_quota_controller::Plugin;
use pintle_sdk::ObjectRef;
use pintle_sdk_testing::{
    Cluster,
    objects::{config_map, pod},
};
use serde_json::{Value, json};

fn start(hard: Value, scopes: Value) -> (Cluster, ObjectRef) {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let quota = cluster.create(json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": "default"},
        "spec": {"hard": hard, "scopes": scopes}}));
    cluster.settle();
    (cluster, quota)
}

fn used(cluster: &mut Cluster, quota: &ObjectRef) -> Value {
    cluster.settle();
    cluster.object(quota).unwrap()["status"]["used"].clone()
}

#[test]
fn what_comes_and_goes_is_counted() {
    let hard = json!({"pods": "10", "requests.cpu": "4", "configmaps": "5",
        "count/deployments.apps": "1", "limits.memory": "1Gi"});
    let (mut cluster, quota) = start(hard.clone(), json!([]));
    let nothing = json!({"pods": "0", "requests.cpu": "0", "configmaps": "0",
        "count/deployments.apps": "0", "limits.memory": "0"});
    assert_eq!(used(&mut cluster, &quota), nothing);
    assert_eq!(cluster.object(&quota).unwrap()["status"]["hard"], hard);
    let first = cluster.create(pod("a").requests("cpu", "1500m"));
    cluster.create(pod("b").requests("cpu", "1"));
    cluster.create(pod("elsewhere").namespace("other").requests("cpu", "1"));
    let map = cluster.create(config_map("m"));
    let now = used(&mut cluster, &quota);
    assert_eq!((&now["pods"], &now["requests.cpu"]), (&json!("2"), &json!("2500m")));
    assert_eq!(now["configmaps"], "1");
    // What has ended uses nothing.
    cluster.patch_status(&first, json!({"phase": "Succeeded"}));
    cluster.remove(&map);
    let now = used(&mut cluster, &quota);
    assert_eq!((&now["pods"], &now["requests.cpu"]), (&json!("1"), &json!("1")));
    assert_eq!(now["configmaps"], "0");
}

#[test]
fn a_changed_quota_is_followed() {
    let (mut cluster, quota) = start(json!({"pods": "1", "configmaps": "1"}), json!([]));
    cluster.create(config_map("m"));
    cluster.patch(&quota, json!({"spec": {"hard": {"configmaps": null, "secrets": "3"}}}));
    assert_eq!(used(&mut cluster, &quota), json!({"pods": "0", "secrets": "0"}));
}

#[test]
fn scopes_choose_what_counts() {
    let (mut cluster, quota) = start(json!({"pods": "5"}), json!(["BestEffort"]));
    cluster.create(pod("frugal"));
    cluster.create(pod("demanding").requests("cpu", "1"));
    assert_eq!(used(&mut cluster, &quota), json!({"pods": "1"}));
}

#[test]
fn nothing_changes_when_nothing_happens() {
    let (mut cluster, quota) = start(json!({"pods": "5"}), json!([]));
    used(&mut cluster, &quota);
    let before = cluster.object(&quota).unwrap().clone();
    cluster.restart();
    assert_eq!(*cluster.object(&quota).unwrap(), before);
}
