//! What becomes of pods on their way in.

use {{crate}}::Plugin;
use pintle_sdk_testing::objects::{namespace, pod};
use pintle_sdk_testing::{Reviewing, World, properties, subject};
use serde_json::json;

fn world() -> World {
    let mut world = World::new();
    world.create(namespace("shop").label("team", "blue"));
    world.create(namespace("default"));
    world
}

fn reviewing() -> Reviewing {
    Reviewing::of(&subject::admission::<Plugin>(), json!({}), world())
}

#[test]
fn the_team_comes_from_the_namespace() {
    let mut reviewing = reviewing();
    let admitted = reviewing.create(pod("p").namespace("shop").label("app", "web")).unwrap();
    assert_eq!(admitted.object["metadata"]["labels"], json!({"app": "web", "team": "blue"}));
    assert_eq!(admitted.warnings, ["team=blue was taken from the namespace"]);
    let admitted = reviewing.create(pod("p").namespace("shop").label("team", "red")).unwrap();
    assert!(!admitted.patched);
}

#[test]
fn a_pod_without_team_is_refused_with_a_way_out() {
    let denied = reviewing().create(pod("p")).unwrap_err();
    assert_eq!(denied.code, 403);
    assert!(denied.message.contains("kubectl label namespace default team=NAME"), "{}", denied.message);
    assert!(reviewing().update(pod("p").label("team", "red"), pod("p")).is_err());
}

#[test]
fn system_pods_are_left_alone() {
    assert!(!reviewing().create(pod("p").namespace("kube-system")).unwrap().patched);
}

#[test]
fn labels_with_a_slash_are_fine() {
    let mut world = World::new();
    world.create(namespace("shop").label("example.com/team", "blue"));
    let config = json!({"label": "example.com/team"});
    let mut reviewing = Reviewing::of(&subject::admission::<Plugin>(), config, world);
    let admitted = reviewing.create(pod("p").namespace("shop").label("a", "b")).unwrap();
    assert_eq!(admitted.object["metadata"]["labels"]["example.com/team"], "blue");
}

#[test]
fn what_was_admitted_is_admitted_again() {
    let pods = [pod("a").namespace("shop"), pod("b").label("team", "red"), pod("c")];
    let pods = pods.map(serde_json::Value::from);
    properties::admits_idempotently(&subject::admission::<Plugin>(), &json!({}), &world(), pods);
}
