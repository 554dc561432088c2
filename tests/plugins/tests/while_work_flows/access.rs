//! Who may do what: every request is decided, whatever is swapped.

use pintle_plugins::flow::{Row, Stage};
use serde_json::{Value, json};

use crate::objects::*;

const RBAC: &str = "rbac.authorization.k8s.io/v1";

pub const ROWS: &[Row] = &[
    Row {
        plugin: "authorizer-rbac",
        spec: nothing,
        prepare: |stage| {
            let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]});
            give(stage, "swap-jane", rule);
        },
        work: answered(|stage, number| lists(stage, number, "swap-jane")),
    },
    Row {
        plugin: "authorizer-abac",
        spec: || {
            let line = json!({"apiVersion": "abac.authorization.kubernetes.io/v1beta1",
                "kind": "Policy", "spec": {"user": "swap-joe", "namespace": "swap-authorizer-abac",
                "resource": "configmaps", "apiGroup": "", "readonly": true}});
            json!({"suspended": false, "config": {"policy": line.to_string()}})
        },
        prepare: no_preparation,
        work: answered(|stage, number| lists(stage, number, "swap-joe")),
    },
    Row {
        plugin: "authorizer-node",
        spec: nothing,
        prepare: |stage| {
            for secret in ["used", "other"] {
                stage.create("v1/secrets", json!({"metadata": {"name": secret}}));
            }
            let mut spec = pending();
            spec["nodeName"] = json!(NODE);
            spec["volumes"] = json!([{"name": "v", "secret": {"secretName": "used"}}]);
            stage.create("v1/pods", json!({"metadata": {"name": "user"}, "spec": spec}));
        },
        work: answered(|stage, number| {
            stage.api.act_as(&format!("system:node:{NODE}"), &["system:nodes"]);
            let secret = if number.is_multiple_of(2) { "used" } else { "other" };
            let path = format!("{}/{secret}", stage.path("v1/secrets"));
            let answer = stage.api.get(&path);
            match secret {
                "used" => answer.holds(|_| true),
                _ => answer.is_refused("no relationship found"),
            }
        }),
    },
    Row {
        plugin: "rbac-escalation",
        spec: nothing,
        prepare: |stage| {
            let rule = json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"],
                "verbs": ["create"]});
            give(stage, "swap-jill", rule);
        },
        work: answered(|stage, number| {
            stage.api.act_as("swap-jill", &["system:authenticated"]);
            let (group, resource) = match number.is_multiple_of(2) {
                true => ("rbac.authorization.k8s.io", "roles"),
                false => ("", "secrets"),
            };
            let rule = json!({"apiGroups": [group], "resources": [resource], "verbs": ["create"]});
            let name = format!("role-{number}");
            let path = stage.path(&format!("{RBAC}/roles"));
            let role = json!({"metadata": {"name": name}, "rules": [rule]});
            let answer = stage.api.create(&path, &role);
            match resource {
                "roles" => answer.holds(|_| true),
                _ => answer.is_refused("attempting to grant RBAC permissions not currently held"),
            }
        }),
    },
];

/// What a person may do in the stage's namespace.
fn give(stage: &mut Stage, user: &str, rule: Value) {
    let role = json!({"metadata": {"name": user}, "rules": [rule]});
    stage.create(&format!("{RBAC}/roles"), role);
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "metadata": {"name": user},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    });
    stage.create(&format!("{RBAC}/rolebindings"), binding);
}

/// ConfigMaps may be listed, Secrets not.
fn lists(stage: &mut Stage, number: usize, user: &str) -> Result<(), String> {
    stage.api.act_as(user, &["system:authenticated"]);
    match number.is_multiple_of(2) {
        true => {
            let path = stage.path("v1/configmaps");
            stage.api.get(&path).holds(|_| true)
        }
        false => {
            let path = stage.path("v1/secrets");
            stage.api.get(&path).is_refused("cannot list resource \"secrets\"")
        }
    }
}
