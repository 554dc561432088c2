//! What people make, and what a cluster has from the start.

use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

use crate::labels;

pub const REPLICATION_CONTROLLER: KindRef = KindRef::new("", "v1", "ReplicationController");
pub const RESOURCE_QUOTA: KindRef = KindRef::new("", "v1", "ResourceQuota");
pub const LIMIT_RANGE: KindRef = KindRef::new("", "v1", "LimitRange");
pub const ENDPOINTS: KindRef = KindRef::new("", "v1", "Endpoints");

/// Here everything that is asked for is there in the end.
pub const HOME: &str = "default";
/// This one has quotas, and comes and goes.
pub const SHOP: &str = "shop";

pub fn furnish(cluster: &mut Cluster) {
    for name in [HOME, SHOP, "kube-node-lease"] {
        cluster.create(namespace(name));
    }
    cluster.create(json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "pintle.dev/host-path", "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer"}));
}

pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {}})
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

fn object(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn workload(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": labels(kind, name)});
    spec["template"] = template(kind, name, "Always");
    object(api_version, kind, name, spec)
}

pub fn deployment(name: &str, replicas: usize, recreate: bool) -> Value {
    let strategy = match recreate {
        true => json!({"type": "Recreate"}),
        false => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        }
    };
    let spec = json!({"replicas": replicas, "strategy": strategy, "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600});
    workload("apps/v1", "Deployment", name, spec)
}

pub fn stateful_set(name: &str, replicas: usize, parallel: bool) -> Value {
    let policy = if parallel { "Parallel" } else { "OrderedReady" };
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let mut set = workload(
        "apps/v1",
        "StatefulSet",
        name,
        json!({"replicas": replicas, "serviceName": name, "podManagementPolicy": policy, "revisionHistoryLimit": 2,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "volumeClaimTemplates": [claim]}),
    );
    set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    set
}

pub fn daemon_set(name: &str, surge: bool) -> Value {
    let rolling = match surge {
        true => json!({"maxUnavailable": 0, "maxSurge": 1}),
        false => json!({"maxUnavailable": 1, "maxSurge": 0}),
    };
    let spec = json!({"revisionHistoryLimit": 2, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
    workload("apps/v1", "DaemonSet", name, spec)
}

pub fn job(name: &str, completions: usize, parallelism: usize, indexed: bool, ttl: bool) -> Value {
    let mode = if indexed { "Indexed" } else { "NonIndexed" };
    let mut spec = json!({"completions": completions, "parallelism": parallelism, "completionMode": mode,
        "backoffLimit": 1000, "template": template("Job", name, "Never")});
    if ttl {
        spec["ttlSecondsAfterFinished"] = json!(100);
    }
    object("batch/v1", "Job", name, spec)
}

pub fn cron_job(name: &str, schedule: &str, policy: &str) -> Value {
    let template = job(name, 1, 1, false, false)["spec"].clone();
    object(
        "batch/v1",
        "CronJob",
        name,
        json!({"schedule": schedule, "concurrencyPolicy": policy, "suspend": false, "startingDeadlineSeconds": 200,
            "successfulJobsHistoryLimit": 2, "failedJobsHistoryLimit": 1, "jobTemplate": {"metadata": {}, "spec": template}}),
    )
}

pub fn replication_controller(name: &str, replicas: usize) -> Value {
    let kind = "ReplicationController";
    let spec = json!({"replicas": replicas, "selector": labels(kind, name), "template": template(kind, name, "Always")});
    object("v1", kind, name, spec)
}

/// Matches the selector of a ReplicationController, which nobody told it.
pub fn stranger(name: &str, number: usize) -> Value {
    let mut pod = template("ReplicationController", name, "Always");
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(format!("stranger-{number}"));
    pod
}

pub fn service(name: &str, with_selector: bool) -> Value {
    let mut spec =
        json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]});
    if with_selector {
        spec["selector"] = json!({"app": name});
    }
    object("v1", "Service", name, spec)
}

/// As people write them by hand.
pub fn endpoints(name: &str, address: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name}, "subsets": [{
        "addresses": [{"ip": format!("192.0.2.{}", 1 + address % 250)}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]})
}

pub fn budget(name: &str) -> Value {
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": name, "kind": "ReplicationController"}}});
    object("policy/v1", "PodDisruptionBudget", name, spec)
}

pub fn autoscaler(name: &str, most: usize) -> Value {
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
    object(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        name,
        json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1, "maxReplicas": most, "metrics": [metric]}),
    )
}

pub fn quota(name: &str, pods: usize) -> Value {
    object(
        "v1",
        "ResourceQuota",
        name,
        json!({"hard": {"pods": pods.to_string(), "requests.cpu": "2", "count/jobs.batch": "2"}}),
    )
}

pub fn limits(name: &str) -> Value {
    let limit = json!({"type": "Container", "defaultRequest": {"cpu": "50m"}, "default": {"memory": "128Mi"}});
    object("v1", "LimitRange", name, json!({"limits": [limit]}))
}
