//! Who gets a node's certificate without a person looking.

use pintle_plugin_certificate_approver::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::objects::certificate_request;
use pintle_sdk_testing::{Cluster, World, properties, subject};
use proptest::prelude::*;
use serde_json::{Value, json};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const BOOTSTRAP: (&str, &[&str]) = ("system:bootstrap:abcdef", &["system:bootstrappers"]);
const NODE_ITSELF: (&str, &[&str]) = ("system:node:n1", &["system:nodes"]);
const SELF: &str = "Auto approving self kubelet client certificate after SubjectAccessReview.";
const JOIN: &str = "Auto approving kubelet client certificate after SubjectAccessReview.";

fn pem(name: &str) -> &'static str {
    match name {
        "jane" => include_str!("../../../runtime/api/tests/x509/jane.csr"),
        "kubelet" => include_str!("../../../runtime/api/tests/x509/kubelet.csr"),
        "serving" => include_str!("../../../runtime/api/tests/x509/serving.csr"),
        "masters" => include_str!("../../../runtime/api/tests/x509/masters.csr"),
        _ => panic!("there is no request {name}"),
    }
}

fn role(name: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [{"apiGroups": ["certificates.k8s.io"], "verbs": ["create"],
            "resources": [format!("certificatesigningrequests/{name}")]}]})
}

fn binding(role: &str, group: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": format!("{role}-{group}")},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": group}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
}

/// Roles as a cluster has them: nodes renew, bootstrappers join.
fn roles(world: &mut World) {
    for (name, group) in
        [("selfnodeclient", "system:nodes"), ("nodeclient", "system:bootstrappers")]
    {
        world.create(role(name));
        world.create(binding(name, group));
    }
}

fn csr(file: &str, signer: &str, (user, groups): (&str, &[&str])) -> Value {
    certificate_request("csr", pem(file))
        .signer(signer)
        .usages(&["digital signature", "client auth"])
        .requester(user, groups)
        .into()
}

fn check(request: Value, expect: Option<&str>) {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    roles(&mut cluster);
    let reference = cluster.create(request);
    cluster.settle();
    let conditions = cluster.object(&reference).unwrap()["status"]["conditions"].clone();
    let message = conditions[0]["message"].as_str();
    assert_eq!(message, expect, "{conditions}");
    if message.is_some() {
        let approved = &conditions[0];
        assert_eq!((&approved["type"], &approved["status"]), (&json!("Approved"), &json!("True")));
        assert_eq!(approved["reason"], "AutoApproved");
    }
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn nodes_and_bootstrappers_are_approved_and_nobody_else() {
    check(csr("kubelet", SIGNER, BOOTSTRAP), Some(JOIN));
    check(csr("kubelet", SIGNER, NODE_ITSELF), Some(SELF));
    // Another node's name, a user, a signer or names that nodes may not have.
    check(csr("kubelet", SIGNER, ("system:node:n2", &["system:nodes"])), None);
    check(csr("kubelet", SIGNER, ("jane", &["dev"])), None);
    check(csr("kubelet", SIGNER, ("system:node:n1", &["dev"])), None);
    check(csr("jane", SIGNER, BOOTSTRAP), None);
    check(csr("serving", SIGNER, BOOTSTRAP), None);
    check(csr("kubelet", "kubernetes.io/kube-apiserver-client", BOOTSTRAP), None);
    check(csr("serving", "kubernetes.io/kubelet-serving", NODE_ITSELF), None);
    check(csr("kubelet", SIGNER, ("admin", &["system:masters"])), Some(JOIN));
}

#[test]
fn what_was_decided_stays() {
    for kind in ["Denied", "Approved"] {
        let mut request = csr("kubelet", SIGNER, BOOTSTRAP);
        request["status"] =
            json!({"conditions": [{"type": kind, "status": "True", "message": "by hand"}]});
        check_by_hand(request);
    }
}

fn check_by_hand(request: Value) {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    roles(&mut cluster);
    cluster.create(request);
    assert!(cluster.settle().actions.is_empty());
}

#[test]
fn a_request_that_waits_is_approved_when_somebody_is_given_the_right() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let reference = cluster.create(csr("kubelet", SIGNER, BOOTSTRAP));
    assert!(cluster.settle().actions.is_empty());
    cluster.create(role("nodeclient"));
    assert!(cluster.settle().actions.is_empty());
    cluster.create(binding("nodeclient", "system:bootstrappers"));
    cluster.settle();
    assert_eq!(
        cluster.object(&reference).unwrap()["status"]["conditions"][0]["reason"],
        "AutoApproved"
    );
}

#[test]
fn the_suite_of_controllers() {
    let mut world = World::new();
    roles(&mut world);
    for (index, user) in [BOOTSTRAP, NODE_ITSELF, ("jane", &[])].into_iter().enumerate() {
        let mut request = csr("kubelet", SIGNER, user);
        request["metadata"]["name"] = format!("csr-{index}").into();
        world.create(request);
    }
    let subject = subject::controller::<Plugin>();
    properties::is_idempotent(&subject, &json!({}), &world);
    properties::is_deterministic(&subject, &json!({}), &world);
    properties::does_not_flap(&subject, &json!({}), &world);
    properties::converges(&subject, &json!({}), &world, 0..50, |settled| {
        let approved = settled.all(&CERTIFICATE_SIGNING_REQUEST);
        let approved = approved.iter().filter(|csr| !csr["status"]["conditions"].is_null());
        assert_eq!(approved.count(), 2);
    });
}

proptest! {
    /// Whatever groups and usages come together: nobody without one of the two
    /// rights is approved.
    #[test]
    fn no_right_no_approval(
        name in "[a-z:]{0,12}",
        groups in prop::collection::vec("[a-z:]{0,12}", 0..4),
        usages in prop::collection::vec(prop::sample::select(vec!["client auth", "digital signature", "any"]), 0..4),
        file in prop::sample::select(vec!["kubelet", "jane", "serving", "masters"]),
    ) {
        let mut cluster = Cluster::new().with::<Plugin>(json!({}));
        roles(&mut cluster);
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let request: Value =
            certificate_request("csr", pem(file)).signer(SIGNER).usages(&usages).requester(&name, &groups).into();
        cluster.create(request);
        prop_assert!(cluster.settle().actions.is_empty());
    }
}
