//! Rollouts from the first apply to the roll-back, with the replicaset plugin
//! and a node that makes pods ready.

use pintle_plugin_deployment::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use proptest::prelude::*;
use serde_json::{Value, json};

const REVISION: &str = "deployment.kubernetes.io/revision";

fn cluster() -> Cluster {
    Cluster::new().with::<Plugin>(json!({})).with::<pintle_plugin_replicaset::Plugin>(json!({}))
}

fn deployment(replicas: i64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "annotations": {"team": "a"}},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

fn set_image(cluster: &mut Cluster, web: &ObjectRef, image: &str) {
    cluster.patch(
        web,
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}),
    );
}

fn pod_ref(pod: &Value) -> ObjectRef {
    POD.named("default", pod["metadata"]["name"].as_str().unwrap())
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

/// Starts one pod that has not started yet, as a node would; `broken` images never do.
fn start_one(cluster: &mut Cluster) -> bool {
    let waiting = cluster
        .all(&POD)
        .into_iter()
        .find(|pod| !is_ready(pod) && pod["spec"]["containers"][0]["image"] != "broken")
        .map(pod_ref);
    let Some(reference) = waiting else { return false };
    let now = pintle_sdk::api::time::format_seconds(cluster.now_unix_ms);
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": now}]);
    cluster.patch_status(&reference, json!({"phase": "Running", "conditions": ready}));
    true
}

fn roll_out(cluster: &mut Cluster) {
    cluster.settle();
    while start_one(cluster) {
        cluster.settle();
    }
}

fn sets(cluster: &Cluster) -> Vec<Value> {
    let mut sets: Vec<Value> = cluster.all(&REPLICA_SET).into_iter().cloned().collect();
    sets.sort_by_key(|set| set["metadata"]["uid"].as_str().unwrap()[4..].parse::<u64>().unwrap());
    sets
}

fn sizes(cluster: &Cluster) -> Vec<i64> {
    sets(cluster).iter().map(|set| set["spec"]["replicas"].as_i64().unwrap()).collect()
}

fn condition(cluster: &Cluster, web: &ObjectRef, r#type: &str) -> (String, String) {
    let conditions = cluster.object(web).unwrap()["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == r#type)
        .cloned()
        .unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn revision(object: &Value) -> &str {
    object["metadata"]["annotations"][REVISION].as_str().unwrap_or_default()
}

#[test]
fn the_first_rollout() {
    let mut cluster = cluster();
    let web = cluster.create(deployment(4, "web:1"));
    cluster.settle();
    assert_eq!(sizes(&cluster), [4]);
    assert_eq!(
        condition(&cluster, &web, "Available"),
        ("False".into(), "MinimumReplicasUnavailable".into())
    );
    assert_eq!(
        condition(&cluster, &web, "Progressing"),
        ("True".into(), "ReplicaSetUpdated".into())
    );
    roll_out(&mut cluster);
    let object = cluster.object(&web).unwrap();
    let status = &object["status"];
    assert_eq!(status["observedGeneration"], 1);
    for count in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        assert_eq!(status[count], 4, "{count}");
    }
    assert!(status.get("unavailableReplicas").is_none());
    assert_eq!(
        condition(&cluster, &web, "Available"),
        ("True".into(), "MinimumReplicasAvailable".into())
    );
    assert_eq!(
        condition(&cluster, &web, "Progressing"),
        ("True".into(), "NewReplicaSetAvailable".into())
    );
    assert_eq!(revision(object), "1");
    let set = &sets(&cluster)[0];
    let hash = set["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(set["metadata"]["name"], format!("web-{hash}"));
    assert_eq!(
        set["spec"]["selector"]["matchLabels"],
        json!({"app": "web", "pod-template-hash": hash})
    );
    assert_eq!(set["metadata"]["annotations"]["team"], "a");
    assert_eq!(set["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"], "5");
    let notes: Vec<&str> = cluster
        .events
        .iter()
        .filter(|event| event.reason == "ScalingReplicaSet")
        .map(|event| event.note.as_str())
        .collect();
    assert_eq!(notes, [format!("Scaled up replica set web-{hash} from 0 to 4")]);
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn an_update_stays_within_its_bounds_and_can_be_rolled_back() {
    let mut cluster = cluster();
    let web = cluster.create(deployment(4, "web:1"));
    roll_out(&mut cluster);
    set_image(&mut cluster, &web, "web:2");
    cluster.settle();
    assert_eq!(sizes(&cluster), [3, 2]);
    loop {
        let total = cluster.all(&POD).len();
        let ready = cluster.all(&POD).into_iter().filter(|pod| is_ready(pod)).count();
        assert!(total <= 5 && ready >= 3, "{ready} of {total} ready");
        if !start_one(&mut cluster) {
            break;
        }
        cluster.settle();
    }
    assert_eq!(sizes(&cluster), [0, 4]);
    assert_eq!(revision(cluster.object(&web).unwrap()), "2");
    // `kubectl rollout undo` puts the old template back.
    set_image(&mut cluster, &web, "web:1");
    roll_out(&mut cluster);
    assert_eq!(sizes(&cluster), [4, 0]);
    assert_eq!(revision(cluster.object(&web).unwrap()), "3");
    let first = &sets(&cluster)[0];
    assert_eq!(revision(first), "3");
    assert_eq!(first["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"], "1");
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn recreate_ends_the_old_pods_first() {
    let mut cluster = cluster();
    let mut object = deployment(3, "web:1");
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    let web = cluster.create(object);
    roll_out(&mut cluster);
    let held = pod_ref(cluster.all(&POD)[0]);
    cluster.patch(&held, json!({"metadata": {"finalizers": ["example.com/hold"]}}));
    set_image(&mut cluster, &web, "web:2");
    cluster.settle();
    assert_eq!(sizes(&cluster), [0], "an old pod is still there");
    cluster.remove(&held);
    roll_out(&mut cluster);
    assert_eq!(sizes(&cluster), [0, 3]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_the_shares() {
    let mut cluster = cluster();
    let web = cluster.create(deployment(10, "web:1"));
    roll_out(&mut cluster);
    set_image(&mut cluster, &web, "broken");
    cluster.settle();
    assert_eq!(sizes(&cluster), [8, 5]);
    cluster.patch(&web, json!({"spec": {"replicas": 15}}));
    cluster.settle();
    let grown = sizes(&cluster);
    assert_eq!(grown.iter().sum::<i64>(), 19);
    assert!(grown[0] > 8 && grown[1] > 5, "{grown:?}");
}

#[test]
fn scaling_at_rest() {
    let mut cluster = cluster();
    let web = cluster.create(deployment(2, "web:1"));
    roll_out(&mut cluster);
    for replicas in [5, 0, 1] {
        cluster.patch(&web, json!({"spec": {"replicas": replicas}}));
        roll_out(&mut cluster);
        assert_eq!(sizes(&cluster), [replicas]);
        assert_eq!(
            cluster.object(&web).unwrap()["status"]["observedGeneration"],
            cluster.object(&web).unwrap()["metadata"]["generation"]
        );
    }
}

#[test]
fn a_paused_rollout_scales_but_does_not_roll() {
    let mut cluster = cluster();
    let web = cluster.create(deployment(4, "web:1"));
    roll_out(&mut cluster);
    cluster.patch(&web, json!({"spec": {"paused": true}}));
    set_image(&mut cluster, &web, "web:2");
    roll_out(&mut cluster);
    assert_eq!(sizes(&cluster), [4]);
    assert_eq!(
        condition(&cluster, &web, "Progressing"),
        ("Unknown".into(), "DeploymentPaused".into())
    );
    cluster.patch(&web, json!({"spec": {"replicas": 6}}));
    roll_out(&mut cluster);
    assert_eq!(sizes(&cluster), [6]);
    cluster.patch(&web, json!({"spec": {"paused": false}}));
    roll_out(&mut cluster);
    assert_eq!(sizes(&cluster), [0, 6]);
    assert_eq!(
        condition(&cluster, &web, "Progressing"),
        ("True".into(), "NewReplicaSetAvailable".into())
    );
}

#[test]
fn a_rollout_that_does_not_get_on_times_out() {
    let mut cluster = cluster();
    let mut object = deployment(2, "broken");
    object["spec"]["progressDeadlineSeconds"] = json!(60);
    let web = cluster.create(object);
    cluster.settle();
    cluster.advance(50_000);
    assert_eq!(condition(&cluster, &web, "Progressing").0, "True");
    cluster.advance(20_000);
    assert_eq!(
        condition(&cluster, &web, "Progressing"),
        ("False".into(), "ProgressDeadlineExceeded".into())
    );
    set_image(&mut cluster, &web, "web:2");
    roll_out(&mut cluster);
    assert_eq!(
        condition(&cluster, &web, "Progressing"),
        ("True".into(), "NewReplicaSetAvailable".into())
    );
}

#[test]
fn history_is_trimmed() {
    let mut cluster = cluster();
    let mut object = deployment(1, "web:1");
    object["spec"]["revisionHistoryLimit"] = json!(2);
    let web = cluster.create(object);
    for image in ["web:1", "web:2", "web:3", "web:4", "web:5"] {
        set_image(&mut cluster, &web, image);
        roll_out(&mut cluster);
    }
    let kept: Vec<String> = sets(&cluster).iter().map(|set| revision(set).to_owned()).collect();
    assert_eq!(kept, ["3", "4", "5"]);
}

#[test]
fn a_name_that_is_taken_counts_as_a_collision() {
    let mut cluster = cluster();
    let object = deployment(1, "web:1");
    let hash = pintle_plugin_deployment::template::hash(&object["spec"]["template"], None);
    cluster.create(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": format!("web-{hash}"), "namespace": "default"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"x": "y"}}, "template": {}}}));
    let web = cluster.create(object);
    roll_out(&mut cluster);
    assert_eq!(sets(&cluster).len(), 2);
    assert_eq!(cluster.object(&web).unwrap()["status"]["collisionCount"], 1);
    assert_eq!(cluster.object(&web).unwrap()["status"]["availableReplicas"], 1);
}

#[test]
fn an_orphaned_set_is_adopted() {
    let mut cluster = cluster();
    let web = cluster.create(deployment(2, "web:1"));
    roll_out(&mut cluster);
    let set = sets(&cluster).remove(0);
    let reference = REPLICA_SET.named("default", set["metadata"]["name"].as_str().unwrap());
    cluster.patch(&reference, json!({"metadata": {"ownerReferences": null}}));
    roll_out(&mut cluster);
    assert_eq!(sets(&cluster).len(), 1);
    let uid = cluster.object(&web).unwrap()["metadata"]["uid"].clone();
    assert_eq!(sets(&cluster)[0]["metadata"]["ownerReferences"][0]["uid"], uid);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is changed in whatever order, the rollout ends with the wanted
    /// pods of the wanted template, and a restart then decides nothing.
    #[test]
    fn converges(steps in prop::collection::vec((0..6u8, 0..5i64), 1..20)) {
        let mut cluster = cluster();
        let web = cluster.create(deployment(3, "web:0"));
        let (mut replicas, mut image) = (3, 0);
        for (what, number) in steps {
            match what {
                0 => {
                    replicas = number;
                    cluster.patch(&web, json!({"spec": {"replicas": number}}));
                }
                1 => {
                    image = number;
                    set_image(&mut cluster, &web, &format!("web:{number}"));
                }
                2 => {
                    start_one(&mut cluster);
                }
                3 => {
                    let pods: Vec<ObjectRef> = cluster.all(&POD).into_iter().map(pod_ref).collect();
                    if let Some(pod) = pods.get(number as usize) {
                        cluster.delete(pod);
                    }
                }
                4 => cluster.patch(&web, json!({"spec": {"paused": true}})),
                _ => {
                    cluster.settle();
                }
            }
        }
        cluster.patch(&web, json!({"spec": {"paused": false}}));
        roll_out(&mut cluster);
        let pods = cluster.all(&POD);
        prop_assert_eq!(pods.len() as i64, replicas);
        for pod in pods {
            prop_assert_eq!(&pod["spec"]["containers"][0]["image"], &json!(format!("web:{image}")));
        }
        prop_assert!(cluster.restart().actions.is_empty());
    }
}
