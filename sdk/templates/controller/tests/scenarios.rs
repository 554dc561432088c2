//! What becomes of ConfigMaps as time goes by.

use {{crate}}::{Plugin, TTL};
use pintle_sdk::prelude::*;
use pintle_sdk_testing::objects::config_map;
use pintle_sdk_testing::{Cluster, World, properties, subject};
use serde_json::json;

#[test]
fn a_map_goes_when_its_time_is_over() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let map = cluster.create(config_map("short").annotation(TTL, "60"));
    cluster.advance(59_000);
    assert!(cluster.object(&map).is_some());
    cluster.advance(1_000);
    assert!(cluster.object(&map).is_none());
    assert_eq!(cluster.events[0].reason, "Expired");
}

#[test]
fn nobody_gets_more_than_the_longest_time() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({"maxTtlSeconds": 10}));
    let greedy = cluster.create(config_map("greedy").annotation(TTL, "3600"));
    let unlimited = cluster.create(config_map("unlimited"));
    cluster.advance(10_000);
    assert!(cluster.object(&greedy).is_none() && cluster.object(&unlimited).is_some());
}

#[test]
fn nonsense_is_answered_with_an_event() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let map = cluster.create(config_map("odd").annotation(TTL, "soon"));
    cluster.advance(100_000);
    assert!(cluster.object(&map).is_some());
    assert_eq!(cluster.events.len(), 1);
    assert!(cluster.events[0].note.contains("`soon` is not a number of seconds"));
}

#[test]
fn it_comes_to_rest_whatever_goes_wrong() {
    let mut world = World::new();
    for index in 0..10 {
        let ttl = if index % 2 == 0 { "0" } else { "60" };
        world.create(config_map(&format!("m{index}")).annotation(TTL, ttl));
    }
    let plugin = subject::controller::<Plugin>();
    properties::is_idempotent(&plugin, &json!({}), &world);
    properties::is_deterministic(&plugin, &json!({}), &world);
    properties::converges(&plugin, &json!({}), &world, 0..20, |settled| {
        assert_eq!(settled.all(&CONFIG_MAP).len(), 5);
    });
}

#[test]
fn a_wrong_configuration_says_what_is_wrong() {
    let error = subject::controller::<Plugin>().try_start(&json!({"maxTtlSeconds": 0})).err();
    assert_eq!(error.as_deref(), Some("spec.config.maxTtlSeconds: must be at least 1"));
}
