//! A node falls silent, comes back, is tainted and removed.

use pintle_plugin_node_lifecycle::Plugin;
use pintle_sdk::api::time;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use proptest::prelude::*;
use serde_json::{Value, json};

struct Scene {
    cluster: Cluster,
    node: ObjectRef,
    lease: ObjectRef,
}

impl Scene {
    fn new() -> Self {
        let mut cluster = Cluster::new().with::<Plugin>(json!({}));
        let node = cluster.create(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {}}),
        );
        let lease = cluster.create(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "n1", "namespace": "kube-node-lease"}, "spec": {}}));
        let mut scene = Scene { cluster, node, lease };
        scene.report("True");
        scene
    }

    /// The node posts its status and renews its lease.
    fn report(&mut self, ready: &str) {
        let now = time::format_seconds(self.cluster.now_unix_ms);
        let ready = json!({"type": "Ready", "status": ready, "reason": "R", "lastHeartbeatTime": now, "lastTransitionTime": now});
        self.cluster.patch_status(&self.node, json!({"conditions": [ready]}));
        self.renew();
        self.cluster.settle();
    }

    fn renew(&mut self) {
        let now = time::format_micros(self.cluster.now_unix_ms * 1000);
        self.cluster.patch(&self.lease, json!({"spec": {"renewTime": now}}));
    }

    fn pod(&mut self, name: &str, tolerations: Value) -> ObjectRef {
        let now = time::format_seconds(self.cluster.now_unix_ms);
        let pod = self.cluster.create(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "n1", "tolerations": tolerations},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]}}));
        self.cluster.settle();
        pod
    }

    fn taints(&self) -> Vec<String> {
        let taints = self.cluster.object(&self.node).unwrap()["spec"]["taints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text = |taint: &Value| {
            format!("{}:{}", taint["key"].as_str().unwrap(), taint["effect"].as_str().unwrap())
        };
        taints.iter().map(text).collect()
    }

    fn condition(&self, reference: &ObjectRef, r#type: &str) -> Value {
        let conditions = self.cluster.object(reference).unwrap()["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap();
        conditions.into_iter().find(|condition| condition["type"] == r#type).unwrap_or_default()
    }

    fn is_going(&self, pod: &ObjectRef) -> bool {
        self.cluster
            .object(pod)
            .is_none_or(|pod| pod["metadata"].get("deletionTimestamp").is_some())
    }
}

const UNREACHABLE: [&str; 2] =
    ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];

fn for_seconds(seconds: i64) -> Value {
    json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}])
}

#[test]
fn a_node_that_renews_its_lease_stays_ready() {
    let mut scene = Scene::new();
    for _ in 0..30 {
        scene.cluster.advance(10_000);
        scene.renew();
    }
    assert_eq!(scene.condition(&scene.node, "Ready")["status"], "True");
    assert!(scene.taints().is_empty());
}

#[test]
fn silence_is_noticed_and_forgiven() {
    let mut scene = Scene::new();
    let pod = scene.pod("patient", for_seconds(300));
    scene.cluster.advance(39_000);
    assert_eq!(scene.condition(&scene.node, "Ready")["status"], "True");
    scene.cluster.advance(2_000);
    let ready = scene.condition(&scene.node, "Ready");
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("Unknown"), &json!("NodeStatusUnknown"))
    );
    assert_eq!(ready["message"], "Kubelet stopped posting node status.");
    assert_eq!(scene.condition(&scene.node, "DiskPressure")["reason"], "NodeStatusNeverUpdated");
    assert_eq!(scene.taints(), UNREACHABLE);
    assert_eq!(scene.condition(&pod, "Ready")["status"], "False");
    assert_eq!(scene.cluster.events[0].note, "Node n1 status is now: NodeNotReady");
    scene.report("True");
    assert!(scene.taints().is_empty());
    scene.cluster.advance(39_000);
    assert!(!scene.is_going(&pod));
}

