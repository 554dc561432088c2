//! What a node may read, as pods come and go.

use pintle_plugin_authorizer_node::Plugin;
use pintle_sdk::authorizer::{Attributes, Decision, User};
use pintle_sdk_testing::Authorizing;
use serde_json::{Value, json};

fn pod(name: &str, node: &str, spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a"}, "spec": spec});
    pod["spec"]["nodeName"] = node.into();
    pod
}

fn asked(node: &str, verb: &str, resource: &str, name: &str) -> Attributes {
    let user = User::new(&format!("system:node:{node}"), &["system:nodes"]);
    Attributes::resource(user, verb, "", resource).within("a").named(name)
}

fn may(cluster: &mut Authorizing, node: &str, resource: &str, name: &str) -> bool {
    match cluster.ask(&asked(node, "get", resource, name)) {
        Decision::Allow(_) => true,
        Decision::Deny(reason) => {
            assert!(reason.contains("no relationship found"), "{reason}");
            false
        }
        Decision::NoOpinion(_) => panic!("it knows {resource}"),
    }
}

#[test]
fn everything_a_pod_names_is_found() {
    let mut cluster = Authorizing::with::<Plugin>(json!({}));
    cluster.create(pod("p", "n1", json!({
        "serviceAccountName": "robot",
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "init-env"}}]}],
        "containers": [{"name": "c",
            "envFrom": [{"configMapRef": {"name": "env"}}],
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "setting", "key": "k"}}},
                    {"name": "C", "value": "plain"}]}],
        "volumes": [{"name": "v", "secret": {"secretName": "files"}},
                    {"name": "w", "configMap": {"name": "conf"}},
                    {"name": "x", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "y", "projected": {"sources": [{"secret": {"name": "part"}},
                        {"configMap": {"name": "ca"}}, {"serviceAccountToken": {"path": "t"}}]}},
                    {"name": "z", "ephemeral": {"volumeClaimTemplate": {}}},
                    {"name": "e", "emptyDir": null}],
    })));
    cluster.create(json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "robot", "namespace": "a"}, "imagePullSecrets": [{"name": "account-pull"}]}));
    cluster.create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "a"}, "spec": {"volumeName": "pv-1"}}));
    for (resource, name) in [
        ("secrets", "pull"),
        ("secrets", "init-env"),
        ("secrets", "key"),
        ("secrets", "files"),
        ("secrets", "part"),
        ("secrets", "account-pull"),
        ("configmaps", "env"),
        ("configmaps", "setting"),
        ("configmaps", "conf"),
        ("configmaps", "ca"),
        ("persistentvolumeclaims", "data"),
        ("persistentvolumeclaims", "p-z"),
        ("persistentvolumes", "pv-1"),
        ("serviceaccounts", "robot"),
    ] {
        assert!(may(&mut cluster, "n1", resource, name), "{resource} {name}");
        assert!(!may(&mut cluster, "n2", resource, name), "{resource} {name}");
    }
    assert!(!may(&mut cluster, "n1", "secrets", "other"));
}

#[test]
fn what_the_last_pod_used_is_closed_again() {
    let mut cluster = Authorizing::with::<Plugin>(json!({}));
    let spec = || json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]});
    let one = cluster.create(pod("one", "n1", spec()));
    let two = cluster.create(pod("two", "n1", spec()));
    cluster.create(pod("pending", "", spec()));
    cluster.remove(&one);
    assert!(may(&mut cluster, "n1", "secrets", "s"));
    cluster.remove(&two);
    assert!(!may(&mut cluster, "n1", "secrets", "s"));
}

#[test]
fn it_speaks_of_reads_by_nodes_only() {
    let mut cluster = Authorizing::with::<Plugin>(json!({}));
    let mut check = |attributes: Attributes, expect: &str| {
        let decision = cluster.ask(&attributes);
        let found = match decision {
            Decision::Allow(_) => "allow",
            Decision::Deny(_) => "deny",
            Decision::NoOpinion(_) => "no opinion",
        };
        assert_eq!(found, expect, "{attributes:?}");
    };
    check(asked("n1", "list", "secrets", ""), "deny");
    check(asked("n1", "watch", "persistentvolumes", "pv"), "deny");
    check(asked("n1", "update", "secrets", "s"), "no opinion");
    check(asked("n1", "get", "pods", "p"), "no opinion");
    let jane = User::new("jane", &["system:nodes"]);
    check(Attributes::resource(jane, "get", "", "secrets").within("a").named("s"), "no opinion");
    let outside = User::new("system:node:n1", &["dev"]);
    check(Attributes::resource(outside, "get", "", "secrets").within("a").named("s"), "no opinion");
}
