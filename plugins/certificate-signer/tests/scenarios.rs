//! What is signed, for how long, and what fails.

use pintle_plugin_certificate_signer::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::objects::certificate_request;
use pintle_sdk_testing::{Cluster, World, properties, subject};
use proptest::prelude::*;
use serde_json::{Value, json};

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";

fn pem(name: &str) -> &'static str {
    match name {
        "jane" => include_str!("../../../runtime/api/tests/x509/jane.csr"),
        "kubelet" => include_str!("../../../runtime/api/tests/x509/kubelet.csr"),
        "serving" => include_str!("../../../runtime/api/tests/x509/serving.csr"),
        "masters" => include_str!("../../../runtime/api/tests/x509/masters.csr"),
        _ => panic!("there is no request {name}"),
    }
}

fn csr(file: &str, signer: &str, usages: &[&str], conditions: &[&str]) -> Value {
    let conditions: Vec<Value> =
        conditions.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
    let mut request: Value = certificate_request("csr", pem(file))
        .signer(signer)
        .usages(usages)
        .requester("jane", &[])
        .into();
    request["status"] = json!({"conditions": conditions});
    request
}

#[derive(Debug, PartialEq)]
enum Expect<'a> {
    Signed,
    Failed(&'a str),
    Nothing,
}

fn check(request: Value, expect: Expect<'_>) {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let reference = cluster.create(request);
    let actions = cluster.settle().actions;
    let status = cluster.object(&reference).unwrap()["status"].clone();
    let failed: Vec<&Value> = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|condition| condition["reason"] == "SignerValidationFailure")
        .collect();
    let found = match (failed.first(), status["certificate"].is_string()) {
        (Some(failed), false) => {
            assert_eq!((&failed["type"], &failed["status"]), (&json!("Failed"), &json!("True")));
            Expect::Failed(failed["message"].as_str().unwrap())
        }
        (None, true) => Expect::Signed,
        _ => Expect::Nothing,
    };
    assert_eq!(found, expect);
    assert_eq!(actions.is_empty(), expect == Expect::Nothing);
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn approved_requests_are_signed_or_fail() {
    let client = &["client auth"][..];
    let node = &["digital signature", "client auth"][..];
    let server = &["digital signature", "server auth"][..];
    let yes = &["Approved"][..];
    check(csr("jane", CLIENT, client, yes), Expect::Signed);
    check(csr("kubelet", KUBELET, node, yes), Expect::Signed);
    check(csr("serving", SERVING, server, yes), Expect::Signed);
    check(csr("jane", "kubernetes.io/legacy-unknown", &["any"], yes), Expect::Signed);
    check(
        csr("jane", CLIENT, &["server auth"], yes),
        Expect::Failed("invalid usage for client certificate: server auth"),
    );
    check(
        csr("jane", KUBELET, node, yes),
        Expect::Failed("subject organization is not system:nodes"),
    );
    check(
        csr("kubelet", SERVING, server, yes),
        Expect::Failed("DNS or IP subjectAltName is required"),
    );
    check(csr("jane", "example.com/other", client, yes), Expect::Nothing);
}

#[test]
fn nothing_is_signed_without_approval_or_twice() {
    let client = &["client auth"][..];
    check(csr("jane", CLIENT, client, &[]), Expect::Nothing);
    check(csr("jane", CLIENT, client, &["Denied"]), Expect::Nothing);
    check(csr("jane", CLIENT, client, &["Approved", "Denied"]), Expect::Nothing);
    check(csr("jane", CLIENT, client, &["Approved", "Failed"]), Expect::Nothing);
    let mut signed = csr("jane", CLIENT, client, &["Approved"]);
    signed["status"]["certificate"] = json!("b3RoZXI=");
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    cluster.create(signed);
    assert!(cluster.settle().actions.is_empty());
}

#[test]
fn the_order_says_for_what_and_how_long() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({"durationSeconds": 86400}));
    let mut request = csr("jane", CLIENT, &["client auth"], &["Approved"]);
    request["spec"]["expirationSeconds"] = json!(3600);
    cluster.create(request);
    let actions = cluster.settle().actions;
    let [Action::Update(update)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(update.subresource, "signature");
    let order: Value = serde_json::from_slice(&update.json).unwrap();
    assert_eq!(
        order["signature"],
        json!({"usages": ["client auth"], "notBefore": "2025-12-31T23:55:00Z", "notAfter": "2026-01-01T01:00:00Z"})
    );
    assert_eq!(order["metadata"]["resourceVersion"], "1");
}

#[test]
fn a_duration_that_holds_nothing_is_refused() {
    let refused = |seconds: i64| {
        Plugin::new(serde_json::from_value(json!({"durationSeconds": seconds})).unwrap()).err()
    };
    assert_eq!(refused(600), None);
    assert_eq!(refused(599).as_deref(), Some("durationSeconds: 599: must be at least 600"));
}

fn crowd() -> World {
    let mut world = World::new();
    let signers = [CLIENT, KUBELET, SERVING, "example.com/other"];
    for (index, signer) in signers.into_iter().cycle().take(12).enumerate() {
        let conditions: &[&str] = if index % 5 == 4 { &[] } else { &["Approved"] };
        let mut request = csr("jane", signer, &["client auth"], conditions);
        request["metadata"]["name"] = format!("csr-{index}").into();
        world.create(request);
    }
    world
}

#[test]
fn the_suite_of_controllers() {
    let subject = subject::controller::<Plugin>();
    properties::is_idempotent(&subject, &json!({}), &crowd());
    properties::is_deterministic(&subject, &json!({}), &crowd());
    properties::does_not_flap(&subject, &json!({}), &crowd());
    properties::converges(&subject, &json!({}), &crowd(), 0..50, |settled| {
        for csr in settled.all(&CERTIFICATE_SIGNING_REQUEST) {
            let approved = csr["status"]["conditions"][0]["type"] == "Approved";
            let signer = csr["spec"]["signerName"].as_str().unwrap();
            let signed = csr["status"]["certificate"].is_string();
            let failed = csr["status"]["conditions"][1]["type"] == "Failed";
            assert_eq!(signed, approved && signer == CLIENT, "{csr}");
            assert_eq!(failed, approved && [KUBELET, SERVING].contains(&signer), "{csr}");
        }
    });
}

proptest! {
    /// Only what is approved and not denied is ever signed.
    #[test]
    fn no_approval_no_signature(
        conditions in prop::collection::vec(prop::sample::select(vec!["Approved", "Denied", "Failed", "Odd"]), 0..4),
        signer in prop::sample::select(vec![CLIENT, KUBELET, SERVING, "example.com/x"]),
        file in prop::sample::select(vec!["jane", "kubelet", "serving", "masters"]),
    ) {
        let mut cluster = Cluster::new().with::<Plugin>(json!({}));
        let usages = ["client auth", "digital signature"];
        let reference = cluster.create(csr(file, signer, &usages, &conditions));
        cluster.settle();
        let signed = cluster.object(&reference).unwrap()["status"]["certificate"].is_string();
        let has = |kind: &str| conditions.contains(&kind);
        prop_assert!(!signed || (has("Approved") && !has("Denied") && !has("Failed")));
    }
}
