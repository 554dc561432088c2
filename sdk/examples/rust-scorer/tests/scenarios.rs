//! Where pods are sent.

use pintle_sdk_testing::objects::{node, pod};
use pintle_sdk_testing::{Extending, World, properties, subject};
use rust_scorer::Disk;
use serde_json::json;

#[test]
fn nodes_with_the_disk_are_better() {
    let mut cluster = Extending::with_rule::<Disk>(json!({}));
    cluster.create(node("fast").label("disk", "ssd"));
    cluster.create(node("slow").label("disk", "hdd"));
    cluster.create(node("plain"));
    let scores = cluster.ask(pod("p").label("wants-disk", "ssd")).scores;
    assert_eq!([scores["fast"], scores["slow"], scores["plain"]], [100, 0, 0]);
    let scores = cluster.ask(pod("p")).scores;
    assert_eq!([scores["fast"], scores["slow"], scores["plain"]], [0, 0, 0]);
}

#[test]
fn the_label_is_configured() {
    let mut cluster = Extending::with_rule::<Disk>(json!({"nodeLabel": "example.com/disk"}));
    let n1 = cluster.create(node("n1").label("example.com/disk", "ssd"));
    assert_eq!(cluster.ask(pod("p").label("wants-disk", "ssd")).scores["n1"], 100);
    cluster.patch(&n1, json!({"metadata": {"labels": {"example.com/disk": "hdd"}}}));
    assert_eq!(cluster.ask(pod("p").label("wants-disk", "ssd")).scores["n1"], 0);
}

#[test]
fn one_answer_serves_all_pods_with_the_same_labels() {
    let mut world = World::new();
    for (name, disk) in [("a", "ssd"), ("b", "hdd"), ("c", "ssd")] {
        world.create(node(name).label("disk", disk));
    }
    let pods = [pod("x").label("wants-disk", "ssd").requests("cpu", "1").build(), pod("y").build()];
    properties::extends_soundly(&subject::node_rule::<Disk>(), &json!({}), &world, pods);
}
