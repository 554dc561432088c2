//! A StatefulSet's pods, from the first to the last, through updates and back.

use pintle_plugin_statefulset::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

const NOW_HEALTHY: &str = "Running";

struct Db(Cluster);

impl Db {
    fn new(spec: Value) -> Self {
        let mut cluster = Cluster::new().with::<Plugin>(json!({}));
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": "default"},
            "spec": {
                "replicas": 3,
                "serviceName": "db",
                "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "db:1"}]}},
            },
        });
        pintle_sdk_testing::merge_patch(&mut object, &json!({ "spec": spec }));
        cluster.create(object);
        cluster.settle();
        Db(cluster)
    }

    fn set() -> ObjectRef {
        STATEFUL_SET.named("default", "db")
    }

    fn pod(number: usize) -> ObjectRef {
        POD.named("default", format!("db-{number}"))
    }

    fn names(&self) -> Vec<String> {
        self.0
            .all(&POD)
            .iter()
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn image(&self, number: usize) -> Value {
        self.0.object(&Self::pod(number)).unwrap()["spec"]["containers"][0]["image"].clone()
    }

    fn heal(&mut self, number: usize) {
        let now = pintle_sdk::api::time::format_seconds(self.0.now_unix_ms);
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": now}]);
        self.0.patch_status(&Self::pod(number), json!({"phase": NOW_HEALTHY, "conditions": ready}));
        self.0.settle();
    }

    /// Makes every pod healthy until nothing happens any more.
    fn heal_all(&mut self) {
        for _ in 0..20 {
            let sick: Vec<usize> = self
                .0
                .all(&POD)
                .iter()
                .filter(|pod| pod["status"]["phase"] != NOW_HEALTHY)
                .filter_map(|pod| {
                    pod["metadata"]["name"].as_str()?.rsplit('-').next()?.parse().ok()
                })
                .collect();
            if sick.is_empty() {
                return;
            }
            for number in sick {
                self.heal(number);
            }
        }
        panic!("does not come to rest: {:?}", self.names());
    }

    fn change(&mut self, spec: Value) {
        self.0.patch(&Self::set(), json!({ "spec": spec }));
        self.0.settle();
    }

    fn status(&self) -> Value {
        self.0.object(&Self::set()).unwrap()["status"].clone()
    }
}

#[test]
fn pods_come_up_one_after_the_other() {
    let mut db = Db::new(json!({}));
    assert_eq!(db.names(), ["db-0"]);
    let first = db.0.object(&Db::pod(0)).unwrap().clone();
    assert_eq!(first["spec"]["hostname"], "db-0");
    assert_eq!(first["spec"]["subdomain"], "db");
    assert_eq!(first["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "0");
    db.heal(0);
    assert_eq!(db.names(), ["db-0", "db-1"]);
    db.heal(1);
    db.heal(2);
    let status = db.status();
    assert_eq!((&status["replicas"], &status["readyReplicas"]), (&json!(3), &json!(3)));
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    assert!(
        db.0.events
            .iter()
            .any(|event| event.note == "create Pod db-2 in StatefulSet db successful")
    );
    assert!(db.0.restart().actions.is_empty());
}

#[test]
fn parallel_pods_come_and_go_at_once() {
    let mut db = Db::new(json!({"podManagementPolicy": "Parallel"}));
    assert_eq!(db.names(), ["db-0", "db-1", "db-2"]);
    db.heal_all();
    db.change(json!({"replicas": 1}));
    assert_eq!(db.names(), ["db-0"]);
}

#[test]
fn the_highest_number_goes_first_and_a_sick_pod_stops_the_rest() {
    let mut db = Db::new(json!({}));
    db.heal_all();
    db.0.patch_status(&Db::pod(0), json!({"conditions": []}));
    db.change(json!({"replicas": 1}));
    assert_eq!(db.names(), ["db-0", "db-1", "db-2"], "not while a pod that stays is sick");
    db.heal(0);
    assert_eq!(db.names(), ["db-0"]);
    let deleted: Vec<&str> =
        db.0.events
            .iter()
            .filter(|event| event.reason == "SuccessfulDelete")
            .map(|event| event.note.as_str())
            .collect();
    assert_eq!(
        deleted,
        [
            "delete Pod db-2 in StatefulSet db successful",
            "delete Pod db-1 in StatefulSet db successful"
        ]
    );
}

#[test]
fn a_changed_template_goes_from_the_top_down() {
    let mut db = Db::new(json!({}));
    db.heal_all();
    let template = json!({"spec": {"containers": [{"name": "c", "image": "db:2"}]}});
    db.change(json!({ "template": template }));
    assert_eq!([db.image(0), db.image(1), db.image(2)], ["db:1", "db:1", "db:2"]);
    let status = db.status();
    assert_ne!(status["currentRevision"], status["updateRevision"]);
    assert_eq!((&status["currentReplicas"], &status["updatedReplicas"]), (&json!(2), &json!(1)));
    db.heal_all();
    assert_eq!([db.image(0), db.image(1), db.image(2)], ["db:2", "db:2", "db:2"]);
    let status = db.status();
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    assert_eq!(db.0.all(&CONTROLLER_REVISION).len(), 2);
    // And back: the old revision becomes the newest, none is added.
    let template = json!({"spec": {"containers": [{"name": "c", "image": "db:1"}]}});
    db.change(json!({ "template": template }));
    db.heal_all();
    assert_eq!(db.image(0), "db:1");
    assert_eq!(db.0.all(&CONTROLLER_REVISION).len(), 2);
}

#[test]
fn a_partition_keeps_the_lower_numbers_and_a_lost_one_comes_back_as_it_was() {
    let mut db = Db::new(
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}),
    );
    db.heal_all();
    let template = json!({"spec": {"containers": [{"name": "c", "image": "db:2"}]}});
    db.change(json!({ "template": template }));
    db.heal_all();
    assert_eq!([db.image(0), db.image(1), db.image(2)], ["db:1", "db:1", "db:2"]);
    db.0.delete(&Db::pod(0));
    db.0.settle();
    assert_eq!(db.image(0), "db:1");
    db.heal_all();
    db.change(json!({"updateStrategy": {"rollingUpdate": {"partition": 0}}}));
    db.heal_all();
    assert_eq!([db.image(0), db.image(1), db.image(2)], ["db:2", "db:2", "db:2"]);
}

