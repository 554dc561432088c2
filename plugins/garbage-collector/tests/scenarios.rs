//! Owners and dependents, in every way to go.

use pintle_plugin_garbage_collector::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use proptest::prelude::*;
use serde_json::{Value, json};

fn cluster() -> Cluster {
    Cluster::new().with::<Plugin>(json!({}))
}

fn owner_reference(cluster: &Cluster, owner: &ObjectRef, blocks: bool) -> Value {
    json!({
        "apiVersion": owner.kind.api_version(), "kind": owner.kind.kind, "name": owner.name,
        "uid": cluster.object(owner).unwrap()["metadata"]["uid"], "controller": true, "blockOwnerDeletion": blocks,
    })
}

fn add(cluster: &mut Cluster, kind: KindRef, name: &str, owners: &[&ObjectRef]) -> ObjectRef {
    let owners: Vec<Value> =
        owners.iter().map(|owner| owner_reference(cluster, owner, true)).collect();
    let namespace = if kind == NODE { "" } else { "default" };
    cluster.create(json!({
        "apiVersion": kind.api_version(), "kind": kind.kind,
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": owners}, "spec": {},
    }))
}

fn chain(cluster: &mut Cluster) -> [ObjectRef; 3] {
    let web = add(cluster, DEPLOYMENT, "web", &[]);
    let set = add(cluster, REPLICA_SET, "web-1", &[&web]);
    let pod = add(cluster, POD, "web-1-a", &[&set]);
    cluster.settle();
    [web, set, pod]
}

fn delete(cluster: &mut Cluster, reference: &ObjectRef, propagation: Propagation) {
    cluster.apply(&Delete::new(reference).propagation(propagation).into()).unwrap();
}

fn exists(cluster: &Cluster, reference: &ObjectRef) -> bool {
    cluster.object(reference).is_some()
}

#[test]
fn background_deletion_goes_down_the_chain() {
    let mut cluster = cluster();
    let [web, set, pod] = chain(&mut cluster);
    cluster.delete(&web);
    cluster.settle();
    assert!(!exists(&cluster, &set) && !exists(&cluster, &pod));
}

#[test]
fn foreground_deletion_waits_for_dependents() {
    let mut cluster = cluster();
    let [web, set, pod] = chain(&mut cluster);
    cluster.patch(&pod, json!({"spec": {"nodeName": "n1"}}));
    delete(&mut cluster, &web, Propagation::Foreground);
    cluster.settle();
    assert!(exists(&cluster, &web) && exists(&cluster, &set));
    assert!(cluster.object(&pod).unwrap()["metadata"].get("deletionTimestamp").is_some());
    cluster.remove(&pod);
    cluster.settle();
    assert!(!exists(&cluster, &web) && !exists(&cluster, &set));
}

#[test]
fn orphans_stay_without_their_owner() {
    let mut cluster = cluster();
    let [web, set, pod] = chain(&mut cluster);
    delete(&mut cluster, &web, Propagation::Orphan);
    cluster.settle();
    assert!(!exists(&cluster, &web) && exists(&cluster, &pod));
    assert!(cluster.object(&set).unwrap()["metadata"].get("ownerReferences").is_none());
}

#[test]
fn one_owner_that_stays_is_enough() {
    let mut cluster = cluster();
    let one = add(&mut cluster, CONFIG_MAP, "one", &[]);
    let two = add(&mut cluster, CONFIG_MAP, "two", &[]);
    let both = add(&mut cluster, POD, "both", &[&one, &two]);
    cluster.settle();
    cluster.delete(&one);
    cluster.settle();
    let owners = &cluster.object(&both).unwrap()["metadata"]["ownerReferences"];
    assert_eq!(owners.as_array().unwrap().len(), 1);
    delete(&mut cluster, &two, Propagation::Foreground);
    cluster.advance(2000);
    assert!(!exists(&cluster, &both) && !exists(&cluster, &two));
}

