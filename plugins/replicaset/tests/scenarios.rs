//! A ReplicaSet and its pods, from creation to adoption.

use pintle_plugin_replicaset::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use proptest::prelude::*;
use serde_json::{Value, json};

fn cluster() -> Cluster {
    Cluster::new().with::<Plugin>(json!({}))
}

fn replica_set(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}},
        },
    })
}

fn pods(cluster: &Cluster) -> Vec<Value> {
    cluster.all(&POD).into_iter().cloned().collect()
}

fn pod_ref(pod: &Value) -> ObjectRef {
    POD.named("default", pod["metadata"]["name"].as_str().unwrap())
}

fn make_ready(cluster: &mut Cluster, pod: &Value, node: &str) {
    let reference = pod_ref(pod);
    cluster.patch(&reference, json!({"spec": {"nodeName": node}}));
    let now = pintle_sdk::api::time::format_seconds(cluster.now_unix_ms);
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": now}]);
    cluster.patch_status(&reference, json!({"phase": "Running", "conditions": ready}));
}

#[test]
fn creates_reports_and_deletes() {
    let mut cluster = cluster();
    let set = cluster.create(replica_set(3));
    cluster.settle();
    let created = pods(&cluster);
    assert_eq!(created.len(), 3);
    let metadata = &created[0]["metadata"];
    assert_eq!(metadata["generateName"], "web-");
    assert_eq!(metadata["labels"], json!({"app": "web"}));
    assert_eq!(metadata["ownerReferences"][0]["controller"], true);
    assert_eq!(cluster.events.len(), 3);
    assert_eq!(cluster.events[0].reason, "SuccessfulCreate");
    assert!(cluster.events[0].note.starts_with("Created pod: web-"));
    for pod in &created[..2] {
        make_ready(&mut cluster, pod, "n1");
    }
    cluster.settle();
    let status = cluster.object(&set).unwrap()["status"].clone();
    assert_eq!(
        status,
        json!({"replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 2, "availableReplicas": 2, "terminatingReplicas": 0, "observedGeneration": 1})
    );
    // The unassigned one goes first.
    cluster.patch(&set, json!({"spec": {"replicas": 2}}));
    cluster.settle();
    assert!(cluster.object(&pod_ref(&created[2])).is_none());
    assert_eq!(cluster.events.last().unwrap().reason, "SuccessfulDelete");
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn a_lost_or_finished_pod_is_replaced() {
    let mut cluster = cluster();
    cluster.create(replica_set(2));
    cluster.settle();
    let created = pods(&cluster);
    cluster.delete(&pod_ref(&created[0]));
    cluster.patch_status(&pod_ref(&created[1]), json!({"phase": "Failed"}));
    cluster.settle();
    let names =
        |pods: &[Value]| pods.iter().filter(|pod| pod["status"]["phase"] != "Failed").count();
    assert_eq!(names(&pods(&cluster)), 2);
}

#[test]
fn adopts_what_matches_and_releases_what_does_not() {
    let mut cluster = cluster();
    let orphan = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "orphan", "namespace": "default", "labels": {"app": "web"}}, "spec": {}});
    let orphan = cluster.create(orphan);
    cluster.create(replica_set(2));
    cluster.settle();
    assert_eq!(pods(&cluster).len(), 2);
    assert_eq!(cluster.object(&orphan).unwrap()["metadata"]["ownerReferences"][0]["name"], "web");
    cluster.patch(&orphan, json!({"metadata": {"labels": {"app": "debug"}}}));
    cluster.settle();
    assert_eq!(pods(&cluster).len(), 3);
    assert!(cluster.object(&orphan).unwrap()["metadata"].get("ownerReferences").is_none());
    // Back again: one too many.
    cluster.patch(&orphan, json!({"metadata": {"labels": {"app": "web"}}}));
    cluster.settle();
    assert_eq!(pods(&cluster).len(), 2);
}

#[test]
fn min_ready_seconds_is_waited_for() {
    let mut cluster = cluster();
    let mut object = replica_set(1);
    object["spec"]["minReadySeconds"] = json!(10);
    let set = cluster.create(object);
    cluster.settle();
    let pod = pods(&cluster).remove(0);
    make_ready(&mut cluster, &pod, "n1");
    cluster.settle();
    assert!(cluster.object(&set).unwrap()["status"].get("availableReplicas").is_none());
    cluster.advance(10_000);
    assert_eq!(cluster.object(&set).unwrap()["status"]["availableReplicas"], 1);
}

#[test]
fn large_sets_grow_in_bursts() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({"burstReplicas": 10}));
    cluster.create(replica_set(35));
    let run = cluster.settle();
    assert_eq!(pods(&cluster).len(), 35);
    assert!(run.reconciles >= 4);
}

#[test]
fn a_set_on_its_way_out_is_left_alone() {
    let mut cluster = cluster();
    let set = cluster.create(replica_set(2));
    cluster.settle();
    cluster.patch(&set, json!({"metadata": {"finalizers": ["foregroundDeletion"]}}));
    cluster.delete(&set);
    for pod in pods(&cluster) {
        cluster.delete(&pod_ref(&pod));
    }
    cluster.settle();
    assert!(pods(&cluster).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens to the pods, the wanted number comes back, and once it
    /// is there nothing more is done.
    #[test]
    fn converges(steps in prop::collection::vec((0..5u8, 0..8usize, 0..6i64), 1..25)) {
        let mut cluster = cluster();
        let set = cluster.create(replica_set(3));
        cluster.settle();
        let mut wanted = 3;
        for (what, index, replicas) in steps {
            let present = pods(&cluster);
            let pod = present.get(index % present.len().max(1)).cloned();
            match (what, pod) {
                (0, _) => {
                    wanted = replicas;
                    cluster.patch(&set, json!({"spec": {"replicas": replicas}}));
                }
                (1, Some(pod)) => cluster.delete(&pod_ref(&pod)),
                (2, Some(pod)) => make_ready(&mut cluster, &pod, "n1"),
                (3, Some(pod)) => cluster.patch_status(&pod_ref(&pod), json!({"phase": "Failed"})),
                (4, Some(pod)) => cluster.remove(&pod_ref(&pod)),
                _ => {}
            }
            cluster.settle();
            let active = pods(&cluster).into_iter().filter(|pod| {
                pod["status"]["phase"] != "Failed" && pod["metadata"].get("deletionTimestamp").is_none()
            });
            prop_assert_eq!(active.count() as i64, wanted);
            prop_assert!(cluster.restart().actions.is_empty());
        }
    }
}
