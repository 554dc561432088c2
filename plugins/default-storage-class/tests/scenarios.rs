//! Claims with and without a class.

use pintle_plugin_default_storage_class::Plugin;
use pintle_sdk_testing::Reviewing;
use serde_json::{Value, json};

fn class(name: &str, is_default: &str, created: &str) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {
        "name": name, "creationTimestamp": created,
        "annotations": {"storageclass.kubernetes.io/is-default-class": is_default}}})
}

fn check(classes: &[Value], class_of_claim: Value, expect: Value) {
    let mut reviewing = Reviewing::with::<Plugin>(json!({}));
    for class in classes {
        reviewing.insert(class.clone());
    }
    let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", "namespace": "default"}, "spec": {}});
    if !class_of_claim.is_null() {
        claim["spec"]["storageClassName"] = class_of_claim;
    }
    let once = reviewing.create(claim).unwrap().object;
    assert_eq!(once["spec"]["storageClassName"], expect);
    assert!(!reviewing.create(once).unwrap().patched);
}

#[test]
fn claims_get_the_default_class() {
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let slow = class("slow", "false", new);
    check(&[], Value::Null, Value::Null);
    check(std::slice::from_ref(&slow), Value::Null, Value::Null);
    check(&[slow.clone(), class("fast", "true", old)], Value::Null, json!("fast"));
    check(&[class("a", "true", old), class("b", "true", new)], Value::Null, json!("b"));
    check(&[class("b", "true", old), class("a", "true", old)], Value::Null, json!("a"));
    check(&[class("fast", "true", old)], json!("slow"), json!("slow"));
    check(&[class("fast", "true", old)], json!(""), json!(""));
}
