//! Nodes and what happens on them: they report, fall silent and vanish; pods
//! start, end, succeed, and sometimes fail. Also what the API server adds to an
//! object and what measures the pods.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::names::Random;
use pintle_sdk::prelude::*;
use pintle_sdk::time;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

use crate::objects::HOME;

const POD_METRICS: KindRef = KindRef::new("metrics.k8s.io", "v1beta1", "PodMetrics");
const LEASES: &str = "kube-node-lease";

#[derive(Default)]
pub struct Site {
    /// Machines that have been there.
    machines: BTreeSet<usize>,
    /// Nodes whose agent does not answer.
    silent: BTreeSet<String>,
    /// Millicores that come to a Deployment, whatever its size.
    load: BTreeMap<String, usize>,
}

/// What matters of a pod here.
struct Seen {
    reference: ObjectRef,
    uid: String,
    node: String,
    phase: String,
    ready: bool,
    ending: bool,
    completes: bool,
    claims: Vec<String>,
}

impl Seen {
    fn of(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &pod["metadata"];
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        Seen {
            reference: POD.named(text(&metadata["namespace"]), text(&metadata["name"])),
            uid: text(&metadata["uid"]),
            node: text(&pod["spec"]["nodeName"]),
            phase: pod["status"]["phase"].as_str().unwrap_or("Pending").to_owned(),
            ready: pod["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|found| found["type"] == "Ready" && found["status"] == "True"),
            ending: metadata["deletionTimestamp"].is_string(),
            completes: pod["spec"]["restartPolicy"] == "Never",
            claims: volumes
                .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
                .map(str::to_owned)
                .collect(),
        }
    }

    fn address(&self) -> String {
        let number: u64 = self.uid.trim_start_matches("uid-").parse().unwrap_or(0);
        format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
    }
}

impl Site {
    pub fn add_node(&mut self, cluster: &mut Cluster, number: usize) {
        let name = format!("node-{number}");
        self.machines.insert(number);
        self.silent.remove(&name);
        if cluster.object(&NODE.named("", name.as_str())).is_some() {
            return;
        }
        let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady"}]);
        let node = cluster.create(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
            "status": {"allocatable": {"cpu": "16", "memory": "32Gi", "pods": "110"}, "conditions": ready},
        }));
        let uid = cluster.object(&node).map(|node| node["metadata"]["uid"].clone());
        let lease = LEASE.named(LEASES, name.as_str());
        cluster.remove(&lease);
        cluster.create(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": LEASES,
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]},
            "spec": {}}));
        self.report(cluster);
    }

    pub fn remove_node(&mut self, cluster: &mut Cluster, number: usize) {
        if let Some(name) = nth_node(cluster, number) {
            let _ = cluster.submit(Delete::new(&NODE.named("", name)));
        }
    }

    pub fn fall_silent(&mut self, cluster: &mut Cluster, number: usize) {
        self.silent.extend(nth_node(cluster, number));
    }

    pub fn load(&mut self, deployment: &str, milli: usize) {
        self.load.insert(deployment.to_owned(), milli);
    }

    /// Every machine that has been there is there and answers.
    pub fn recover(&mut self, cluster: &mut Cluster) {
        self.silent.clear();
        for number in self.machines.clone() {
            self.add_node(cluster, number);
        }
    }

    /// Agents that answer renew their leases and say that they are ready.
    pub fn report(&mut self, cluster: &mut Cluster) {
        let now = time::format_seconds(cluster.now_unix_ms);
        let renewed = time::format_micros(cluster.now_unix_ms * 1000);
        for name in node_names(cluster) {
            if self.silent.contains(&name) {
                continue;
            }
            let lease = LEASE.named(LEASES, name.as_str());
            if cluster.object(&lease).is_some() {
                cluster.patch(&lease, json!({"spec": {"renewTime": renewed}}));
            }
            let node = NODE.named("", name.as_str());
            let is_ready = cluster.object(&node).is_some_and(|node| {
                let conditions = node["status"]["conditions"].as_array();
                conditions
                    .into_iter()
                    .flatten()
                    .any(|found| found["type"] == "Ready" && found["status"] == "True")
            });
            if !is_ready {
                let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady",
                    "lastHeartbeatTime": now, "lastTransitionTime": now}]);
                cluster.patch_status(&node, json!({"conditions": ready}));
            }
        }
    }

    /// The agents' part. With accidents some pods fail and some are slow.
    pub fn run(&mut self, cluster: &mut Cluster, mut accidents: Option<&mut Random>) -> bool {
        self.report(cluster);
        let pods: Vec<Seen> = cluster.all(&POD).into_iter().map(Seen::of).collect();
        let now = time::format_seconds(cluster.now_unix_ms);
        let mut moved = false;
        for pod in pods {
            let chance = accidents.as_deref_mut().map_or(9, |random| random.next_u64() % 10);
            let works = cluster.object(&NODE.named("", pod.node.as_str())).is_some()
                && !self.silent.contains(&pod.node);
            if pod.node.is_empty() || !works || chance == 0 {
                continue;
            }
            if pod.ending {
                if !matches!(pod.phase.as_str(), "Succeeded" | "Failed") {
                    end(cluster, &pod.reference, "Failed", &now);
                }
                let gone = cluster.apply(&Delete::new(&pod.reference).grace(0).into());
                moved |= gone.is_ok() && cluster.object(&pod.reference).is_none();
                continue;
            }
            match pod.phase.as_str() {
                "Pending" if has_volumes(cluster, &pod) => {
                    start(cluster, &pod, &now);
                    moved = true;
                }
                // Somebody said otherwise while the node was silent.
                "Running" if !pod.ready => {
                    start(cluster, &pod, &now);
                    moved = true;
                }
                "Running" if pod.completes => {
                    let outcome = if chance == 1 { "Failed" } else { "Succeeded" };
                    end(cluster, &pod.reference, outcome, &now);
                    moved = true;
                }
                "Running" if chance == 2 => {
                    end(cluster, &pod.reference, "Failed", &now);
                    moved = true;
                }
                _ => {}
            }
        }
        self.measure(cluster);
        moved
    }

    /// What the pods of autoscaled Deployments use.
    fn measure(&self, cluster: &mut Cluster) {
        let targets: Vec<String> = cluster
            .all(&HORIZONTAL_POD_AUTOSCALER)
            .iter()
            .filter_map(|found| found["metadata"]["name"].as_str().map(str::to_owned))
            .collect();
        let stale: Vec<ObjectRef> = cluster
            .all(&POD_METRICS)
            .iter()
            .filter_map(|found| found["metadata"]["name"].as_str())
            .map(|name| POD_METRICS.named(HOME, name))
            .collect();
        let mut measured = BTreeMap::new();
        for name in targets {
            let labels = crate::labels("Deployment", &name);
            let of_it: Vec<String> = cluster
                .all(&POD)
                .into_iter()
                .filter(|pod| {
                    pod["metadata"]["namespace"] == HOME && pod["status"]["phase"] == "Running"
                })
                .filter(|pod| {
                    ["app", "kind"].iter().all(|key| pod["metadata"]["labels"][key] == labels[key])
                })
                .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
                .collect();
            let load = self.load.get(&name).copied().unwrap_or(50) / of_it.len().max(1);
            for pod in of_it {
                measured.insert(
                    POD_METRICS.named(HOME, pod.as_str()),
                    json!({
                    "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
                    "metadata": {"name": pod, "namespace": HOME, "labels": labels},
                    "timestamp": time::format_seconds(cluster.now_unix_ms), "window": "30s",
                    "containers": [{"name": "c", "usage": {"cpu": format!("{load}m")}}]}),
                );
            }
        }
        for reference in stale {
            if !measured.contains_key(&reference) {
                cluster.remove(&reference);
            }
        }
        for object in measured.into_values() {
            cluster.insert(object);
        }
    }
}

