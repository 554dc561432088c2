//! Namespaces come, and somebody tampers with what they are given.

use pintle_plugin_root_ca_publisher::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::objects::{config_map, namespace};
use pintle_sdk_testing::{Cluster, World, properties, subject};
use proptest::prelude::*;
use serde_json::{Value, json};

fn config() -> Value {
    json!({"rootCA": "PEM"})
}

fn published(world: &World, namespace: &str) -> Value {
    let map = CONFIG_MAP.named(namespace, "kube-root-ca.crt");
    world.object(&map).map_or(Value::Null, |map| map["data"].clone())
}

#[test]
fn every_namespace_has_the_certificate_and_keeps_it() {
    let mut cluster = Cluster::new().with::<Plugin>(config());
    cluster.create(namespace("web"));
    cluster.settle();
    assert_eq!(published(&cluster, "web"), json!({"ca.crt": "PEM"}));
    let map = CONFIG_MAP.named("web", "kube-root-ca.crt");
    cluster.patch(&map, json!({"data": {"ca.crt": "wrong", "extra": "x"}}));
    cluster.settle();
    assert_eq!(published(&cluster, "web"), json!({"ca.crt": "PEM"}));
    cluster.delete(&map);
    cluster.settle();
    assert_eq!(published(&cluster, "web"), json!({"ca.crt": "PEM"}));
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn other_config_maps_are_left_alone() {
    let mut cluster = Cluster::new().with::<Plugin>(config());
    cluster.create(namespace("default"));
    cluster.settle();
    let other = cluster.create(config_map("other").set("data.a", "b"));
    cluster.patch(&other, json!({"data": {"a": "c"}}));
    cluster.delete(&other);
    assert!(cluster.settle().actions.is_empty());
}

#[test]
fn a_namespace_that_goes_is_not_furnished_again() {
    let mut cluster = Cluster::new().with::<Plugin>(config());
    let web = cluster.create(namespace("web"));
    cluster.settle();
    cluster.delete(&web);
    cluster.delete(&CONFIG_MAP.named("web", "kube-root-ca.crt"));
    assert!(cluster.settle().actions.is_empty());
}

#[test]
fn without_a_certificate_nothing_is_published() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    cluster.create(namespace("web"));
    assert!(cluster.settle().actions.is_empty());
}

#[test]
fn the_suite_of_controllers() {
    let mut world = World::new();
    for index in 0..5 {
        world.create(namespace(&format!("ns-{index}")));
    }
    let subject = subject::controller::<Plugin>();
    properties::is_idempotent(&subject, &config(), &world);
    properties::is_deterministic(&subject, &config(), &world);
    properties::does_not_flap(&subject, &config(), &world);
    properties::converges(&subject, &config(), &world, 0..50, |settled| {
        for index in 0..5 {
            assert_eq!(published(settled, &format!("ns-{index}")), json!({"ca.crt": "PEM"}));
        }
    });
}

proptest! {
    /// Whatever is written into it or deleted, in the end it is right again.
    #[test]
    fn tampering_does_not_last(
        steps in prop::collection::vec((0..3_usize, prop::option::of("[a-z.]{1,8}"), ".{0,8}"), 0..20),
    ) {
        let mut cluster = Cluster::new().with::<Plugin>(config());
        for index in 0..3 {
            cluster.create(namespace(&format!("ns-{index}")));
        }
        cluster.settle();
        for (index, key, value) in steps {
            let map = CONFIG_MAP.named(format!("ns-{index}"), "kube-root-ca.crt");
            match key {
                Some(key) => cluster.patch(&map, json!({"data": {key: value}})),
                None => cluster.delete(&map),
            }
            cluster.settle();
            prop_assert_eq!(published(&cluster, &format!("ns-{index}")), json!({"ca.crt": "PEM"}));
        }
    }
}
