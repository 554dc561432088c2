//! The suite of controllers, on roles that are parts of each other.

use pintle_plugin_clusterrole_aggregation::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::{World, properties, subject};
use serde_json::{Value, json};

fn role(name: &str, of: Option<&str>, to: &str, verb: &str) -> Value {
    let mut role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {format!("to-{to}"): "true"}},
    });
    match of {
        Some(of) => {
            let labels = json!({format!("to-{of}"): "true"});
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        }
        None => {
            role["rules"] = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]);
        }
    }
    role
}

#[test]
fn the_suite_of_controllers() {
    let mut world = World::new();
    world.create(role("admin", Some("admin"), "none", ""));
    world.create(role("edit", Some("edit"), "admin", ""));
    world.create(role("view", Some("view"), "edit", ""));
    world.create(role("itself", Some("itself"), "itself", ""));
    for (name, to, verb) in
        [("reads", "view", "get"), ("lists", "view", "list"), ("writes", "edit", "update")]
    {
        world.create(role(name, None, to, verb));
    }
    let subject = subject::controller::<Plugin>();
    properties::is_deterministic(&subject, &json!({}), &world);
    properties::is_idempotent(&subject, &json!({}), &world);
    properties::converges(&subject, &json!({}), &world, 0..50, |settled| {
        let admin = settled.object(&CLUSTER_ROLE.named("", "admin")).unwrap();
        assert_eq!(admin["rules"].as_array().map(Vec::len), Some(3), "{admin}");
    });
    properties::does_not_flap(&subject, &json!({}), &world);
}
