//! The world behaves as the API server does where controllers depend on it.

use pintle_sdk::prelude::*;
use pintle_sdk_testing::{Cluster, Refused, World};
use serde_json::{Value, json};

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": {}})
}

#[test]
fn names_uids_and_revisions_are_given() {
    let mut world = World::new();
    let mut object = pod("");
    object["metadata"] = json!({"generateName": "web-", "namespace": "default"});
    let reference = world.create(object);
    assert!(reference.name.starts_with("web-") && reference.name.len() == 9);
    let metadata = &world.object(&reference).unwrap()["metadata"];
    assert_eq!(metadata["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!((&metadata["generation"], &metadata["resourceVersion"]), (&json!(1), &json!("1")));
    let again = Create::new(POD, "default", &pod(&reference.name));
    assert_eq!(world.apply(&again.into()), Err(Refused::AlreadyExists(reference)));
}

#[test]
fn preconditions_are_checked() {
    let mut world = World::new();
    let reference = world.create(pod("p"));
    world.patch(&reference, json!({"metadata": {"labels": {"a": "b"}}}));
    let conflict = Err(Refused::Conflict(reference.clone()));
    assert_eq!(world.apply(&Patch::merge(&reference, &json!({"x": 1})).at(1).into()), conflict);
    assert_eq!(
        world.apply(&Patch::merge(&reference, &json!({"metadata": {"uid": "other"}})).into()),
        conflict
    );
    assert_eq!(world.apply(&Delete::new(&reference).uid("other").into()), conflict);
    assert_eq!(world.apply(&Delete::new(&reference).at(2).into()), Ok(()));
    assert_eq!(world.apply(&Delete::new(&reference).into()), Err(Refused::NotFound(reference)));
}

#[test]
fn the_status_has_its_own_door() {
    let mut world = World::new();
    let reference = world.create(pod("p"));
    world.patch(&reference, json!({"status": {"phase": "Running"}}));
    assert!(world.object(&reference).unwrap().get("status").is_none());
    world.patch_status(&reference, json!({"phase": "Running"}));
    let object = world.object(&reference).unwrap();
    assert_eq!(object["status"]["phase"], "Running");
    assert_eq!(object["metadata"]["generation"], 1);
    let add = json!([{"op": "add", "path": "/spec/nodeName", "value": "n1"}]);
    world.apply(&Patch::json(&reference, &add).into()).unwrap();
    assert_eq!(world.object(&reference).unwrap()["metadata"]["generation"], 2);
}

#[test]
fn what_holds_an_object_back() {
    let mut world = World::new();
    let held = world.create(pod("held"));
    world.patch(&held, json!({"metadata": {"finalizers": ["a/b"]}}));
    world.delete(&held);
    assert!(world.object(&held).unwrap()["metadata"].get("deletionTimestamp").is_some());
    world.patch(&held, json!({"metadata": {"finalizers": null}}));
    assert!(world.object(&held).is_none());
    let running = world.create(pod("running"));
    world.patch(&running, json!({"spec": {"nodeName": "n1"}}));
    world.delete(&running);
    assert_eq!(world.object(&running).unwrap()["metadata"]["deletionGracePeriodSeconds"], 30);
    world.apply(&Delete::new(&running).grace(0).into()).unwrap();
    assert!(world.object(&running).is_none());
}

#[test]
fn lists_by_every_condition() {
    let mut world = World::new();
    let mut owned = pod("owned");
    owned["metadata"]["labels"] = json!({"app": "web"});
    owned["metadata"]["ownerReferences"] = json!([{"uid": "u1"}]);
    owned["spec"]["nodeName"] = json!("n1");
    world.create(owned);
    world.create(pod("other"));
    let check = |query: Query, expect: u32| assert_eq!(world.count(&query), expect, "{query:?}");
    check(Query::of(POD), 2);
    check(Query::of(NODE), 0);
    check(Query::any_kind().owned_by("u1"), 1);
    check(Query::of(POD).labels("app in (web,db),!old"), 1);
    check(Query::of(POD).field("spec.nodeName", "n1"), 1);
    check(Query::of(POD).namespace("kube-system"), 0);
    check(Query::of(POD).limit(1), 1);
    assert!(world.list(&Query::of(POD).metadata_only())[0].json.is_empty());
}

/// Counts, in an annotation, how often it was asked about a ConfigMap.
struct Counter;

impl Controller for Counter {
    type Config = Value;

    fn new(_: Value) -> Result<Self, String> {
        Ok(Counter)
    }

    fn describe(&self) -> Description {
        Description::new(Manifest::new("counter", "1"))
            .watch(Watch::of(CONFIG_MAP).when_changed(&["data"]))
            .watch(Watch::of(POD).on(Change::DELETED).enqueue(Enqueue::SameName(CONFIG_MAP)))
    }

    fn reconcile(
        &self,
        _: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        if let Some(map) =
            lister.read::<ConfigMap>(&request.reference.namespace, &request.reference.name)?
        {
            let count: u32 = map
                .metadata
                .annotations
                .get("count")
                .and_then(|count| count.parse().ok())
                .unwrap_or(0);
            let body = json!({"metadata": {"annotations": {"count": (count + 1).to_string()}}});
            outcome.push(Patch::merge(&map, &body).at(map.revision));
            if count == 2 {
                outcome.requeue_after(5_000);
            }
        }
        Ok(outcome)
    }
}

#[test]
fn controllers_are_called_as_they_asked_to_be() {
    let mut cluster = Cluster::new().with::<Counter>(json!({}));
    let map = cluster.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}}));
    let count = |cluster: &Cluster| {
        cluster.object(&map).unwrap()["metadata"]["annotations"]["count"].clone()
    };
    cluster.settle();
    assert_eq!(count(&cluster), "1", "its own annotation is not a change it watches");
    cluster.patch(&map, json!({"data": {"a": "b"}}));
    cluster.settle();
    assert_eq!(count(&cluster), "2");
    let same_name = cluster.create(pod("m"));
    cluster.settle();
    assert_eq!(count(&cluster), "2");
    cluster.delete(&same_name);
    cluster.settle();
    assert_eq!(count(&cluster), "3");
    cluster.advance(4_000);
    assert_eq!(count(&cluster), "3");
    cluster.advance(1_000);
    assert_eq!(count(&cluster), "4");
}
