//! Claims and volumes finding each other, and what keeps them apart.

use pintle_plugin_persistent_volume::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::{Cluster, World, merge_patch, properties, subject};
use serde_json::{Value, json};

const SELECTED: &str = "volume.kubernetes.io/selected-node";

fn volume(name: &str, size: &str, change: Value) -> Value {
    let mut volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": format!("/data/{name}")}}});
    merge_patch(&mut volume, &change);
    volume
}

fn claim(name: &str, size: &str, change: Value) -> Value {
    let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": size}}}});
    merge_patch(&mut claim, &change);
    claim
}

fn class(name: &str, provisioner: &str, mode: &str, default: bool) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name,
        "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}},
        "provisioner": provisioner, "volumeBindingMode": mode})
}

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
}

fn pod(name: &str, node: Value, claim: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}})
}

fn on(node: &str) -> Value {
    json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}})
}

fn cluster(objects: impl IntoIterator<Item = Value>) -> Cluster {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    for object in objects {
        cluster.create(object);
        cluster.settle();
    }
    cluster
}

fn claim_ref(name: &str) -> ObjectRef {
    PERSISTENT_VOLUME_CLAIM.named("default", name)
}

fn volume_ref(name: &str) -> ObjectRef {
    PERSISTENT_VOLUME.named("", name)
}

/// The volume of a claim and its phase: `v1 Bound`.
fn of_claim(world: &World, name: &str) -> String {
    let claim = world.object(&claim_ref(name)).unwrap();
    let volume = claim["spec"]["volumeName"].as_str().unwrap_or("-");
    format!("{volume} {}", claim["status"]["phase"].as_str().unwrap_or("-"))
}

fn phase(world: &World, name: &str) -> String {
    let volume = world.object(&volume_ref(name)).unwrap();
    volume["status"]["phase"].as_str().unwrap_or("-").to_owned()
}

fn notes(cluster: &Cluster) -> Vec<String> {
    cluster.events.iter().map(|event| format!("{}: {}", event.reason, event.note)).collect()
}

#[test]
fn a_claim_gets_the_smallest_volume_that_satisfies_it() {
    // given volumes, when this claim comes, then it has that volume.
    fn check(volumes: &[Value], wish: Value, expect: &str) {
        let wish = claim("c", "5Gi", wish);
        // Whoever comes first.
        let mut objects = volumes.to_vec();
        objects.push(wish.clone());
        assert_eq!(of_claim(&cluster(objects), "c"), expect, "{wish}");
        let mut world = World::new();
        world.create(wish.clone());
        volumes.iter().for_each(|volume| {
            world.create(volume.clone());
        });
        let mut late = Cluster::of(world).with::<Plugin>(json!({}));
        late.settle();
        assert_eq!(of_claim(&late, "c"), expect, "{wish} before the volumes");
        assert!(late.restart().actions.is_empty());
    }
    let sizes = [
        volume("large", "50Gi", json!({})),
        volume("right", "6Gi", json!({})),
        volume("small", "1Gi", json!({})),
    ];
    check(&sizes, json!({}), "right Bound");
    check(&sizes, json!({"spec": {"resources": {"requests": {"storage": "10Gi"}}}}), "large Bound");
    check(&sizes, json!({"spec": {"resources": {"requests": {"storage": "1Ti"}}}}), "- Pending");
    check(&sizes, json!({"spec": {"accessModes": ["ReadWriteMany"]}}), "- Pending");
    check(&sizes, json!({"spec": {"storageClassName": "fast"}}), "- Pending");
    check(&sizes, json!({"spec": {"volumeMode": "Block"}}), "- Pending");
    check(&sizes, json!({"spec": {"volumeName": "large"}}), "large Bound");
    check(&sizes, json!({"spec": {"volumeName": "small"}}), "small Pending");
    check(&sizes, json!({"spec": {"volumeName": "none"}}), "none Pending");
    let tape = volume("tape", "9Gi", json!({"metadata": {"labels": {"kind": "tape"}}}));
    let with_tape: Vec<Value> = sizes.iter().cloned().chain([tape]).collect();
    check(
        &with_tape,
        json!({"spec": {"selector": {"matchLabels": {"kind": "tape"}}}}),
        "tape Bound",
    );
    let meant = volume(
        "meant",
        "90Gi",
        json!({"spec": {"claimRef": {"namespace": "default", "name": "c"}}}),
    );
    let with_meant: Vec<Value> = sizes.iter().cloned().chain([meant]).collect();
    check(&with_meant, json!({}), "meant Bound");
    let other = volume(
        "right",
        "6Gi",
        json!({"spec": {"claimRef": {"namespace": "default", "name": "other"}}}),
    );
    check(&[other], json!({}), "- Pending");
}

