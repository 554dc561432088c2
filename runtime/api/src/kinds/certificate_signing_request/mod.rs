//! CertificateSigningRequests: a key's holder asks a signer for a certificate.
//! What is asked, and by whom, never changes; approval, denial and the
//! certificate are written through subresources of their own.

mod rules;

use serde_json::{Value, json};

use super::certificate_status;
use super::json::{age_cell, child, items, name_cell, or_none, remove, set, str_at, value_at};
use super::{
    CertificateFields, Column, Hooks, Requester, Resource, Scope, SelectableField, Subresource,
};
use crate::names;
use crate::time;

use rules::validate;

pub(super) const ROW: Resource = Resource {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    scope: Scope::Cluster,
    subresources: &[Subresource::Status, Subresource::Approval],
    columns: &[
        Column::NAME,
        Column::AGE,
        Column::string("SignerName").help(
            "signerName indicates the requested signer, and is a qualified name.",
        ),
        Column::string("Requestor").help(
            "username contains the name of the user that created the CertificateSigningRequest. Populated by the API server on creation and immutable.",
        ),
        Column::string("RequestedDuration").help(
            "expirationSeconds is the requested duration of validity of the issued certificate. The certificate signer may issue a certificate with a different validity duration.",
        ),
        Column::string("Condition").help(
            "conditions applied to the request. Known conditions are \"Approved\", \"Denied\", and \"Failed\".",
        ),
    ],
    selectable: &[SelectableField::new("spec.signerName", "/spec/signerName")],
    schema: "certificates.v1.CertificateSigningRequest",
    requester: Some(record_requester),
    certificates: Some(CertificateFields { request: &["spec", "request"], certificate: "certificate" }),
    hooks: Hooks {
        cells,
        validate,
        validate_status: |object, old| {
            certificate_status::validate(object, old, certificate_status::Allowed::Certificate)
        },
        validate_approval: |object, old| {
            certificate_status::validate(object, old, certificate_status::Allowed::Approval)
        },
        // What requests are called matters to nobody.
        name: names::path_segment,
        create: |object| set(object, "status", json!({})),
        update: |object, old| match old.get("spec") {
            Some(spec) => set(object, "spec", spec.clone()),
            None => remove(object, "spec"),
        },
        status: |object, old, now_ms| {
            certificate_status::keep_approval(object, old);
            certificate_status::stamp(object, old, now_ms);
        },
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn record_requester(object: &mut Value, requester: &Requester<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    for field in ["username", "uid", "groups", "extra"] {
        remove(spec, field);
    }
    set(spec, "username", requester.name);
    if !requester.uid.is_empty() {
        set(spec, "uid", requester.uid);
    }
    if !requester.groups.is_empty() {
        set(spec, "groups", requester.groups.to_vec());
    }
    if !requester.extra.is_empty() {
        set(spec, "extra", json!(requester.extra));
    }
}

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let spec = value_at(object, &["spec"]);
    let duration = match spec.get("expirationSeconds").and_then(Value::as_i64) {
        Some(seconds) => time::human_duration(seconds.saturating_mul(1000)).into(),
        None => or_none(""),
    };
    vec![
        name_cell(object),
        age_cell(object, now_ms),
        or_none(str_at(spec, &["signerName"])),
        str_at(spec, &["username"]).into(),
        duration,
        condition(object).into(),
    ]
}

fn condition(object: &Value) -> String {
    let has = |wanted: &str| {
        items(object, &["status", "conditions"])
            .iter()
            .any(|known| str_at(known, &["type"]) == wanted)
    };
    let mut text = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (_, true) => "Approved",
        _ => "Pending",
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if !str_at(object, &["status", "certificate"]).is_empty() {
        text.push_str(",Issued");
    }
    text
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    pub(super) fn request() -> Value {
        let csr = STANDARD.encode(include_str!("../../../tests/x509/jane.csr"));
        json!({"metadata": {"name": "jane", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"request": csr, "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"]}})
    }

    #[test]
    fn the_server_says_who_asked() {
        let mut object = request();
        object["spec"]["username"] = "root".into();
        object["spec"]["uid"] = "1".into();
        object["spec"]["extra"] = json!({"a": ["b"]});
        let requester = Requester {
            name: "jane",
            uid: "",
            groups: &["dev".to_owned()],
            extra: &Default::default(),
        };
        record_requester(&mut object, &requester);
        let spec = &object["spec"];
        assert_eq!((&spec["username"], &spec["groups"]), (&json!("jane"), &json!(["dev"])));
        assert!(spec.get("uid").is_none() && spec.get("extra").is_none());
    }

    #[test]
    fn what_was_asked_never_changes() {
        let old = request();
        let mut new = request();
        new["spec"]["usages"] = json!(["any"]);
        new["status"] = json!({"certificate": "AQ=="});
        new["metadata"]["labels"] = json!({"a": "b"});
        ROW.prepare_update(&mut new, &old);
        assert_eq!(new["spec"], old["spec"]);
        assert!(new.get("status").is_none());
        assert_eq!(new["metadata"]["labels"], json!({"a": "b"}));
    }

    #[test]
    fn columns() {
        fn check(conditions: &[&str], certificate: &str, expect: &str) {
            let conditions: Vec<Value> =
                conditions.iter().map(|name| json!({"type": name, "status": "True"})).collect();
            let mut object = request();
            object["status"] = json!({"conditions": conditions, "certificate": certificate});
            object["spec"]["username"] = "jane".into();
            object["spec"]["expirationSeconds"] = 86_400.into();
            assert_eq!(
                cells(&object, 1_767_225_601_000),
                ["jane", "1s", "kubernetes.io/kube-apiserver-client", "jane", "24h", expect]
            );
        }
        check(&[], "", "Pending");
        check(&["Approved"], "", "Approved");
        check(&["Approved"], "AQ==", "Approved,Issued");
        check(&["Denied"], "", "Denied");
        check(&["Approved", "Failed"], "", "Approved,Failed");
        assert_eq!(cells(&request(), 0)[4], "<none>");
    }
}
