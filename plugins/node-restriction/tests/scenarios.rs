//! What a node tries to change.

use pintle_plugin_node_restriction::Plugin;
use pintle_sdk_testing::{
    Denied, Reviewing,
    objects::{node, pod},
};
use serde_json::json;

fn as_node(name: &str) -> Reviewing {
    let mut reviewing = Reviewing::with::<Plugin>(json!({}));
    reviewing.user(&format!("system:node:{name}"), &["system:nodes"]);
    reviewing
}

fn message<T: std::fmt::Debug>(answer: Result<T, Denied>) -> String {
    answer.unwrap_err().message
}

#[test]
fn of_itself() {
    let mut n1 = as_node("n1");
    n1.create(node("n1").label("kubernetes.io/hostname", "n1")).unwrap();
    let labelled = || node("n1").label("node-role.kubernetes.io/control-plane", "");
    assert_eq!(
        message(n1.create(labelled())),
        r#"node "n1" is not allowed to set the following labels: node-role.kubernetes.io/control-plane"#
    );
    assert_eq!(
        message(n1.update(node("n1"), labelled())),
        "is not allowed to modify labels: node-role.kubernetes.io/control-plane"
    );
    // What somebody else gave it stays.
    n1.update(labelled(), labelled().label("disk", "ssd")).unwrap();
    assert_eq!(
        message(n1.update(node("n1").taint("a", "b", "NoSchedule"), node("n1"))),
        r#"node "n1" is not allowed to modify taints"#
    );
    assert_eq!(
        message(n1.update(node("n2"), node("n2"))),
        r#"node "n1" is not allowed to modify node "n2""#
    );
    n1.create(node("n1").taint("node.kubernetes.io/not-ready", "", "NoSchedule")).unwrap();
}

#[test]
fn of_pods() {
    let mut n1 = as_node("n1");
    let own = || pod("p").on("n1");
    n1.delete(own()).unwrap();
    n1.update_subresource("status", own(), own().set("status.phase", "Running")).unwrap();
    assert_eq!(
        message(n1.update_subresource("status", own(), own().label("a", "b"))),
        r#"node "n1" cannot update labels through pod status"#
    );
    assert_eq!(
        message(n1.update_subresource("status", pod("p").on("n2"), pod("p").on("n2"))),
        r#"node "n1" can only update pod status for pods with spec.nodeName set to itself"#
    );
    assert_eq!(
        message(n1.delete(pod("p").on("n2"))),
        r#"node "n1" can only delete pods with spec.nodeName set to itself"#
    );
    assert_eq!(
        message(n1.create(own())),
        r#"pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods"#
    );
}

#[test]
fn others_are_none_of_its_business() {
    let mut anybody = Reviewing::with::<Plugin>(json!({}));
    anybody.user("system:node:n1", &["people"]);
    anybody.delete(pod("p").on("n2")).unwrap();
    anybody.user("admin", &["system:nodes"]);
    anybody.update(node("n2"), node("n2").label("node-role.kubernetes.io/x", "")).unwrap();
}