#[test]
fn a_binding_has_both_sides() {
    let cluster = cluster([volume("v", "5Gi", json!({})), claim("c", "2Gi", json!({}))]);
    let bound = cluster.object(&claim_ref("c")).unwrap();
    let notes = &bound["metadata"]["annotations"];
    assert_eq!(notes["pv.kubernetes.io/bind-completed"], "yes");
    assert_eq!(notes["pv.kubernetes.io/bound-by-controller"], "yes");
    assert_eq!(bound["status"]["capacity"]["storage"], "5Gi");
    assert_eq!(bound["status"]["accessModes"], json!(["ReadWriteOnce"]));
    assert_eq!(bound["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let volume = cluster.object(&volume_ref("v")).unwrap();
    assert_eq!(volume["status"]["phase"], "Bound");
    assert_eq!(volume["spec"]["claimRef"]["uid"], bound["metadata"]["uid"]);
    assert_eq!(volume["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
}

#[test]
fn why_a_claim_waits_is_said_once() {
    fn check(objects: &[Value], expect: &str) {
        let mut cluster = cluster(objects.iter().cloned());
        assert_eq!(notes(&cluster), [expect]);
        assert!(cluster.restart().actions.is_empty());
    }
    check(
        &[claim("c", "1Gi", json!({}))],
        "FailedBinding: no persistent volumes available for this claim and no storage class is set",
    );
    check(
        &[claim("c", "1Gi", json!({"spec": {"storageClassName": "gone"}}))],
        "ProvisioningFailed: storageclass.storage.k8s.io \"gone\" not found",
    );
    check(
        &[volume("v", "1Gi", json!({})), claim("c", "2Gi", json!({"spec": {"volumeName": "v"}}))],
        "VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small",
    );
    let late = class("late", "example.com/disk", "WaitForFirstConsumer", true);
    check(
        &[late, claim("c", "1Gi", json!({"spec": {"storageClassName": null}}))],
        "WaitForFirstConsumer: waiting for first consumer to be created before binding",
    );
}

#[test]
fn a_claim_that_waits_follows_its_first_pod() {
    let local = |name: &str, at: &str| {
        let mut volume = volume(name, "5Gi", json!({"spec": {"storageClassName": "local"}}));
        merge_patch(&mut volume, &on(at));
        volume
    };
    let waits = class("local", "kubernetes.io/no-provisioner", "WaitForFirstConsumer", true);
    let mut cluster = cluster([
        waits,
        node("n1"),
        node("n2"),
        local("v1", "n1"),
        local("v2", "n2"),
        claim("c", "1Gi", json!({"spec": {"storageClassName": null}})),
        pod("p", json!(null), "c"),
    ]);
    assert_eq!(of_claim(&cluster, "c"), "- Pending");
    let class = &cluster.object(&claim_ref("c")).unwrap()["spec"]["storageClassName"];
    assert_eq!(class, "local", "the default class");
    cluster.patch(&POD.named("default", "p"), json!({"spec": {"nodeName": "n2"}}));
    cluster.settle();
    assert_eq!(of_claim(&cluster, "c"), "v2 Bound");
    assert_eq!(cluster.object(&claim_ref("c")).unwrap()["metadata"]["annotations"][SELECTED], "n2");
}

#[test]
fn a_provisioner_is_asked_when_nothing_fits() {
    let cluster = cluster([
        class("disk", "example.com/disk", "Immediate", true),
        claim("c", "1Gi", json!({"spec": {"storageClassName": "disk"}})),
    ]);
    let claim = cluster.object(&claim_ref("c")).unwrap();
    let asked = &claim["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"];
    assert_eq!(asked, "example.com/disk");
    assert!(notes(&cluster)[0].starts_with("ExternalProvisioning: Waiting for a volume"));
}

#[test]
fn what_becomes_of_a_volume_whose_claim_goes() {
    fn check(change: Value, expect: &str) {
        let mut cluster = cluster([volume("v", "5Gi", change), claim("c", "2Gi", json!({}))]);
        cluster.delete(&claim_ref("c"));
        cluster.settle();
        assert!(cluster.object(&claim_ref("c")).is_none());
        assert_eq!(phase(&cluster, "v"), expect);
        // No other claim gets what is still on it.
        cluster.create(claim("c", "2Gi", json!({})));
        cluster.settle();
        assert_eq!(of_claim(&cluster, "c"), "- Pending");
        assert!(cluster.restart().actions.is_empty());
    }
    check(json!({}), "Released");
    check(json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}), "Failed");
    check(json!({"spec": {"persistentVolumeReclaimPolicy": "Recycle"}}), "Failed");
    let made = json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "example.com/disk"}},
        "spec": {"persistentVolumeReclaimPolicy": "Delete"}});
    check(made, "Released");
}