#[test]
fn pods_stay_as_long_as_they_tolerate() {
    let mut scene = Scene::new();
    let impatient = scene.pod("impatient", json!([]));
    let patient = scene.pod("patient", for_seconds(300));
    let forever = scene.pod("forever", json!([{"operator": "Exists"}]));
    scene.cluster.advance(41_000);
    assert!(scene.is_going(&impatient) && !scene.is_going(&patient));
    assert_eq!(scene.condition(&impatient, "DisruptionTarget")["reason"], "DeletionByTaintManager");
    scene.cluster.advance(290_000);
    assert!(!scene.is_going(&patient));
    scene.cluster.advance(15_000);
    assert!(scene.is_going(&patient) && !scene.is_going(&forever));
}

#[test]
fn a_node_that_says_it_is_not_ready() {
    let mut scene = Scene::new();
    scene.report("False");
    let expect =
        ["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"];
    assert_eq!(scene.taints(), expect);
    scene.cluster.advance(41_000);
    assert_eq!(scene.taints(), UNREACHABLE);
}

#[test]
fn a_taint_by_hand_evicts_and_stays() {
    let mut scene = Scene::new();
    let pod =
        scene.pod("pod", json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 20}]));
    scene.cluster.patch(
        &scene.node.clone(),
        json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}}),
    );
    scene.cluster.settle();
    scene.renew();
    scene.cluster.advance(19_000);
    assert!(!scene.is_going(&pod));
    scene.renew();
    scene.cluster.advance(2_000);
    assert!(scene.is_going(&pod));
    assert_eq!(scene.taints(), ["k:NoExecute"]);
    let late = scene.pod("late", json!([]));
    assert!(scene.is_going(&late));
}

#[test]
fn cordon_and_pressure_taint_too() {
    let mut scene = Scene::new();
    scene.cluster.patch(&scene.node.clone(), json!({"spec": {"unschedulable": true}}));
    scene.cluster.settle();
    assert_eq!(scene.taints(), ["node.kubernetes.io/unschedulable:NoSchedule"]);
    scene.cluster.patch(&scene.node.clone(), json!({"spec": {"unschedulable": null}}));
    scene.cluster.settle();
    assert!(scene.taints().is_empty());
}

#[test]
fn a_node_that_never_said_anything() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let node = cluster.create(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {}}),
    );
    cluster.advance(59_000);
    assert!(cluster.object(&node).unwrap().get("status").is_none());
    cluster.advance(2_000);
    let conditions = cluster.object(&node).unwrap()["status"]["conditions"].clone();
    assert_eq!(conditions[0]["message"], "Kubelet never posted node status.");
}

#[test]
fn pods_of_a_node_that_is_gone_are_removed() {
    let mut scene = Scene::new();
    let pod = scene.pod("pod", json!([{"operator": "Exists"}]));
    scene.cluster.delete(&scene.node.clone());
    scene.cluster.settle();
    assert!(scene.cluster.object(&pod).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// At any time: taints say what the condition says, a node that was heard of
    /// within the grace period is not unreachable, and a restart decides nothing.
    #[test]
    fn taints_follow_the_condition(steps in prop::collection::vec((0..4u8, 1..30i64), 1..30)) {
        let mut scene = Scene::new();
        let mut heard = scene.cluster.now_unix_ms;
        for (what, seconds) in steps {
            match what {
                0 => scene.report("True"),
                1 => scene.report("False"),
                _ => {}
            }
            if what < 2 {
                heard = scene.cluster.now_unix_ms;
            }
            scene.cluster.advance(seconds * 1000);
            let ready = scene.condition(&scene.node, "Ready")["status"].as_str().unwrap().to_owned();
            let taints = scene.taints();
            match ready.as_str() {
                "True" => prop_assert!(taints.is_empty()),
                "False" => prop_assert!(taints.iter().all(|taint| taint.contains("not-ready")) && taints.len() == 2),
                _ => prop_assert_eq!(&taints, &UNREACHABLE),
            }
            let silence = scene.cluster.now_unix_ms - heard;
            prop_assert_eq!(ready == "Unknown", silence >= 40_000, "silent for {} ms", silence);
            prop_assert!(scene.cluster.restart().actions.is_empty());
        }
    }
}
