//! Who may approve, who may sign, and what nobody may ask for.

use pintle_plugin_certificate_restriction::Plugin;
use pintle_sdk_testing::objects::certificate_request;
use pintle_sdk_testing::{Reviewing, World, properties, subject};
use proptest::prelude::*;
use serde_json::{Value, json};

const JANE: &str = include_str!("../../../runtime/api/tests/x509/jane.csr");
const EVE: &str = include_str!("../../../runtime/api/tests/x509/masters.csr");
const PLUGIN: &str = include_str!("../../../runtime/api/tests/x509/plugin.csr");
const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn role(name: &str, verb: &str, signer: &str) -> Value {
    json!({"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [{"apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
            "verbs": [verb], "resourceNames": [signer]}]})
}

fn binding(role: &str, user: &str) -> Value {
    json!({"apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": {"name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
}

/// Ann approves for one signer, Ada for a domain, Sid signs for it.
fn cluster(user: &str, groups: &[&str]) -> Reviewing {
    let mut cluster = Reviewing::with::<Plugin>(json!({}));
    for (name, verb, signer, user) in [
        ("one", "approve", "example.com/users", "ann"),
        ("all", "approve", "example.com/*", "ada"),
        ("sign", "sign", "example.com/users", "sid"),
    ] {
        let world = std::ops::DerefMut::deref_mut(&mut cluster);
        world.create(role(name, verb, signer));
        world.create(binding(name, user));
    }
    cluster.user(user, groups);
    cluster
}

fn request(signer: &str) -> Value {
    certificate_request("csr", JANE).signer(signer).into()
}

fn change(user: &str, groups: &[&str], signer: &str, subresource: &str) -> Result<(), String> {
    let old = request(signer);
    let mut new = old.clone();
    match subresource {
        "approval" => new["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]),
        _ => new["status"]["certificate"] = json!("b2s="),
    }
    let admitted = cluster(user, groups).update_subresource(subresource, old, new);
    admitted.map(|_| ()).map_err(|denied| denied.message)
}

#[test]
fn approving_takes_the_right_to_approve_for_the_signer() {
    fn check(user: &str, groups: &[&str], signer: &str, expect: bool) {
        let found = change(user, groups, signer, "approval");
        let refused = format!("user not permitted to approve requests with signerName {signer:?}");
        assert_eq!(found, if expect { Ok(()) } else { Err(refused) }, "{user} {signer}");
    }
    check("ann", &[], "example.com/users", true);
    check("ann", &[], "example.com/robots", false);
    check("ada", &[], "example.com/robots", true);
    check("ada", &[], "example.org/robots", false);
    check("sid", &[], "example.com/users", false);
    check("eve", &["system:authenticated"], "example.com/users", false);
    check("root", &["system:masters"], "example.com/users", true);
    check("system:pintle:plugin:certificate-approver", &["system:pintle:plugins"], "a.b/c", true);
}

#[test]
fn signing_takes_the_right_to_sign_and_nothing_else_does() {
    let signer = "example.com/users";
    let refused = Err(format!("user not permitted to sign requests with signerName {signer:?}"));
    assert_eq!(change("sid", &[], signer, "status"), Ok(()));
    assert_eq!(change("ann", &[], signer, "status"), refused);
    assert_eq!(change("root", &["system:masters"], signer, "status"), Ok(()));
    // A status without a new certificate is nobody's business.
    let old = request(signer);
    let mut failed = old.clone();
    failed["status"]["conditions"] = json!([{"type": "Failed", "status": "True"}]);
    assert!(cluster("ann", &[]).update_subresource("status", old, failed).is_ok());
}

#[test]
fn nobody_asks_for_an_administrators_certificate() {
    let ask = |pem: &str, signer: &str| {
        let request: Value = certificate_request("csr", pem).signer(signer).into();
        cluster("root", &["system:masters"]).create(request).map(|_| ()).map_err(|d| d.message)
    };
    let client = "kubernetes.io/kube-apiserver-client";
    assert_eq!(ask(JANE, client), Ok(()));
    assert_eq!(
        ask(EVE, client).unwrap_err(),
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    assert_eq!(
        ask(PLUGIN, client).unwrap_err(),
        "use of kubernetes.io/kube-apiserver-client signer with system:pintle:plugins group is not allowed"
    );
    assert_eq!(ask(EVE, "example.com/users"), Ok(()));
    assert_eq!(
        ask("garbage", client).unwrap_err(),
        "failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"
    );
}

#[test]
fn the_suite_of_admission() {
    let objects = [JANE, EVE, PLUGIN, "garbage"].map(|pem| certificate_request("csr", pem).into());
    let subject = subject::admission::<Plugin>();
    properties::admits_idempotently(&subject, &json!({}), &World::new(), objects);
}

proptest! {
    /// Nobody without a role approves or signs, whatever the signer is called.
    #[test]
    fn no_right_no_approval(
        user in "[a-z:]{1,12}",
        groups in prop::collection::vec("[a-z:]{0,12}", 0..4),
        signer in "[a-z]{1,8}\\.[a-z]{1,4}/[a-z*]{1,6}",
    ) {
        prop_assume!(!["ann", "ada", "sid"].contains(&user.as_str()));
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        prop_assert!(change(&user, &groups, &signer, "approval").is_err());
        prop_assert!(change(&user, &groups, &signer, "status").is_err());
    }
}
