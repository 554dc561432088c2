//! What somebody who knows Kubernetes relies upon without saying so, on a cluster
//! whose nodes and pods are objects only: nothing here needs a container.

use pintle_e2e::{Cluster, condition, items, name};
use serde_json::{Value, json};

fn started(plugins: &[&str]) -> Cluster {
    let cluster = Cluster::start(0);
    cluster.wait("the plugins to be active", |c| {
        let active = |name: &&str| c.get(&format!("plugins {name}"))["status"]["phase"] == "Active";
        plugins.iter().all(active)
    });
    cluster
}

/// Says of all pods with the label that they have run for long.
fn run(cluster: &Cluster, label: &str) -> Vec<String> {
    let pods = cluster.get(&format!("pods -l {label}"));
    let pods: Vec<String> = items(&pods).iter().map(|pod| name(pod).to_owned()).collect();
    let long_ago = "2026-01-01T00:00:00Z";
    let status = json!({"status": {"phase": "Running", "startTime": long_ago,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": long_ago}]}});
    for pod in &pods {
        cluster.kubectl(&["patch", "pod", pod, "--subresource=status", "-p", &status.to_string()]);
    }
    pods
}

fn labelled(kind: &str, name: &str, replicas: usize) -> String {
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"replicas": replicas,
            "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": [name]}]},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [
                {"name": "c", "image": "x", "resources": {"requests": {"cpu": "3"}}}]}}}})
    .to_string()
}

#[test]
fn an_autoscaler_follows_measures_that_are_written_as_objects() {
    pintle_e2e::require_kubectl!();
    let cluster = started(&["deployment", "replicaset", "horizontal-pod-autoscaler"]);
    cluster.apply(&labelled("Deployment", "web", 2));
    cluster.wait("two pods", |c| items(&c.get("pods -l app=web")).len() == 2);
    for pod in run(&cluster, "app=web") {
        let measured = json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
            "metadata": {"name": pod, "labels": {"app": "web"}}, "timestamp": "2026-01-01T01:00:00Z",
            "window": "30s", "containers": [{"name": "c", "usage": {"cpu": "3600m", "memory": "1Mi"}}]});
        cluster.apply(&measured.to_string());
    }
    assert!(cluster.kubectl(&["top", "pods"]).contains("3600m"));
    let autoscaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"}, "spec": {"maxReplicas": 10,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    cluster.apply(&autoscaler.to_string());
    // 120 percent of what is asked for, where 50 are wanted.
    cluster.wait("five replicas", |c| c.get("deployments web")["spec"]["replicas"] == 5);
    let queue = json!({"apiVersion": "external.metrics.k8s.io/v1beta1", "kind": "ExternalMetricValue",
        "metadata": {"name": "queue"}, "metricName": "queue", "value": "90"});
    cluster.apply(&queue.to_string());
    cluster.kubectl(&["create", "deployment", "worker", "--image=x"]);
    let autoscaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "worker"}, "spec": {"maxReplicas": 10,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker"},
            "metrics": [{"type": "External", "external": {"metric": {"name": "queue"},
                "target": {"type": "AverageValue", "averageValue": "30"}}}]}});
    cluster.apply(&autoscaler.to_string());
    cluster.wait("three workers", |c| c.get("deployments worker")["spec"]["replicas"] == 3);
}

