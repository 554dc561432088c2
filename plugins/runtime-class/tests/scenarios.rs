//! Pods of a runtime class.

use pintle_plugin_runtime_class::Plugin;
use pintle_sdk_testing::{Reviewing, objects::pod};
use serde_json::{Value, json};

fn reviewing() -> Reviewing {
    let mut reviewing = Reviewing::with::<Plugin>(json!({}));
    reviewing.insert(json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
        "metadata": {"name": "vm"}, "handler": "vm",
        "overhead": {"podFixed": {"cpu": "250m", "memory": "64Mi"}},
        "scheduling": {"nodeSelector": {"vm": "yes"},
            "tolerations": [{"key": "vm", "operator": "Exists"}]}}));
    reviewing.insert(json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
        "metadata": {"name": "plain"}, "handler": "runc"}));
    reviewing
}

fn check(spec: Value, expect: Value) {
    let mut reviewing = reviewing();
    let mut object = pod("p").build();
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    let answer = reviewing.create(object);
    match expect.as_str() {
        Some(message) => assert_eq!(answer.unwrap_err().message, message),
        None => {
            let once = answer.unwrap().object;
            for (field, value) in expect.as_object().unwrap() {
                assert_eq!(once["spec"][field], *value, "{field}");
            }
            assert!(!reviewing.create(once).unwrap().patched);
        }
    }
}

#[test]
fn classes_bring_their_cost_and_their_nodes() {
    check(
        json!({"runtimeClassName": "vm", "nodeSelector": {"a": "b"}}),
        json!({"overhead": {"cpu": "250m", "memory": "64Mi"},
            "nodeSelector": {"a": "b", "vm": "yes"},
            "tolerations": [{"key": "vm", "operator": "Exists"}]}),
    );
    check(json!({"runtimeClassName": "plain"}), json!({"overhead": null, "nodeSelector": null}));
    check(json!({}), json!({"overhead": null}));
    check(
        json!({"runtimeClassName": "vm", "overhead": {"cpu": "0.25", "memory": "64Mi"}}),
        json!({"overhead": {"cpu": "0.25", "memory": "64Mi"}}),
    );
}

#[test]
fn contradictions_are_refused() {
    check(
        json!({"runtimeClassName": "none"}),
        json!(r#"pod rejected: RuntimeClass "none" not found"#),
    );
    check(
        json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}),
        json!(
            "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no"
        ),
    );
    check(
        json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}),
        json!("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"),
    );
    for spec in [
        json!({"overhead": {"cpu": "1"}}),
        json!({"runtimeClassName": "plain", "overhead": {"cpu": "1"}}),
    ] {
        check(
            spec,
            json!(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            ),
        );
    }
}
