//! Requests against quotas.

use pintle_plugin_resource_quota::Plugin;
use pintle_sdk_testing::{
    Reviewing,
    objects::{config_map, pod},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn reviewing(spec: Value) -> Reviewing {
    let mut reviewing = Reviewing::with::<Plugin>(json!({}));
    reviewing.insert(json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": "default"}, "spec": spec}));
    reviewing
}

fn refused(reviewing: &mut Reviewing, object: Value, expect: &str) {
    let answer = reviewing.create(object);
    assert_eq!(answer.map(|_| ()).map_err(|denied| denied.message), Err(expect.to_owned()));
}

#[test]
fn more_than_is_allowed_is_refused() {
    let mut reviewing = reviewing(json!({"hard": {"pods": "2", "configmaps": "1"}}));
    for name in ["a", "b"] {
        let object = reviewing.create(pod(name)).unwrap().object;
        reviewing.insert(object);
    }
    let full = "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
    refused(&mut reviewing, pod("c").build(), full);
    // What has ended makes room; other kinds and namespaces have their own.
    reviewing.insert(pod("a").set("status.phase", "Succeeded"));
    reviewing.create(pod("c")).unwrap();
    reviewing.create(config_map("m")).unwrap();
    reviewing.create(pod("d").namespace("other")).unwrap();
}

#[test]
fn requests_under_way_count() {
    let mut reviewing = reviewing(json!({"hard": {"pods": "1"}}));
    reviewing.create(pod("a")).unwrap();
    let full = "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1";
    refused(&mut reviewing, pod("b").build(), full);
    // The same request once more, after a lost answer.
    reviewing.create(pod("a")).unwrap();
    // It never arrived.
    reviewing.now_unix_ms += 5_000;
    let object = reviewing.create(pod("b")).unwrap().object;
    // It did, and went away again.
    let reference = reviewing.insert(object);
    refused(&mut reviewing, pod("c").build(), full);
    reviewing.remove(&reference);
    reviewing.create(pod("c")).unwrap();
}

#[test]
fn resources_must_be_said_and_fit() {
    let mut reviewing = reviewing(json!({"hard": {"requests.cpu": "2", "limits.memory": "1Gi"}}));
    refused(
        &mut reviewing,
        pod("p").build(),
        "failed quota: q: must specify limits.memory for: main; requests.cpu for: main",
    );
    let asking = |cpu: &str| {
        let mut object = pod("p").requests("cpu", cpu).build();
        object["spec"]["containers"][0]["resources"]["limits"] = json!({"memory": "1Gi"});
        object
    };
    refused(
        &mut reviewing,
        asking("2500m"),
        "exceeded quota: q, requested: requests.cpu=2500m, used: requests.cpu=0, limited: requests.cpu=2",
    );
    reviewing.create(asking("2")).unwrap();
}

#[test]
fn claims_may_not_grow_beyond() {
    let fast = "fast.storageclass.storage.k8s.io/requests.storage";
    let mut reviewing = reviewing(json!({"hard": {"requests.storage": "10Gi", fast: "5Gi"}}));
    let claim = |storage: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "c", "namespace": "default"},
            "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": storage}}}})
    };
    let small = reviewing.insert(claim("2Gi"));
    let small = reviewing.object(&small).unwrap().clone();
    reviewing.update(small.clone(), claim("5Gi")).unwrap();
    let refusal = reviewing.update(small.clone(), claim("6Gi")).unwrap_err();
    assert_eq!(
        refusal.message,
        format!("exceeded quota: q, requested: {fast}=4Gi, used: {fast}=2Gi, limited: {fast}=5Gi")
    );
    reviewing.update(small, claim("1Gi")).unwrap();
}

#[test]
fn scopes_choose_whom_it_concerns() {
    let mut reviewing = reviewing(json!({"hard": {"pods": "0"}, "scopeSelector": {
        "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}));
    reviewing.create(pod("common")).unwrap();
    refused(
        &mut reviewing,
        pod("important").set("spec.priorityClassName", "high").build(),
        "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0",
    );
}

proptest! {
    /// Whatever arrives when, no more than the quota allows is let through.
    #[test]
    fn never_exceeded(limit in 0usize..4, steps in prop::collection::vec((0..12u8, 0..3u8), 1..60)) {
        let mut reviewing = reviewing(json!({"hard": {"pods": limit.to_string()}}));
        let mut under_way: Vec<Value> = Vec::new();
        for (number, what) in steps {
            match what {
                0 => {
                    let name = format!("p{number}");
                    let exists = reviewing.object(&pintle_sdk::prelude::POD.named("default", &*name)).is_some();
                    if !exists && let Ok(admitted) = reviewing.create(pod(&name)) {
                        under_way.retain(|other| other["metadata"]["name"] != *name);
                        under_way.push(admitted.object);
                    }
                }
                1 if !under_way.is_empty() => {
                    let object = under_way.remove(usize::from(number) % under_way.len());
                    reviewing.insert(object);
                }
                _ => {
                    reviewing.remove(&pintle_sdk::prelude::POD.named("default", format!("p{number}")));
                }
            }
            let present = reviewing.all(&pintle_sdk::prelude::POD).len();
            prop_assert!(present + under_way.len() <= limit, "{present} and {} of {limit}", under_way.len());
        }
    }
}
