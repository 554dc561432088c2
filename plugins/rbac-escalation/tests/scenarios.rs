//! Who may write which role and binding.

use pintle_plugin_rbac_escalation::Plugin;
use pintle_sdk_testing::Reviewing;
use serde_json::{Value, json};

const API: &str = "rbac.authorization.k8s.io/v1";

fn rule(verbs: &[&str], group: &str, resource: &str) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": [resource]})
}

fn cluster_role(name: &str, rules: Vec<Value>) -> Value {
    json!({"apiVersion": API, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

fn role(name: &str, rules: Vec<Value>) -> Value {
    json!({"apiVersion": API, "kind": "Role", "metadata": {"name": name, "namespace": "a"}, "rules": rules})
}

fn binding(namespace: &str, role_kind: &str, role: &str, user: &str) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let mut binding = json!({"apiVersion": API, "kind": kind,
        "metadata": {"name": format!("{role}-{user}")},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role}});
    if !namespace.is_empty() {
        binding["metadata"]["namespace"] = namespace.into();
    }
    binding
}

/// Jane may get pods in the namespace `a`; Eve may escalate, Bob may bind `reader`.
fn cluster() -> Reviewing {
    let mut cluster = Reviewing::with::<Plugin>(json!({}));
    for object in [
        cluster_role("reader", vec![rule(&["get"], "", "pods")]),
        cluster_role(
            "everything",
            vec![rule(&["*"], "*", "*"), json!({"verbs": ["*"], "nonResourceURLs": ["*"]})],
        ),
        cluster_role("escalate", vec![rule(&["escalate"], "rbac.authorization.k8s.io", "*")]),
        cluster_role(
            "bind",
            vec![json!({"verbs": ["bind"], "resources": ["clusterroles"],
            "apiGroups": ["rbac.authorization.k8s.io"], "resourceNames": ["reader"]})],
        ),
        binding("a", "ClusterRole", "reader", "jane"),
        binding("", "ClusterRole", "everything", "root"),
        binding("", "ClusterRole", "escalate", "eve"),
        binding("", "ClusterRole", "bind", "bob"),
    ] {
        std::ops::DerefMut::deref_mut(&mut cluster).create(object);
    }
    cluster
}

fn check(user: &str, object: Value, expect: Result<(), &str>) {
    let mut cluster = cluster();
    cluster.user(user, &["system:authenticated"]);
    match (cluster.create(object), expect) {
        (Ok(_), Ok(())) => {}
        (Err(denied), Err(text)) => assert!(denied.message.contains(text), "{}", denied.message),
        (found, expect) => panic!("{user}: {found:?}, not {expect:?}"),
    }
}

const NOT_HELD: &str = "is attempting to grant RBAC permissions not currently held";

#[test]
fn a_role_is_written_by_those_who_have_its_rules() {
    check("jane", role("r", vec![rule(&["get"], "", "pods")]), Ok(()));
    check("jane", role("r", vec![rule(&["get", "list"], "", "pods")]), Err(NOT_HELD));
    check(
        "jane",
        role("r", vec![rule(&["get", "list"], "", "pods")]),
        Err(r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#),
    );
    check("jane", cluster_role("r", vec![rule(&["get"], "", "pods")]), Err(NOT_HELD));
    check("root", cluster_role("r", vec![rule(&["*"], "*", "*")]), Ok(()));
    check("eve", cluster_role("r", vec![rule(&["*"], "*", "*")]), Ok(()));
    check("nobody", role("r", vec![]), Ok(()));
}

#[test]
fn aggregation_is_for_those_who_have_everything() {
    let mut aggregated = cluster_role("r", vec![]);
    aggregated["aggregationRule"] = json!({"clusterRoleSelectors": []});
    check("jane", aggregated.clone(), Err("must have cluster-admin privileges"));
    check("root", aggregated, Ok(()));
}

#[test]
fn a_binding_is_written_by_those_who_have_the_role_or_may_bind_it() {
    check("jane", binding("a", "ClusterRole", "reader", "joe"), Ok(()));
    check("jane", binding("b", "ClusterRole", "reader", "joe"), Err(NOT_HELD));
    check("jane", binding("", "ClusterRole", "reader", "joe"), Err(NOT_HELD));
    check("jane", binding("a", "ClusterRole", "everything", "joe"), Err(NOT_HELD));
    check("bob", binding("b", "ClusterRole", "reader", "joe"), Ok(()));
    check("bob", binding("b", "ClusterRole", "everything", "joe"), Err(NOT_HELD));
    check(
        "jane",
        binding("a", "Role", "gone", "joe"),
        Err("role.rbac.authorization.k8s.io \"gone\" not found"),
    );
}

#[test]
fn what_stays_as_it_is_may_stay() {
    let mut cluster = cluster();
    cluster.user("jane", &[]);
    let before = role("r", vec![rule(&["delete"], "", "pods")]);
    let mut after = before.clone();
    after["metadata"]["labels"] = json!({"a": "b"});
    assert!(cluster.update(before.clone(), after).is_ok());
    let more = role("r", vec![rule(&["delete", "list"], "", "pods")]);
    assert!(cluster.update(before, more).is_err());
}

#[test]
fn administrators_and_plugins_are_not_asked() {
    for group in ["system:masters", "system:pintle:plugins"] {
        let mut cluster = cluster();
        cluster.user("x", &[group]);
        assert!(cluster.create(cluster_role("r", vec![rule(&["*"], "*", "*")])).is_ok());
    }
}