#[test]
fn on_delete_waits_for_somebody_to_delete() {
    let mut db = Db::new(json!({"updateStrategy": {"type": "OnDelete"}}));
    db.heal_all();
    let template = json!({"spec": {"containers": [{"name": "c", "image": "db:2"}]}});
    db.change(json!({ "template": template }));
    assert_eq!([db.image(0), db.image(1), db.image(2)], ["db:1", "db:1", "db:1"]);
    db.0.delete(&Db::pod(1));
    db.0.settle();
    assert_eq!(db.image(1), "db:2");
}

#[test]
fn a_failed_pod_is_replaced() {
    let mut db = Db::new(json!({}));
    db.heal_all();
    db.0.patch_status(&Db::pod(1), json!({"phase": "Failed", "conditions": []}));
    db.0.settle();
    assert!(db.0.events.iter().any(|event| event.reason == "RecreatingFailedPod"));
    assert_ne!(db.0.object(&Db::pod(1)).unwrap()["status"]["phase"], "Failed");
}

fn claims(db: &Db) -> Vec<String> {
    db.0.all(&PERSISTENT_VOLUME_CLAIM)
        .iter()
        .map(|claim| {
            let owners = claim["metadata"]["ownerReferences"].as_array();
            let owner = owners.and_then(|owners| owners.first()?["kind"].as_str()).unwrap_or("-");
            format!("{} {owner}", claim["metadata"]["name"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn claims_outlive_their_pods_unless_the_policy_says_otherwise() {
    let templates = json!([{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}]);
    let mut db = Db::new(json!({"replicas": 2, "volumeClaimTemplates": templates}));
    db.heal_all();
    assert_eq!(claims(&db), ["data-db-0 -", "data-db-1 -"]);
    let claim = &db.0.all(&PERSISTENT_VOLUME_CLAIM)[0];
    assert_eq!(claim["metadata"]["labels"], json!({"app": "db"}));
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "1Gi");
    let volumes = &db.0.object(&Db::pod(1)).unwrap()["spec"]["volumes"];
    assert_eq!(volumes[0]["persistentVolumeClaim"]["claimName"], "data-db-1");
    db.change(json!({"replicas": 1}));
    assert_eq!(claims(&db), ["data-db-0 -", "data-db-1 -"]);
    db.change(json!({"replicas": 2}));
    db.heal_all();
    let policy = json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    db.change(json!({ "persistentVolumeClaimRetentionPolicy": policy }));
    assert_eq!(claims(&db), ["data-db-0 StatefulSet", "data-db-1 StatefulSet"]);
    db.change(json!({"replicas": 1}));
    assert_eq!(claims(&db), ["data-db-0 StatefulSet", "data-db-1 Pod"]);
}

#[test]
fn labels_that_tell_who_a_pod_is_are_put_back() {
    let mut db = Db::new(json!({"replicas": 1}));
    let label = "statefulset.kubernetes.io/pod-name";
    db.0.patch(&Db::pod(0), json!({"metadata": {"labels": {label: null}}}));
    db.0.settle();
    assert_eq!(db.0.object(&Db::pod(0)).unwrap()["metadata"]["labels"][label], "db-0");
}

#[test]
fn numbers_may_start_elsewhere() {
    let db = Db::new(
        json!({"replicas": 2, "podManagementPolicy": "Parallel", "ordinals": {"start": 5}}),
    );
    assert_eq!(db.names(), ["db-5", "db-6"]);
}