#[test]
fn selectors_owners_and_namespaces_on_their_way_out() {
    pintle_e2e::require_kubectl!();
    let cluster = started(&["replicaset", "disruption", "garbage-collector", "namespace"]);
    // Budgets that were there before their pods, by an expression and by an empty selector.
    for (name, selector) in [
        ("some", json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]})),
        ("all", json!({})),
    ] {
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": selector}});
        cluster.apply(&budget.to_string());
    }
    cluster.apply(&labelled("ReplicaSet", "web", 3));
    cluster.wait("three pods", |c| items(&c.get("pods -l app=web")).len() == 3);
    run(&cluster, "app=web");
    cluster.wait("the budgets to know of them", |c| {
        ["some", "all"].iter().all(|name| {
            c.get(&format!("poddisruptionbudgets {name}"))["status"]["disruptionsAllowed"] == 2
        })
    });
    // An owner of a kind that is not served may well be there; one that can be looked for is not.
    let owned = |name: &str, api_version: &str, kind: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": [
            {"apiVersion": api_version, "kind": kind, "name": "nobody", "uid": "0b0d1"}]}})
        .to_string()
    };
    cluster.apply(&owned("kept", "example.com/v1", "Thing"));
    cluster.apply(&owned("dropped", "v1", "Secret"));
    cluster.wait("the collector", |c| c.get("configmaps dropped").is_null());
    assert_eq!(name(&cluster.get("configmaps kept")), "kept");
    // A set that a finalizer holds asks for no more pods where none can be made.
    cluster.kubectl(&["create", "namespace", "leaving"]);
    let mut held: Value = serde_json::from_str(&labelled("ReplicaSet", "held", 1)).unwrap();
    held["metadata"]["namespace"] = json!("leaving");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.apply(&held.to_string());
    cluster.wait("its pod", |c| items(&c.get("pods -n leaving")).len() == 1);
    cluster.kubectl(&["delete", "namespace", "leaving", "--wait=false"]);
    cluster.wait("the namespace to be empty of pods", |c| {
        items(&c.get("pods -n leaving")).is_empty()
            && condition(&c.get("namespaces leaving"), "NamespaceFinalizersRemaining") == "True"
    });
    let free = r#"{"metadata":{"finalizers":null}}"#;
    cluster.kubectl(&["patch", "rs", "held", "-n", "leaving", "--type=merge", "-p", free]);
    cluster.wait("the namespace to be gone", |c| c.get("namespaces leaving").is_null());
}

#[test]
fn a_pod_that_makes_way_says_why() {
    pintle_e2e::require_kubectl!();
    let cluster = started(&["scheduler", "replicaset", "node-lifecycle"]);
    // Nobody renews this node.
    let suspended = r#"{"spec":{"suspended":true}}"#;
    cluster.kubectl(&["patch", "plugin", "node-lifecycle", "--type=merge", "-p", suspended]);
    cluster.wait("nobody to judge nodes", |c| {
        c.get("plugins node-lifecycle")["status"]["phase"] == "Suspended"
    });
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    cluster.apply(r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}"#);
    let status = json!({"status": {"capacity": room, "allocatable": room,
        "conditions": [{"type": "Ready", "status": "True"}]}});
    cluster.kubectl(&["patch", "node", "n1", "--subresource=status", "-p", &status.to_string()]);
    let pod = |name: &str, class: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "priorityClassName": class, "containers": [
                {"name": "c", "image": "x", "resources": {"requests": {"cpu": "3"}}}]}})
        .to_string()
    };
    cluster.apply(&pod("low", Value::Null));
    cluster.wait("a place for the first", |c| c.get("pods low")["spec"]["nodeName"] == "n1");
    cluster.kubectl(&["create", "priorityclass", "high", "--value=1000"]);
    cluster.apply(&pod("high", json!("high")));
    cluster.wait("the first to make way", |c| {
        c.get("pods low")["metadata"]["deletionTimestamp"].is_string()
    });
    let low = cluster.get("pods low");
    let conditions = low["status"]["conditions"].as_array().unwrap();
    let why = conditions.iter().find(|one| one["type"] == "DisruptionTarget").unwrap();
    assert_eq!(why["reason"], "PreemptionByScheduler");
    assert_eq!(
        why["message"],
        "default-scheduler: preempting to accommodate a higher priority pod"
    );
    cluster.wait("the second to wait there", |c| {
        c.get("pods high")["status"]["nominatedNodeName"] == "n1"
    });
    cluster.kubectl(&["delete", "pod", "low", "--force", "--grace-period=0"]);
    cluster
        .wait("the second to have the place", |c| c.get("pods high")["spec"]["nodeName"] == "n1");
    let high = cluster.get("pods high");
    assert!(high["status"]["nominatedNodeName"].is_null(), "{}", high["status"]);
}
