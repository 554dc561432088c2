//! What becomes of websites.

use pintle_sdk::prelude::*;
use pintle_sdk_testing::objects::{Builder, object};
use pintle_sdk_testing::{Cluster, World, properties, subject};
use rust_controller::{Plugin, WEBSITE};
use serde_json::{Value, json};

fn site(name: &str, image: &str, replicas: i64) -> Builder {
    object(&WEBSITE, "default", name).set("spec", json!({"image": image, "replicas": replicas}))
}

fn ready(world: &World, name: &str) -> Value {
    let site = world.object(&WEBSITE.named("default", name)).unwrap();
    let condition = &site["status"]["conditions"][0];
    json!([condition["status"], condition["message"]])
}

#[test]
fn a_site_comes_up_and_follows_its_spec() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let website = cluster.create(site("shop", "shop:1", 2));
    cluster.settle();
    let deployment = DEPLOYMENT.named("default", "shop");
    assert_eq!(cluster.object(&deployment).unwrap()["spec"]["replicas"], 2);
    assert!(cluster.object(&SERVICE.named("default", "shop")).is_some());
    assert_eq!(ready(&cluster, "shop"), json!(["False", "0 of 2 are up"]));

    cluster.patch_status(&deployment, json!({"readyReplicas": 2}));
    cluster.settle();
    assert_eq!(ready(&cluster, "shop"), json!(["True", "2 of 2 are up"]));

    cluster.patch(&website, json!({"spec": {"image": "shop:2", "replicas": 3}}));
    cluster.settle();
    let object = cluster.object(&deployment).unwrap();
    assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["image"], "shop:2");
    assert_eq!(ready(&cluster, "shop"), json!(["False", "2 of 3 are up"]));
}

#[test]
fn what_is_taken_away_comes_back_owned() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let website = cluster.create(site("shop", "shop:1", 1));
    cluster.settle();
    let service = SERVICE.named("default", "shop");
    cluster.delete(&service);
    cluster.settle();
    let uid = cluster.object(&website).unwrap()["metadata"]["uid"].clone();
    let owner = &cluster.object(&service).unwrap()["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["uid"], &owner["kind"]), (&uid, &json!("Website")));
}

#[test]
fn it_comes_to_rest_whatever_goes_wrong() {
    let mut world = World::new();
    for index in 0..5 {
        world.create(site(&format!("s{index}"), "image", index));
    }
    let plugin = subject::controller::<Plugin>();
    properties::is_idempotent(&plugin, &json!({}), &world);
    properties::is_deterministic(&plugin, &json!({}), &world);
    properties::converges(&plugin, &json!({}), &world, 0..20, |settled| {
        assert_eq!(settled.all(&DEPLOYMENT).len(), 5);
        assert_eq!(settled.all(&SERVICE).len(), 5);
    });
}
