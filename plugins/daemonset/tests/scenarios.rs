//! A DaemonSet's pods as nodes come, go and change, and through updates.

use pintle_plugin_daemonset::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

struct Agents(Cluster);

fn node(name: &str, change: Value) -> Value {
    let mut node =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}});
    pintle_sdk_testing::merge_patch(&mut node, &change);
    node
}

impl Agents {
    fn new(nodes: usize, spec: Value) -> Self {
        let mut cluster = Cluster::new().with::<Plugin>(json!({}));
        for number in 0..nodes {
            cluster.create(node(&format!("n{number}"), json!({})));
        }
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "agent", "namespace": "default"},
            "spec": {
                "selector": {"matchLabels": {"app": "agent"}},
                "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "c", "image": "agent:1"}]}},
            },
        });
        pintle_sdk_testing::merge_patch(&mut object, &json!({ "spec": spec }));
        cluster.create(object);
        cluster.settle();
        Agents(cluster)
    }

    fn set() -> ObjectRef {
        DAEMON_SET.named("default", "agent")
    }

    /// Node and image of each pod, and whether it works.
    fn pods(&self) -> Vec<String> {
        let mut pods: Vec<String> = self
            .0
            .all(&POD)
            .iter()
            .map(|pod| {
                let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
                let node = &terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0];
                let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
                let works = if pod["status"]["phase"] == "Running" { "" } else { " waits" };
                format!("{} {image}{works}", node.as_str().unwrap())
            })
            .collect();
        pods.sort();
        pods
    }

    /// Binds and starts every pod that waits.
    fn start_all(&mut self) {
        let waiting: Vec<(ObjectRef, Value)> = self
            .0
            .all(&POD)
            .iter()
            .filter(|pod| pod["status"]["phase"] != "Running")
            .map(|pod| {
                let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
                let node = terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0].clone();
                (POD.named("default", pod["metadata"]["name"].as_str().unwrap()), node)
            })
            .collect();
        let now = pintle_sdk::api::time::format_seconds(self.0.now_unix_ms);
        for (pod, node) in waiting {
            self.0.patch(&pod, json!({"spec": {"nodeName": node}}));
            let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": now}]);
            self.0.patch_status(&pod, json!({"phase": "Running", "conditions": ready}));
        }
        self.settle();
    }

    fn change(&mut self, spec: Value) {
        self.0.patch(&Self::set(), json!({ "spec": spec }));
        self.settle();
    }

    /// With node agents that end pods which are to be deleted.
    fn settle(&mut self) {
        loop {
            self.0.settle();
            let ending: Vec<ObjectRef> = self
                .0
                .all(&POD)
                .iter()
                .filter(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
                .map(|pod| POD.named("default", pod["metadata"]["name"].as_str().unwrap()))
                .collect();
            if ending.is_empty() {
                return;
            }
            for pod in ending {
                self.0.apply(&Delete::new(&pod).grace(0).into()).unwrap();
            }
        }
    }

    fn image(&mut self, image: &str) {
        self.change(json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}));
    }

    fn status(&self, field: &str) -> i64 {
        self.0.object(&Self::set()).unwrap()["status"][field].as_i64().unwrap_or(0)
    }
}

#[test]
fn every_node_gets_one_and_new_nodes_too() {
    let mut agents = Agents::new(2, json!({}));
    assert_eq!(agents.pods(), ["n0 agent:1 waits", "n1 agent:1 waits"]);
    agents.start_all();
    assert_eq!((agents.status("desiredNumberScheduled"), agents.status("numberReady")), (2, 2));
    agents.0.create(node("n2", json!({})));
    agents.settle();
    assert_eq!(agents.pods().len(), 3);
    assert_eq!(agents.status("numberUnavailable"), 1);
    let pod = agents.0.all(&POD)[0].clone();
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "DaemonSet");
    assert!(pod["spec"]["tolerations"].as_array().unwrap().len() >= 6);
    assert!(agents.0.restart().actions.is_empty());
}