fn node_names(cluster: &Cluster) -> Vec<String> {
    let name = |node: &&Value| node["metadata"]["name"].as_str().map(str::to_owned);
    cluster.all(&NODE).iter().filter_map(name).collect()
}

fn nth_node(cluster: &Cluster, number: usize) -> Option<String> {
    let names = node_names(cluster);
    names.get(number % names.len().max(1)).cloned()
}

/// Are all claims of the pod bound?
fn has_volumes(cluster: &Cluster, pod: &Seen) -> bool {
    pod.claims.iter().all(|claim| {
        let reference =
            PERSISTENT_VOLUME_CLAIM.named(pod.reference.namespace.as_str(), claim.as_str());
        cluster.object(&reference).is_some_and(|claim| claim["status"]["phase"] == "Bound")
    })
}

fn start(cluster: &mut Cluster, pod: &Seen, now: &str) {
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": now}]);
    let ip = pod.address();
    let status = json!({"phase": "Running", "startTime": now, "conditions": ready,
        "podIP": ip, "podIPs": [{"ip": ip}]});
    cluster.patch_status(&pod.reference, status);
}

fn end(cluster: &mut Cluster, pod: &ObjectRef, phase: &str, now: &str) {
    let code = i32::from(phase == "Failed");
    let ready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": now}]);
    let containers =
        json!([{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": now}}}]);
    let status = json!({"phase": phase, "conditions": ready, "containerStatuses": containers});
    cluster.patch_status(pod, status);
}
