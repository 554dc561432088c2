//! Nodes and what happens on them: pods are bound by the real scheduler, start,
//! end, succeed, and sometimes fail.

use pintle_sdk::names::Random;
use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::Decision;
use pintle_sdk_testing::{Cluster, Scheduling, subject};
use serde_json::{Value, json};

pub fn add_node(cluster: &mut Cluster, number: usize) {
    let name = format!("node-{number}");
    if cluster.object(&NODE.named("", name.as_str())).is_some() {
        return;
    }
    cluster.create(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "16", "memory": "32Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }));
}

/// A scheduler that has just been started decides about all pods that wait.
pub fn schedule(cluster: &mut Cluster) -> bool {
    let scheduler = subject::scheduler::<pintle_plugin_scheduler::Plugin>();
    let mut scheduling = Scheduling::of(&scheduler, json!({}), (**cluster).clone());
    let mut bound = false;
    for (pod, decision) in scheduling.schedule() {
        match decision {
            Decision::Bind { node, .. } => {
                cluster.patch(&pod, json!({"spec": {"nodeName": node}}));
                bound = true;
            }
            // Kept where a failure shows it; nobody reacts to it.
            Decision::Unschedulable { message, .. } => {
                let waiting =
                    json!([{"type": "PodScheduled", "status": "False", "message": message}]);
                cluster.patch_status(&pod, json!({ "conditions": waiting }));
            }
            _ => {}
        }
    }
    bound
}

/// Somebody makes a volume for every claim.
pub fn bind_claims(cluster: &mut Cluster) {
    let open: Vec<Value> = cluster
        .all(&PERSISTENT_VOLUME_CLAIM)
        .into_iter()
        .filter(|claim| claim["spec"]["volumeName"].is_null())
        .cloned()
        .collect();
    for claim in open {
        let metadata = &claim["metadata"];
        let volume = format!("pv-{}", metadata["uid"].as_str().unwrap_or_default());
        let claim_ref = json!({"namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]});
        cluster.create(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {"claimRef": claim_ref, "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}},
            "status": {"phase": "Bound"}}));
        let reference =
            PERSISTENT_VOLUME_CLAIM.named("default", metadata["name"].as_str().unwrap_or_default());
        let annotations = json!({"pv.kubernetes.io/bind-completed": "yes"});
        cluster.patch(
            &reference,
            json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume}}),
        );
        cluster.patch_status(&reference, json!({"phase": "Bound"}));
    }
}

/// The node agents' part. With accidents some pods fail and some are slow.
pub fn run_pods(cluster: &mut Cluster, mut accidents: Option<&mut Random>) -> bool {
    let pods: Vec<Value> = cluster.all(&POD).into_iter().cloned().collect();
    let now = pintle_sdk::time::format_seconds(cluster.now_unix_ms);
    let mut moved = false;
    for pod in pods {
        let reference = POD.named(
            pod["metadata"]["namespace"].as_str().unwrap_or_default(),
            pod["metadata"]["name"].as_str().unwrap_or_default(),
        );
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let ending = pod["metadata"]["deletionTimestamp"].is_string();
        let phase = pod["status"]["phase"].as_str().unwrap_or("Pending");
        let chance = accidents.as_deref_mut().map_or(9, |random| random.next_u64() % 10);
        let is_there = cluster.object(&NODE.named("", node)).is_some();
        if node.is_empty() || !is_there || chance == 0 {
            continue;
        }
        if ending {
            if !matches!(phase, "Succeeded" | "Failed") {
                end(cluster, &reference, "Failed", &now);
            }
            let gone = cluster.apply(&Delete::new(&reference).grace(0).into());
            moved |= gone.is_ok() && cluster.object(&reference).is_none();
            continue;
        }
        let runs_to_completion = pod["spec"]["restartPolicy"] == "Never";
        match phase {
            "Pending" => {
                let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": now}]);
                let ip = format!("10.0.0.{}", 1 + cluster.all(&POD).len() % 250);
                let status = json!({"phase": "Running", "startTime": now, "conditions": ready,
                    "podIP": ip, "podIPs": [{"ip": ip}]});
                cluster.patch_status(&reference, status);
                moved = true;
            }
            "Running" if runs_to_completion => {
                let outcome = if chance == 1 { "Failed" } else { "Succeeded" };
                end(cluster, &reference, outcome, &now);
                moved = true;
            }
            "Running" if chance == 2 => {
                end(cluster, &reference, "Failed", &now);
                moved = true;
            }
            _ => {}
        }
    }
    moved
}

fn end(cluster: &mut Cluster, pod: &ObjectRef, phase: &str, now: &str) {
    let code = i32::from(phase == "Failed");
    let ready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": now}]);
    let containers =
        json!([{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": now}}}]);
    let status = json!({"phase": phase, "conditions": ready, "containerStatuses": containers});
    cluster.patch_status(pod, status);
}