#[test]
fn an_owner_that_never_was_or_came_again() {
    let mut cluster = cluster();
    let absent = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "gone"}]);
    let lost = cluster.create(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "lost", "namespace": "default", "ownerReferences": absent}, "spec": {}}));
    cluster.settle();
    assert!(!exists(&cluster, &lost));
    let owner = add(&mut cluster, CONFIG_MAP, "owner", &[]);
    let child = add(&mut cluster, POD, "child", &[&owner]);
    cluster.settle();
    cluster.delete(&owner);
    add(&mut cluster, CONFIG_MAP, "owner", &[]);
    cluster.settle();
    assert!(!exists(&cluster, &child), "the successor of the same name is not the owner");
}

#[test]
fn cluster_scoped_owners_have_namespaced_dependents() {
    let mut cluster = cluster();
    let node = add(&mut cluster, NODE, "n1", &[]);
    let lease = add(&mut cluster, LEASE, "n1", &[&node]);
    cluster.settle();
    assert!(exists(&cluster, &lease));
    cluster.delete(&node);
    cluster.settle();
    assert!(!exists(&cluster, &lease));
}

#[test]
fn a_cluster_scoped_object_with_a_namespaced_owner_is_left_alone() {
    let mut cluster = cluster();
    let owner = add(&mut cluster, CONFIG_MAP, "owner", &[]);
    let node = add(&mut cluster, NODE, "n1", &[&owner]);
    cluster.settle();
    assert!(exists(&cluster, &node));
}

#[test]
fn circles_do_not_hang() {
    let mut cluster = cluster();
    let a = add(&mut cluster, CONFIG_MAP, "a", &[]);
    let b = add(&mut cluster, CONFIG_MAP, "b", &[&a]);
    let back = owner_reference(&cluster, &b, true);
    cluster.patch(&a, json!({"metadata": {"ownerReferences": [back]}}));
    cluster.settle();
    assert!(exists(&cluster, &a) && exists(&cluster, &b));
    delete(&mut cluster, &a, Propagation::Foreground);
    cluster.advance(10_000);
    assert!(!exists(&cluster, &a) && !exists(&cluster, &b));
}

#[test]
fn many_dependents_go_in_steps() {
    let mut cluster = cluster();
    let owner = add(&mut cluster, CONFIG_MAP, "owner", &[]);
    for index in 0..1100 {
        add(&mut cluster, POD, &format!("p{index}"), &[&owner]);
    }
    cluster.settle();
    cluster.delete(&owner);
    cluster.advance(1000);
    assert!(cluster.all(&POD).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In any forest of owners, what remains has an owner that remains (or never
    /// had one), and no object that still had a living owner was deleted.
    #[test]
    fn only_what_lost_all_owners_goes(
        parents in prop::collection::vec(prop::collection::vec(0..12usize, 0..3), 12),
        doomed in prop::collection::vec((0..12usize, 0..3u8), 1..6),
    ) {
        let mut cluster = cluster();
        let mut all: Vec<ObjectRef> = Vec::new();
        for (index, parents) in parents.iter().enumerate() {
            let owners: Vec<ObjectRef> =
                parents.iter().filter(|parent| **parent < index).map(|parent| all[*parent].clone()).collect();
            let mut owners: Vec<&ObjectRef> = owners.iter().collect();
            owners.dedup();
            all.push(add(&mut cluster, CONFIG_MAP, &format!("m{index}"), &owners));
        }
        cluster.settle();
        for (index, how) in doomed {
            if exists(&cluster, &all[index]) {
                let propagation = [Propagation::Background, Propagation::Foreground, Propagation::Orphan][usize::from(how)];
                delete(&mut cluster, &all[index], propagation);
                cluster.advance(60_000);
                prop_assert!(!exists(&cluster, &all[index]));
            }
        }
        let uids: Vec<Value> = cluster.all(&CONFIG_MAP).iter().map(|object| object["metadata"]["uid"].clone()).collect();
        for object in cluster.all(&CONFIG_MAP) {
            prop_assert!(object["metadata"].get("deletionTimestamp").is_none());
            let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            prop_assert!(owners.iter().all(|owner| uids.contains(&owner["uid"])));
        }
        prop_assert!(cluster.restart().actions.is_empty());
    }
}
