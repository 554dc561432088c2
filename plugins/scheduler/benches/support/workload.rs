//! Clusters and pods that the benches decide on, natively and as a component.

use serde_json::{Value, json};

/// An object of the core group, ready to be handed over.
pub struct Thing {
    pub kind: &'static str,
    pub namespace: &'static str,
    pub name: String,
    pub json: Vec<u8>,
}

pub struct Workload {
    pub what: &'static str,
    pub nodes: Vec<Thing>,
    /// On nodes already.
    pub bound: Vec<Thing>,
    pub pending: Vec<Thing>,
}

const NAMESPACE: &str = "default";

fn thing(kind: &'static str, name: String, json: Value) -> Thing {
    let namespace = if kind == "Pod" { NAMESPACE } else { "" };
    Thing { kind, namespace, name, json: json.to_string().into_bytes() }
}

fn node(index: usize) -> Thing {
    let name = format!("node-{index}");
    // As machines of one make report themselves: none has quite the same memory.
    let memory = format!("{}Ki", (32 << 20) - 4 * (index % 500));
    let condition = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "lastHeartbeatTime": "2026-01-01T00:00:00Z",
               "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "KubeletReady", "message": "ok"})
    };
    let images: Vec<Value> = (0..8)
        .map(|image| json!({"names": [format!("registry.example.com/image-{image}:1")], "sizeBytes": 50_000_000 + image}))
        .collect();
    let json = json!({
        "metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": format!("zone-{}", index % 3),
            "topology.kubernetes.io/region": "region-1", "node.kubernetes.io/instance-type": "m5.xlarge"}},
        "spec": {"podCIDR": "10.1.0.0/24"},
        "status": {
            "allocatable": {"cpu": "32", "memory": memory, "pods": "110", "ephemeral-storage": "100Gi"},
            "capacity": {"cpu": "32", "memory": memory, "pods": "110", "ephemeral-storage": "100Gi"},
            "conditions": [condition("Ready", "True"), condition("MemoryPressure", "False"),
                           condition("DiskPressure", "False"), condition("PIDPressure", "False")],
            "images": images,
        },
    });
    thing("Node", name, json)
}

/// `owner`: the set that the pod is of.
fn pod(name: String, owner: Option<String>, rules: Value, node: Option<String>) -> Thing {
    let app = owner.clone().unwrap_or_else(|| "bare".to_owned());
    let mut json = json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": app, "pod-template-hash": "5d4f8c7b9"}},
        "spec": {
            "containers": [{"name": "c", "image": "registry.example.com/other:1", "imagePullPolicy": "IfNotPresent",
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}]}],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            "priority": 0, "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
            "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "volumes": [{"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    });
    if let Some(owner) = owner {
        json["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "name": owner, "uid": owner, "controller": true, "blockOwnerDeletion": true}]);
    }
    if let (Some(spec), Some(rules)) = (json["spec"].as_object_mut(), rules.as_object()) {
        spec.extend(rules.clone());
    }
    if let Some(node) = node {
        json["spec"]["nodeName"] = node.into();
        json["status"]["phase"] = "Running".into();
    }
    thing("Pod", name, json)
}

/// Away from pods of its own set on the same host, even over the zones.
fn apart(set: &str) -> Value {
    let selector = json!({"matchLabels": {"app": set}});
    json!({
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            [{"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}]}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}],
    })
}

/// Pods without rules of their own, on `nodes` empty nodes. `owner`: the set that
/// each is of.
fn plain(
    what: &'static str,
    nodes: usize,
    pods: usize,
    owner: fn(usize) -> Option<String>,
) -> Workload {
    let pending =
        (0..pods).map(|index| pod(format!("pod-{index}"), owner(index), json!({}), None)).collect();
    Workload { what, nodes: (0..nodes).map(node).collect(), bound: Vec::new(), pending }
}

/// All pods of one template.
pub fn same_template(nodes: usize, pods: usize) -> Workload {
    plain("5000 nodes, one set", nodes, pods, |_| Some("set".to_owned()))
}

/// No pod like another.
pub fn template_per_pod(nodes: usize, pods: usize) -> Workload {
    plain("5000 nodes, a template per pod", nodes, pods, |index| Some(format!("set-{index}")))
}

pub fn all(pods: usize) -> Vec<Workload> {
    let nodes = |count: usize| (0..count).map(node).collect();
    let pending = |make: &dyn Fn(usize) -> Thing| (0..pods).map(make).collect();
    let resident = (0..100_000).map(|index| {
        let node = format!("node-{}", index % 50_000);
        pod(format!("bound-{index}"), Some(format!("set-{}", index % 500)), json!({}), Some(node))
    });
    vec![
        plain("5000 nodes, one template, no set", 5000, pods, |_| None),
        same_template(5000, pods),
        plain("5000 nodes, 64 sets in turn", 5000, pods, |index| {
            Some(format!("set-{}", index % 64))
        }),
        template_per_pod(5000, pods),
        Workload {
            what: "5000 nodes, anti-affinity and spread on every pod",
            nodes: nodes(5000),
            bound: Vec::new(),
            pending: pending(&|index| {
                let set = format!("set-{}", index % 64);
                let rules = apart(&set);
                pod(format!("pod-{index}"), Some(set), rules, None)
            }),
        },
        Workload {
            what: "5000 nodes, the same, a template per pod",
            nodes: nodes(5000),
            bound: Vec::new(),
            pending: pending(&|index| {
                let set = format!("set-{index}");
                let rules = apart(&set);
                pod(format!("pod-{index}"), Some(set), rules, None)
            }),
        },
        Workload {
            what: "50000 nodes, 100000 pods, no set",
            nodes: nodes(50_000),
            bound: resident.collect(),
            pending: pending(&|index| pod(format!("pod-{index}"), None, json!({}), None)),
        },
        Workload {
            what: "50000 nodes, one set",
            nodes: nodes(50_000),
            bound: Vec::new(),
            pending: pending(&|index| {
                pod(format!("pod-{index}"), Some("set".to_owned()), json!({}), None)
            }),
        },
    ]
}