#[test]
fn what_is_in_use_stays() {
    let mut cluster = cluster([
        volume("v", "5Gi", json!({})),
        claim("c", "2Gi", json!({})),
        node("n1"),
        pod("p", json!("n1"), "c"),
    ]);
    cluster.delete(&volume_ref("v"));
    cluster.delete(&claim_ref("c"));
    cluster.settle();
    assert!(
        cluster.object(&claim_ref("c")).is_some() && cluster.object(&volume_ref("v")).is_some()
    );
    cluster.remove(&POD.named("default", "p"));
    cluster.settle();
    assert!(
        cluster.object(&claim_ref("c")).is_none() && cluster.object(&volume_ref("v")).is_none()
    );
}

#[test]
fn a_claim_without_its_volume_is_lost() {
    let mut cluster = cluster([volume("v", "5Gi", json!({})), claim("c", "2Gi", json!({}))]);
    cluster.remove(&volume_ref("v"));
    cluster.settle();
    assert_eq!(of_claim(&cluster, "c"), "v Lost");
    assert_eq!(
        notes(&cluster),
        ["ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!"]
    );
    // It comes back as it was.
    cluster.create(volume("v", "5Gi", json!({})));
    cluster.settle();
    assert_eq!(of_claim(&cluster, "c"), "v Bound");
}

/// Twelve claims of three sizes and as many volumes, one of them meant for one.
fn crowd() -> World {
    let mut world = World::new();
    for index in 0..12 {
        let size = format!("{}Gi", 1 + index % 3);
        world.create(claim(&format!("c{index}"), &size, json!({})));
        let meant = match index {
            5 => json!({"spec": {"claimRef": {"namespace": "default", "name": "c3"}}}),
            _ => json!({}),
        };
        world.create(volume(&format!("v{index}"), "3Gi", meant));
    }
    world
}

#[test]
fn properties_hold_for_a_crowd() {
    let subject = subject::controller::<Plugin>();
    properties::is_deterministic(&subject, &json!({}), &crowd());
    properties::is_idempotent(&subject, &json!({}), &crowd());
    properties::converges(&subject, &json!({}), &crowd(), 0..100, |settled| {
        let mut used = std::collections::BTreeSet::new();
        for claim in settled.all(&PERSISTENT_VOLUME_CLAIM) {
            assert_eq!(claim["status"]["phase"], "Bound", "{claim}");
            let name = claim["spec"]["volumeName"].as_str().unwrap();
            assert!(used.insert(name.to_owned()), "{name} is bound twice");
            let volume = settled.object(&volume_ref(name)).unwrap();
            assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);
        }
        assert_eq!(of_claim(settled, "c3"), "v5 Bound");
    });
}
