//! What objects count for, and in which quotas.

use super::*;
use serde_json::{Value, json};

fn tracked(kind: &str, object: Value) -> Tracked {
    let kind = KindRef::parse("v1", kind);
    Tracked::read(&kind, object.to_string().as_bytes()).unwrap().unwrap()
}

#[test]
fn objects_count_under_several_names() {
    fn check(kind: &str, object: Value, expect: &str) {
        assert_eq!(printed(&tracked(kind, object).usage(0)), expect);
    }
    let container = json!({"resources": {"requests": {"cpu": "1", "example.com/gpu": "2"},
        "limits": {"cpu": "2"}}});
    check(
        "Pod",
        json!({"spec": {"containers": [container]}}),
        "count/pods=1,cpu=1,limits.cpu=2,pods=1,requests.cpu=1,requests.example.com/gpu=2",
    );
    check("Pod", json!({"status": {"phase": "Failed"}}), "count/pods=1");
    check("Secret", json!({}), "count/secrets=1,secrets=1");
    check("LimitRange", json!({}), "count/limitranges=1");
    check(
        "Service",
        json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}}),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2",
    );
    check(
        "PersistentVolumeClaim",
        json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}}),
        "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
    );
}

#[test]
fn scopes_choose_pods() {
    fn check(scopes: Value, pod: Value, expect: bool) {
        let quota: QuotaSpec = serde_json::from_value(scopes.clone()).unwrap();
        assert_eq!(tracked("Pod", pod).is_in(&quota), expect, "{scopes}");
    }
    let high = json!({"spec": {"priorityClassName": "high"}});
    let among = |operator: &str| {
        json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}})
    };
    check(json!({}), json!({}), true);
    check(among("In"), high.clone(), true);
    check(among("In"), json!({}), false);
    check(among("NotIn"), high.clone(), false);
    check(json!({"scopes": ["PriorityClass"]}), high, true);
    check(json!({"scopes": ["BestEffort", "NotTerminating"]}), json!({}), true);
    check(json!({"scopes": ["Terminating"]}), json!({"spec": {"activeDeadlineSeconds": 0}}), true);
    let elsewhere = json!({"spec": {"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"namespaceSelector": {}}]}}}});
    check(json!({"scopes": ["CrossNamespacePodAffinity"]}), elsewhere, true);
    let quota: QuotaSpec = serde_json::from_value(json!({"scopes": ["BestEffort"]})).unwrap();
    assert!(!tracked("Secret", json!({})).is_in(&quota));
}
