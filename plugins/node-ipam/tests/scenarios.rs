//! Nodes come, go and run out of ranges.

use std::collections::BTreeSet;

use pintle_plugin_node_ipam::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use proptest::prelude::*;
use serde_json::{Value, json};

fn cluster(cidr: &str) -> Cluster {
    Cluster::new().with::<Plugin>(json!({"clusterCIDR": cidr, "nodeMaskSize": 24}))
}

fn add(cluster: &mut Cluster, name: &str) -> ObjectRef {
    cluster
        .create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}}))
}

fn ranges(cluster: &Cluster) -> Vec<Value> {
    cluster.all(&NODE).into_iter().map(|node| node["spec"]["podCIDR"].clone()).collect()
}

#[test]
fn nodes_get_ranges_and_give_them_back() {
    let mut cluster = cluster("10.244.0.0/16");
    add(&mut cluster, "a");
    let b = add(&mut cluster, "b");
    cluster.settle();
    assert_eq!(ranges(&cluster), ["10.244.0.0/24", "10.244.1.0/24"]);
    assert_eq!(cluster.object(&b).unwrap()["spec"]["podCIDRs"], json!(["10.244.1.0/24"]));
    cluster.delete(&NODE.named("", "a"));
    add(&mut cluster, "c");
    cluster.settle();
    assert_eq!(ranges(&cluster), ["10.244.1.0/24", "10.244.0.0/24"]);
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn a_range_that_becomes_free_goes_to_the_node_that_waits() {
    let mut cluster = cluster("10.244.0.0/23");
    let first = add(&mut cluster, "a");
    for name in ["b", "c"] {
        add(&mut cluster, name);
    }
    cluster.settle();
    assert_eq!(ranges(&cluster)[2], Value::Null);
    assert_eq!(cluster.events.last().unwrap().note, "Node c status is now: CIDRNotAvailable");
    cluster.delete(&first);
    cluster.settle();
    assert_eq!(ranges(&cluster), ["10.244.1.0/24", "10.244.0.0/24"]);
}

proptest! {
    #[test]
    fn ranges_never_collide(steps in prop::collection::vec((0..12u8, any::<bool>()), 1..60)) {
        let mut cluster = cluster("10.244.0.0/21");
        for (index, present) in steps {
            let reference = NODE.named("", format!("n{index}"));
            match (present, cluster.object(&reference).is_some()) {
                (true, false) => {
                    add(&mut cluster, &reference.name);
                }
                (false, true) => cluster.delete(&reference),
                _ => {}
            }
            cluster.settle();
            let given: Vec<Value> = ranges(&cluster).into_iter().filter(|range| !range.is_null()).collect();
            let distinct: BTreeSet<String> = given.iter().map(Value::to_string).collect();
            prop_assert_eq!(given.len(), distinct.len());
            prop_assert_eq!(given.len(), cluster.all(&NODE).len().min(8));
        }
    }
}
