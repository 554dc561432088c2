//! Folders for claims.

use pintle_plugin_hostpath_provisioner::{Config, Plugin};
use pintle_sdk::prelude::*;
use pintle_sdk_testing::{Cluster, World, merge_patch, properties, subject};
use serde_json::{Value, json};

fn world(mode: &str, change: Value) -> World {
    let mut world = World::new();
    world.create(json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "standard"}, "provisioner": "pintle.dev/host-path",
        "reclaimPolicy": "Delete", "volumeBindingMode": mode}));
    world.create(json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "host-1"}}}));
    let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default", "annotations": {
            "volume.kubernetes.io/storage-provisioner": "pintle.dev/host-path",
            "volume.kubernetes.io/selected-node": "n1"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
            "resources": {"requests": {"storage": "1Gi"}}}});
    merge_patch(&mut claim, &change);
    world.create(claim);
    world
}

fn settled(world: World) -> Cluster {
    let mut cluster = Cluster::of(world).with::<Plugin>(json!({}));
    cluster.settle();
    assert!(cluster.restart().actions.is_empty());
    cluster
}

#[test]
fn a_folder_on_the_selected_node() {
    let cluster = settled(world("WaitForFirstConsumer", json!({})));
    let volumes = cluster.all(&PERSISTENT_VOLUME);
    let [volume] = volumes.as_slice() else { panic!("{volumes:?}") };
    let claim = cluster.object(&PERSISTENT_VOLUME_CLAIM.named("default", "data")).unwrap();
    let uid = claim["metadata"]["uid"].as_str().unwrap();
    let spec = &volume["spec"];
    assert_eq!(spec["hostPath"]["path"], format!("/var/lib/pintle-volumes/pvc-{uid}_default_data"));
    assert_eq!(spec["claimRef"]["uid"], uid);
    assert_eq!(spec["capacity"]["storage"], "1Gi");
    assert_eq!(spec["persistentVolumeReclaimPolicy"], "Delete");
    let term = &spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    assert_eq!(term["values"], json!(["host-1"]));
    assert_eq!(cluster.events[0].reason, "ProvisioningSucceeded");
}

#[test]
fn what_cannot_be_made_is_said_once() {
    fn check(mode: &str, change: Value, volumes: usize, expect: &str) {
        let cluster = settled(world(mode, change));
        assert_eq!(cluster.all(&PERSISTENT_VOLUME).len(), volumes);
        let notes: Vec<&str> = cluster.events.iter().map(|event| &*event.note).collect();
        assert_eq!(notes.len(), usize::from(!expect.is_empty()), "{notes:?}");
        assert!(notes.iter().all(|note| note.contains(expect)), "{notes:?}");
    }
    let waits = "WaitForFirstConsumer";
    check(waits, json!({"spec": {"accessModes": ["ReadWriteMany"]}}), 0, "only access modes");
    check(waits, json!({"spec": {"volumeMode": "Block"}}), 0, "only volumeMode Filesystem");
    let unplaced =
        json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": null}}});
    check(waits, unplaced.clone(), 0, "");
    check("Immediate", unplaced, 0, "a folder needs a node");
    let other = json!({"metadata": {"annotations":
        {"volume.kubernetes.io/storage-provisioner": "example.com/disk"}}});
    check(waits, other, 0, "");
    let gone = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "gone"}}});
    check(waits, gone, 0, "");
}

#[test]
fn a_released_volume_goes_unless_it_is_kept() {
    fn check(policy: &str, phase: &str, left: usize) {
        let mut cluster = settled(world("WaitForFirstConsumer", json!({})));
        let name = cluster.all(&PERSISTENT_VOLUME)[0]["metadata"]["name"].clone();
        let volume = PERSISTENT_VOLUME.named("", name.as_str().unwrap());
        cluster.patch(&volume, json!({"spec": {"persistentVolumeReclaimPolicy": policy}}));
        cluster.remove(&PERSISTENT_VOLUME_CLAIM.named("default", "data"));
        cluster.patch_status(&volume, json!({"phase": phase}));
        cluster.settle();
        assert_eq!(cluster.all(&PERSISTENT_VOLUME).len(), left, "{policy} {phase}");
    }
    check("Delete", "Bound", 1);
    check("Delete", "Released", 0);
    check("Retain", "Released", 1);
}

#[test]
fn properties_hold() {
    let subject = subject::controller::<Plugin>();
    let world = world("WaitForFirstConsumer", json!({}));
    properties::is_deterministic(&subject, &json!({}), &world);
    properties::is_idempotent(&subject, &json!({}), &world);
    properties::converges(&subject, &json!({}), &world, 0..30, |settled| {
        assert_eq!(settled.all(&PERSISTENT_VOLUME).len(), 1);
    });
}

#[test]
fn a_root_that_is_none_is_refused() {
    fn check(root: &str, fine: bool) {
        let config = Config { root: root.to_owned(), ..Config::default() };
        assert_eq!(Plugin::new(config).is_ok(), fine, "{root:?}");
    }
    check("/srv/volumes/", true);
    check("relative", false);
    check("/", false);
    check("/srv/../etc", false);
}
