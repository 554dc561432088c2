//! What people do to a cluster, drawn at random.

use pintle_sdk::names::Random;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

/// How many kinds of deeds there are.
pub const DEEDS: usize = 12;

const REPLICATION_CONTROLLER: KindRef = KindRef::new("", "v1", "ReplicationController");
const SCALABLE: [KindRef; 4] = [DEPLOYMENT, STATEFUL_SET, REPLICA_SET, REPLICATION_CONTROLLER];

pub fn act(cluster: &mut Cluster, deed: usize, random: &mut Random) {
    let mut below = |n: usize| (random.next_u64() % n as u64) as usize;
    let name = ["web", "db", "api"][below(3)];
    match deed {
        0 => make(cluster, deployment(name, below(5))),
        1 => make(cluster, stateful_set(name, below(4), below(2) == 0)),
        2 => make(cluster, daemon_set(name, below(2) == 0)),
        3 => make(cluster, job(name, 1 + below(4), 1 + below(3), below(2) == 0)),
        4 => make(cluster, replication_controller(name, below(4))),
        5 => {
            make(cluster, service(name));
            make(cluster, budget(name));
        }
        6 => scale(cluster, below(SCALABLE.len()), name, below(6)),
        7 => change_template(cluster, below(3), name, below(1000)),
        8 => delete_workload(cluster, below(6), name),
        9 => delete_any(cluster, &POD, below(50)),
        10 => {
            if cluster.all(&NODE).len() > 1 && below(2) == 0 {
                delete_any(cluster, &NODE, below(10));
            } else {
                crate::site::add_node(cluster, below(6));
            }
        }
        _ => {
            let _ = cluster.restart();
        }
    }
}

fn make(cluster: &mut Cluster, object: Value) {
    let kind = KindRef::parse(
        object["apiVersion"].as_str().unwrap_or_default(),
        object["kind"].as_str().unwrap_or_default(),
    );
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if cluster.object(&kind.named("default", name)).is_none() {
        cluster.create(object);
    }
}

fn labels(kind: &str, name: &str) -> Value {
    json!({"app": name, "kind": kind})
}

fn template(kind: &str, name: &str, restart: &str) -> Value {
    json!({
        "metadata": {"labels": labels(kind, name)},
        "spec": {
            "restartPolicy": restart,
            "schedulerName": "default-scheduler",
            "containers": [{"name": "c", "image": "i:0", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}],
        },
    })
}

fn workload(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": labels(kind, name)});
    spec["template"] = template(kind, name, "Always");
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn deployment(name: &str, replicas: usize) -> Value {
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}});
    let spec = json!({"replicas": replicas, "strategy": strategy, "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600});
    workload("apps/v1", "Deployment", name, spec)
}

fn stateful_set(name: &str, replicas: usize, parallel: bool) -> Value {
    let policy = if parallel { "Parallel" } else { "OrderedReady" };
    let spec = json!({"replicas": replicas, "serviceName": name, "podManagementPolicy": policy, "revisionHistoryLimit": 2,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]});
    workload("apps/v1", "StatefulSet", name, spec)
}

fn daemon_set(name: &str, surge: bool) -> Value {
    let rolling = match surge {
        true => json!({"maxUnavailable": 0, "maxSurge": 1}),
        false => json!({"maxUnavailable": 1, "maxSurge": 0}),
    };
    let spec = json!({"revisionHistoryLimit": 2, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
    workload("apps/v1", "DaemonSet", name, spec)
}

fn job(name: &str, completions: usize, parallelism: usize, indexed: bool) -> Value {
    let mode = if indexed { "Indexed" } else { "NonIndexed" };
    let mut template = template("Job", name, "Never");
    template["metadata"]["labels"]["batch.kubernetes.io/job-name"] = json!(name);
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}, "spec": {
        "completions": completions, "parallelism": parallelism, "completionMode": mode, "backoffLimit": 1000,
        "selector": {"matchLabels": labels("Job", name)}, "template": template}})
}

fn replication_controller(name: &str, replicas: usize) -> Value {
    let kind = "ReplicationController";
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": {
        "replicas": replicas, "selector": labels(kind, name), "template": template(kind, name, "Always")}})
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}})
}

fn budget(name: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name, "namespace": "default"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}}})
}

fn scale(cluster: &mut Cluster, kind: usize, name: &str, replicas: usize) {
    let reference = SCALABLE[kind].named("default", name);
    let deleted = |object: &Value| object["metadata"]["deletionTimestamp"].is_string();
    if cluster.object(&reference).is_some_and(|object| !deleted(object)) {
        cluster.patch(&reference, json!({"spec": {"replicas": replicas}}));
    }
}

fn change_template(cluster: &mut Cluster, kind: usize, name: &str, version: usize) {
    let reference = [DEPLOYMENT, STATEFUL_SET, DAEMON_SET][kind].named("default", name);
    let Some(object) = cluster.object(&reference) else { return };
    let mut containers = object["spec"]["template"]["spec"]["containers"].clone();
    containers[0]["image"] = json!(format!("i:{version}"));
    cluster.patch(&reference, json!({"spec": {"template": {"spec": {"containers": containers}}}}));
}

fn delete_workload(cluster: &mut Cluster, kind: usize, name: &str) {
    let kinds = [DEPLOYMENT, STATEFUL_SET, DAEMON_SET, JOB, REPLICATION_CONTROLLER, SERVICE];
    let reference = kinds[kind].named("default", name);
    if cluster.object(&reference).is_some() {
        cluster.delete(&reference);
    }
}

fn delete_any(cluster: &mut Cluster, kind: &KindRef, number: usize) {
    let all = cluster.all(kind);
    if all.is_empty() {
        return;
    }
    let metadata = &all[number % all.len()]["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    let reference = kind.named(text("namespace"), text("name"));
    cluster.delete(&reference);
}
