//! Certificate requests, from the question to the certificate or the end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pintle_plugins::flow::{Made, Row, Stage, Work};
use serde_json::{Value, json};

use crate::objects::*;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

const JANE: &str = include_str!("../../../../runtime/api/tests/x509/jane.csr");
const KUBELET: &str = include_str!("../../../../runtime/api/tests/x509/kubelet.csr");
const MASTERS: &str = include_str!("../../../../runtime/api/tests/x509/masters.csr");

pub const ROWS: &[Row] = &[
    Row {
        plugin: "certificate-approver",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                // A node that is known renews its certificate.
                stage.api.act_as("system:node:n1", &["system:nodes"]);
                let signer = format!("{CLIENT}-kubelet");
                stage.api.create(REQUESTS, &request(unit, KUBELET, &signer)).ok();
            },
            look_at: |_| REQUESTS.to_owned(),
            sees: |_, object| itself(object, is(object, "Approved")),
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "certificate-signer",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| decide(stage, unit, "Approved", Value::Null),
            look_at: |_| REQUESTS.to_owned(),
            // A second certificate would be another one.
            sees: |_, object| {
                Some((name(object), object["status"]["certificate"].as_str()?.to_owned()))
            },
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "certificate-cleaner",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| decide(stage, unit, "Denied", json!("2026-01-01T00:00:00Z")),
            look_at: |_| REQUESTS.to_owned(),
            sees: gone,
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "certificate-restriction",
        spec: nothing,
        prepare: no_preparation,
        work: answered(|stage, number| {
            let name = format!("certificate-restriction-{number}");
            if number.is_multiple_of(2) {
                return stage.api.create(REQUESTS, &request(&name, JANE, CLIENT)).holds(|_| true);
            }
            let refused = stage.api.create(REQUESTS, &request(&name, MASTERS, CLIENT));
            refused.is_refused("system:masters")
        }),
    },
];

fn request(name: &str, pem: &str, signer: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"request": STANDARD.encode(pem), "signerName": signer,
            "usages": ["digital signature", "client auth"]},
    })
}

fn is(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == condition))
}

/// A person decides about a request of that name.
fn decide(stage: &mut Stage, name: &str, condition: &str, when: Value) {
    let mut object = stage.api.create(REQUESTS, &request(name, JANE, CLIENT)).ok();
    let condition = json!({"type": condition, "status": "True", "reason": "ByHand",
        "message": "", "lastUpdateTime": when});
    object["status"] = json!({ "conditions": [condition] });
    stage.api.replace(&format!("{REQUESTS}/{name}/approval"), &object).ok();
}
