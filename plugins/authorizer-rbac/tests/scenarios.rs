//! Reasons in Kubernetes' words, and what a user may do.

use pintle_plugin_authorizer_rbac::Plugin;
use pintle_sdk::authorizer::{Attributes, Decision, User};
use pintle_sdk_testing::Authorizing;
use serde_json::{Value, json};

const API: &str = "rbac.authorization.k8s.io/v1";

fn cluster() -> Authorizing {
    let mut cluster = Authorizing::with::<Plugin>(json!({}));
    let reader = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]);
    let paths = json!([{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]);
    for (kind, namespace, name, rules) in [
        ("ClusterRole", Value::Null, "reader", reader.clone()),
        ("Role", json!("a"), "local", reader),
        ("ClusterRole", Value::Null, "scraper", paths),
    ] {
        cluster.create(json!({"apiVersion": API, "kind": kind,
            "metadata": {"name": name, "namespace": namespace}, "rules": rules}));
    }
    let bind = |namespace: Value, name: &str, role: (&str, &str), subject: Value| {
        let kind = if namespace.is_null() { "ClusterRoleBinding" } else { "RoleBinding" };
        json!({"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": namespace},
            "subjects": [subject], "roleRef": {"kind": role.0, "name": role.1}})
    };
    let user = |name: &str| json!({"kind": "User", "name": name});
    cluster.create(bind(Value::Null, "all", ("ClusterRole", "reader"), user("jane")));
    cluster.create(bind(json!("a"), "here", ("Role", "local"), user("joe")));
    cluster.create(bind(
        json!("a"),
        "robots",
        ("ClusterRole", "reader"),
        json!({"kind": "ServiceAccount", "name": "robot"}),
    ));
    cluster.create(bind(
        Value::Null,
        "scrape",
        ("ClusterRole", "scraper"),
        json!({"kind": "Group", "name": "ops"}),
    ));
    cluster.create(bind(Value::Null, "lost", ("ClusterRole", "gone"), user("ann")));
    cluster
}

#[test]
fn every_answer_says_why() {
    let mut cluster = cluster();
    let mut check = |user: User, namespace: &str, expect: Decision| {
        let asked = Attributes::resource(user, "get", "", "pods").within(namespace).named("p");
        assert_eq!(cluster.ask(&asked), expect);
    };
    let jane =
        r#"RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to User "jane""#;
    check(User::new("jane", &[]), "b", Decision::allow(jane));
    let joe = r#"RBAC: allowed by RoleBinding "here/a" of Role "local" to User "joe""#;
    check(User::new("joe", &[]), "a", Decision::allow(joe));
    check(User::new("joe", &[]), "b", Decision::no_opinion(""));
    let robot = r#"RBAC: allowed by RoleBinding "robots/a" of ClusterRole "reader" to ServiceAccount "robot/a""#;
    check(User::new("system:serviceaccount:a:robot", &[]), "a", Decision::allow(robot));
    let gone = r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#;
    check(User::new("ann", &[]), "a", Decision::no_opinion(gone));
}

#[test]
fn paths_are_for_the_whole_cluster() {
    let asked = Attributes::path(User::new("x", &["ops"]), "get", "/metrics");
    assert!(cluster().ask(&asked).is_allowed());
}

#[test]
fn a_user_learns_what_it_may_do() {
    let mut cluster = cluster();
    let rules = cluster.rules(&User::new("joe", &["ops"]), "a");
    assert_eq!(rules.resource_rules[0].resources, ["pods"]);
    assert_eq!(rules.non_resource_rules[0].non_resource_urls, ["/metrics"]);
    assert_eq!(rules.incomplete, None);
    assert!(cluster.rules(&User::new("joe", &[]), "b").resource_rules.is_empty());
    assert!(cluster.rules(&User::new("ann", &[]), "b").incomplete.is_some());
}
