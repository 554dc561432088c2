//! Aggregated roles through the whole controller.

use pintle_plugin_clusterrole_aggregation::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

fn part(name: &str, to: &str, verb: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {format!("to-{to}"): "true"}},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}],
    })
}

fn whole(name: &str, of: &str, to: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {format!("to-{to}"): "true"}},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {format!("to-{of}"): "true"}}]},
    })
}

fn verbs(cluster: &Cluster, name: &str) -> Vec<String> {
    let role = cluster.object(&CLUSTER_ROLE.named("", name)).expect("the role is there");
    let rules = role["rules"].as_array().cloned().unwrap_or_default();
    rules.iter().map(|rule| rule["verbs"][0].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn rules_come_by_name_each_once_and_go_with_their_role() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    cluster.create(whole("view", "view", "edit"));
    for (name, verb) in [("b", "list"), ("a", "get"), ("c", "get")] {
        cluster.create(part(name, "view", verb));
    }
    cluster.settle();
    assert_eq!(verbs(&cluster, "view"), ["get", "list"]);
    cluster.delete(&CLUSTER_ROLE.named("", "b"));
    cluster.settle();
    assert_eq!(verbs(&cluster, "view"), ["get"]);
}

#[test]
fn an_aggregated_role_may_be_part_of_another() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    cluster.create(whole("admin", "admin", "none"));
    cluster.create(whole("edit", "edit", "admin"));
    cluster.create(whole("view", "view", "edit"));
    cluster.create(part("reads", "view", "get"));
    cluster.create(part("writes", "edit", "update"));
    cluster.settle();
    assert_eq!(verbs(&cluster, "edit"), ["get", "update"]);
    assert_eq!(verbs(&cluster, "admin"), ["get", "update"]);
}

#[test]
fn a_role_that_selects_itself_settles() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    cluster.create(whole("loop", "loop", "loop"));
    cluster.create(whole("other", "loop", "loop"));
    cluster.create(part("reads", "loop", "get"));
    cluster.settle();
    assert_eq!(verbs(&cluster, "loop"), ["get"]);
    assert_eq!(verbs(&cluster, "other"), ["get"]);
}
