//! Where pods are sent.

use pintle_sdk_testing::objects::{node, pod};
use pintle_sdk_testing::{Extending, World, properties, subject};
use rust_scorer::Disks;
use serde_json::json;

const DISK: &str = "example.pintle.dev/disktype";
const NO_BATCH: &str = "example.pintle.dev/no-batch";

#[test]
fn nodes_with_the_disk_are_better() {
    let mut cluster = Extending::with_rule::<Disks>(json!({}));
    cluster.create(node("fast").label("disktype", "ssd"));
    cluster.create(node("slow").label("disktype", "hdd"));
    cluster.create(node("plain"));
    let scores = cluster.ask(pod("p").label(DISK, "ssd")).scores;
    assert_eq!([scores["fast"], scores["slow"], scores["plain"]], [100, 0, 0]);
    let scores = cluster.ask(pod("p")).scores;
    assert_eq!([scores["fast"], scores["slow"], scores["plain"]], [0, 0, 0]);
}

#[test]
fn batch_pods_keep_off_nodes_that_do_not_take_them() {
    let mut cluster = Extending::with_rule::<Disks>(json!({}));
    cluster.create(node("a"));
    cluster.create(node("b").label(NO_BATCH, "true"));
    let rejected = cluster.ask(pod("p").label("batch", "true")).rejected;
    assert_eq!(
        rejected.into_iter().collect::<Vec<_>>(),
        [("b".to_owned(), "node(s) take no batch pods".to_owned())]
    );
    assert!(cluster.ask(pod("p").label("batch", "false")).rejected.is_empty());
}

#[test]
fn one_answer_serves_all_pods_with_the_same_labels() {
    let mut world = World::new();
    for (name, disk) in [("a", "ssd"), ("b", "hdd"), ("c", "ssd")] {
        world.create(node(name).label("disktype", disk).label(NO_BATCH, "true"));
    }
    let pods = [
        pod("x").label(DISK, "ssd").requests("cpu", "1").build(),
        pod("y").label("batch", "true").build(),
    ];
    properties::extends_soundly(&subject::node_rule::<Disks>(), &json!({}), &world, pods);
}
