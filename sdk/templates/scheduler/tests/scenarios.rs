//! Where pods go.

use {{crate}}::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::Decision;
use pintle_sdk_testing::objects::{Builder, node, pod};
use pintle_sdk_testing::{Scheduling, World, properties, subject};
use serde_json::{Value, json};

/// Takes the pods that name no scheduler.
fn config() -> Value {
    json!({"schedulerName": "default-scheduler"})
}

fn cluster(nodes: Vec<Builder>) -> Scheduling {
    let mut cluster = Scheduling::with::<Plugin>(config());
    for node in nodes {
        cluster.create(node);
    }
    cluster
}

#[test]
fn the_emptiest_node_is_chosen() {
    let mut cluster = cluster(vec![node("a").capacity("cpu", "4"), node("b").capacity("cpu", "8")]);
    for name in ["p1", "p2", "p3"] {
        cluster.create(pod(name).requests("cpu", "2"));
    }
    cluster.schedule();
    let on = |name: &str| cluster.node_of(name).unwrap();
    assert_eq!([on("p1"), on("p2"), on("p3")], ["b", "a", "b"]);
}

#[test]
fn a_pod_that_fits_nowhere_says_why() {
    fn check(nodes: Vec<Builder>, pod: Builder, expect: &str) {
        let mut cluster = cluster(nodes);
        let place = cluster.create(pod);
        match cluster.schedule().remove(&place) {
            Some(Decision::Unschedulable { message, .. }) => assert_eq!(message, expect),
            other => panic!("{other:?}"),
        }
    }
    check(vec![], pod("p"), "0/0 nodes are available: .");
    check(
        vec![node("a").capacity("cpu", "1"), node("b").taint("k", "", "NoSchedule")],
        pod("p").requests("cpu", "2"),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had the untolerated taint k.",
    );
    check(
        vec![node("a").set("spec.unschedulable", true), node("b").capacity("pods", "0")],
        pod("p"),
        "0/2 nodes are available: 1 Too many pods, 1 node(s) were not ready.",
    );
    check(
        vec![node("a")],
        pod("p").set("spec.nodeSelector", json!({"disk": "ssd"})),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node selector.",
    );
}

#[test]
fn tolerations_and_selectors_open_doors() {
    let mut cluster = cluster(vec![node("a").taint("k", "v", "NoSchedule").label("disk", "ssd")]);
    cluster.create(pod("p").tolerates("k").set("spec.nodeSelector", json!({"disk": "ssd"})));
    cluster.schedule();
    assert_eq!(cluster.node_of("p").as_deref(), Some("a"));
}

#[test]
fn room_is_given_back() {
    let mut cluster = cluster(vec![node("a").capacity("cpu", "1")]);
    let first = cluster.create(pod("first").requests("cpu", "1"));
    cluster.schedule();
    cluster.create(pod("second").requests("cpu", "1"));
    cluster.schedule();
    assert_eq!(cluster.node_of("second"), None);
    cluster.remove(&first);
    cluster.schedule();
    assert_eq!(cluster.node_of("second").as_deref(), Some("a"));
}

#[test]
fn no_node_is_ever_overcommitted() {
    properties::never_overcommits(&subject::scheduler::<Plugin>(), &config(), 0..50);
}

#[test]
fn the_same_cluster_gives_the_same_decisions() {
    let mut world = World::new();
    for index in 0..5 {
        world.create(node(&format!("n{index}")).capacity("cpu", "4"));
        world.create(pod(&format!("bound{index}")).on("n1").requests("cpu", "500m"));
        world.create(pod(&format!("waits{index}")).requests("cpu", "1"));
    }
    properties::schedules_deterministically(&subject::scheduler::<Plugin>(), &config(), &world);
    assert_eq!(world.all(&POD).len(), 10);
}
