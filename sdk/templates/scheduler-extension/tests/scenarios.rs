//! Where pods are sent.

use {{crate}}::{NEEDS, Plugin, WANTS};
use pintle_sdk_testing::objects::{node, pod};
use pintle_sdk_testing::{Extending, World, properties, subject};
use serde_json::json;

fn cluster() -> Extending {
    let mut cluster = Extending::with_rule::<Plugin>(json!({}));
    cluster.create(node("fast").label("disk", "ssd"));
    cluster.create(node("slow").label("disk", "hdd"));
    cluster.create(node("plain"));
    cluster
}

#[test]
fn what_a_pod_wants_is_better() {
    let opinion = cluster().ask(pod("p").label(WANTS, "ssd"));
    assert_eq!([opinion.scores["fast"], opinion.scores["slow"]], [100, 0]);
    assert!(opinion.rejected.is_empty());
}

#[test]
fn what_a_pod_needs_is_a_must() {
    let opinion = cluster().ask(pod("p").label(NEEDS, "ssd"));
    assert_eq!(opinion.rejected["slow"], "node(s) without a disk of type ssd");
    assert_eq!(opinion.rejected["plain"], "node(s) without a disk of type ssd");
    assert!(!opinion.rejected.contains_key("fast"));
}

#[test]
fn a_pod_that_asks_for_nothing_goes_anywhere() {
    let opinion = cluster().ask(pod("p"));
    assert!(opinion.rejected.is_empty() && opinion.scores.values().all(|score| *score == 0));
}

#[test]
fn nodes_may_change_their_disks() {
    let mut cluster = cluster();
    let plain = pintle_sdk::prelude::NODE.named("", "plain");
    cluster.patch(&plain, json!({"metadata": {"labels": {"disk": "ssd"}}}));
    assert_eq!(cluster.ask(pod("p").label(WANTS, "ssd")).scores["plain"], 100);
    cluster.remove(&plain);
    assert!(!cluster.ask(pod("p").label(WANTS, "ssd")).scores.contains_key("plain"));
}

#[test]
fn answers_depend_on_what_is_declared() {
    let mut world = World::new();
    for (name, disk) in [("a", "ssd"), ("b", "hdd"), ("c", "ssd")] {
        world.create(node(name).label("disk", disk));
    }
    let pods = [pod("x").label(WANTS, "ssd").requests("cpu", "1"), pod("y").label(NEEDS, "hdd")];
    let pods = pods.map(serde_json::Value::from);
    properties::extends_soundly(&subject::node_rule::<Plugin>(), &json!({}), &world, pods);
}

#[test]
fn a_wrong_configuration_says_what_is_wrong() {
    let error = subject::node_rule::<Plugin>().try_start(&json!({"nodeLabel": ""})).err();
    assert_eq!(error.as_deref(), Some("spec.config.nodeLabel: must not be empty"));
}