#[test]
fn a_node_that_does_not_fit_gets_none_and_loses_its_own() {
    let mut agents =
        Agents::new(2, json!({"template": {"spec": {"nodeSelector": {"role": "edge"}}}}));
    assert!(agents.pods().is_empty());
    agents.0.patch(&NODE.named("", "n1"), json!({"metadata": {"labels": {"role": "edge"}}}));
    agents.settle();
    assert_eq!(agents.pods(), ["n1 agent:1 waits"]);
    agents.start_all();
    agents.0.patch(&NODE.named("", "n1"), json!({"metadata": {"labels": {"role": "core"}}}));
    agents.settle();
    assert!(agents.pods().is_empty());
}

#[test]
fn a_taint_keeps_new_pods_away_and_leaves_old_ones() {
    let mut agents = Agents::new(1, json!({}));
    agents.start_all();
    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "gpu", "effect": effect}]}});
    agents.0.patch(&NODE.named("", "n0"), taint("NoSchedule"));
    agents.settle();
    assert_eq!(agents.pods(), ["n0 agent:1"]);
    assert_eq!(
        (agents.status("desiredNumberScheduled"), agents.status("numberMisscheduled")),
        (0, 1)
    );
    agents.0.patch(&NODE.named("", "n0"), taint("NoExecute"));
    agents.settle();
    assert!(agents.pods().is_empty());
}

#[test]
fn a_changed_template_replaces_so_many_at_a_time() {
    let mut agents =
        Agents::new(4, json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}}));
    agents.start_all();
    agents.image("agent:2");
    assert_eq!(agents.pods(), ["n0 agent:2 waits", "n1 agent:2 waits", "n2 agent:1", "n3 agent:1"]);
    agents.start_all();
    agents.start_all();
    assert_eq!(agents.pods(), ["n0 agent:2", "n1 agent:2", "n2 agent:2", "n3 agent:2"]);
    assert_eq!(agents.status("updatedNumberScheduled"), 4);
}

#[test]
fn with_surge_the_new_pod_comes_beside_the_old_one() {
    let surge = json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}});
    let mut agents = Agents::new(2, surge);
    agents.start_all();
    agents.image("agent:2");
    assert_eq!(agents.pods(), ["n0 agent:1", "n0 agent:2 waits", "n1 agent:1"]);
    agents.start_all();
    assert_eq!(agents.pods(), ["n0 agent:2", "n1 agent:1", "n1 agent:2 waits"]);
    agents.start_all();
    assert_eq!(agents.pods(), ["n0 agent:2", "n1 agent:2"]);
}

#[test]
fn on_delete_waits_for_somebody_to_delete() {
    let mut agents = Agents::new(1, json!({"updateStrategy": {"type": "OnDelete"}}));
    agents.start_all();
    agents.image("agent:2");
    assert_eq!(agents.pods(), ["n0 agent:1"]);
    let name = agents.0.all(&POD)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    agents.0.delete(&POD.named("default", name));
    agents.settle();
    assert_eq!(agents.pods(), ["n0 agent:2 waits"]);
}

#[test]
fn a_failed_pod_is_replaced_but_not_at_once() {
    let mut agents = Agents::new(1, json!({}));
    let name = agents.0.all(&POD)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    agents.0.patch_status(&POD.named("default", name.clone()), json!({"phase": "Failed"}));
    agents.settle();
    assert_eq!(agents.0.all(&POD)[0]["metadata"]["name"], name);
    agents.0.advance(1000);
    assert_ne!(agents.0.all(&POD)[0]["metadata"]["name"], name);
    assert!(agents.0.events.iter().any(|event| event.reason == "FailedDaemonPod"));
}

#[test]
fn of_two_pods_on_a_node_the_younger_goes() {
    let mut agents = Agents::new(1, json!({}));
    agents.start_all();
    let mut twin = agents.0.all(&POD)[0].clone();
    let old = twin["metadata"]["name"].clone();
    twin["metadata"] = json!({"name": "twin", "namespace": "default", "labels": twin["metadata"]["labels"],
        "ownerReferences": twin["metadata"]["ownerReferences"]});
    agents.0.now_unix_ms += 5000;
    agents.0.create(twin);
    agents.settle();
    assert_eq!(agents.0.all(&POD).len(), 1);
    assert_eq!(agents.0.all(&POD)[0]["metadata"]["name"], old);
}
