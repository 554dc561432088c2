//! CertificateSigningRequests: a key's holder asks a signer for a certificate.
//! What is asked, and by whom, never changes; approval, denial and the
//! certificate are written through subresources of their own.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::certificate_status;
use super::json::{age_cell, child, items, name_cell, or_none, remove, set, str_at, value_at};
use super::validation::Check;
use super::{
    CertificateFields, Column, Hooks, Requester, Resource, Scope, SelectableField, Subresource,
};
use crate::names;
use crate::status::FieldError;
use crate::time;
use crate::x509::CertificateRequest;

/// Twice the five minutes that certificates begin before they are made.
const MIN_EXPIRATION_SECONDS: i64 = 600;
/// A domain, a namespace's and an object's name, and two separators.
const MAX_SIGNER_NAME: usize = 253 + 63 + 253 + 2;
const MAX_DOMAIN: usize = 253;
/// Only for objects that came from an older API.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// So much of a request is repeated in a refusal.
const MAX_QUOTED: usize = 1024;

/// More usages that are wrong are not listed one by one.
const MOST_REPORTED: usize = 100;

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

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

/// What was once stored is not checked again: it cannot be changed.
fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if old.is_some() {
        return errors;
    }
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    let request = str_at(spec, &["request"]);
    if let Err(error) = CertificateRequest::from_field(request) {
        check.invalid("request", quoted(request), error.to_string());
    }
    let usages = items(spec, &["usages"]);
    if usages.is_empty() {
        check.required("usages", "");
    }
    let mut seen = BTreeSet::new();
    let mut wrong = 0;
    for (index, usage) in usages.iter().enumerate() {
        let text = usage.as_str().unwrap_or_default();
        let known = USAGES.contains(&text);
        if !known {
            check.not_supported(&format!("usages[{index}]"), text, USAGES);
        }
        let first = seen.insert(text);
        if !first {
            check.duplicate(&format!("usages[{index}]"), text);
        }
        wrong += usize::from(!known || !first);
        if wrong == MOST_REPORTED {
            break;
        }
    }
    signer_name(&mut check, str_at(spec, &["signerName"]));
    if let Some(seconds) = spec.get("expirationSeconds").and_then(Value::as_i64)
        && seconds < MIN_EXPIRATION_SECONDS
    {
        check.invalid(
            "expirationSeconds",
            seconds,
            "may not specify a duration less than 600 seconds (10 minutes)",
        );
    }
    errors
}

/// Requests of a megabyte are not sent back to where they came from.
pub(super) fn quoted(request: &str) -> String {
    match request.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}...", &request[..end]),
        None => request.to_owned(),
    }
}

/// `example.com/signer-name`
fn signer_name(check: &mut Check<'_>, name: &str) {
    const FIELD: &str = "signerName";
    if name.is_empty() {
        return check.required(FIELD, "");
    }
    if name == LEGACY_SIGNER {
        return check.invalid(
            FIELD,
            name,
            "the legacy signerName is not allowed via this API version",
        );
    }
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        return check.invalid(
            FIELD,
            name,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
    };
    if domain.len() > MAX_DOMAIN {
        let path = check.path(FIELD);
        check.errors().push(FieldError::too_long(path, MAX_DOMAIN));
    }
    let mut part = |part: &str, rule: fn(&str) -> Option<String>| {
        let wrong = part.split('.').find_map(|label| Some((label, rule(label)?)));
        if let Some((label, why)) = wrong {
            check.invalid(FIELD, part, format!("validating label {label:?}: {why}"));
        }
    };
    part(domain, names::dns_label);
    part(path, names::dns_subdomain);
    if !domain.contains('.') {
        check.invalid(
            FIELD,
            domain,
            "should be a domain with at least two segments separated by dots",
        );
    }
    if name.len() > MAX_SIGNER_NAME {
        let path = check.path(FIELD);
        check.errors().push(FieldError::too_long(path, MAX_SIGNER_NAME));
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn request() -> Value {
        let csr = STANDARD.encode(include_str!("../../tests/x509/jane.csr"));
        json!({"metadata": {"name": "jane", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"request": csr, "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"]}})
    }

    fn check(field: &str, value: Value, expect: &[&str]) {
        let mut object = request();
        object["spec"][field] = value;
        let found: Vec<String> = validate(&object, None).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (text, expect) in found.iter().zip(expect) {
            assert!(text.starts_with(expect), "{text}");
        }
        assert!(validate(&object, Some(&request())).is_empty());
    }

    #[test]
    fn requests_are_checked_in_kubernetes_words() {
        check(
            "request",
            json!("AQ=="),
            &[r#"spec.request: Invalid value: "AQ==": PEM block type must be CERTIFICATE REQUEST"#],
        );
        check("request", json!(""), &["spec.request: Invalid value"]);
        check("usages", json!(null), &["spec.usages: Required value"]);
        check(
            "usages",
            json!(["client auth", "fly"]),
            &[
                r#"spec.usages[1]: Unsupported value: "fly": supported values: "any", "cert sign", "client auth""#,
            ],
        );
        check(
            "usages",
            json!(["client auth", "client auth"]),
            &[r#"spec.usages[1]: Duplicate value: "client auth""#],
        );
        check(
            "expirationSeconds",
            json!(599),
            &[
                "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
            ],
        );
        check("expirationSeconds", json!(600), &[]);
    }

    #[test]
    fn signers_have_a_domain_and_a_path() {
        check("signerName", json!("example.com/a.b"), &[]);
        check("signerName", json!(""), &["spec.signerName: Required value"]);
        check(
            "signerName",
            json!(LEGACY_SIGNER),
            &[
                r#"spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed"#,
            ],
        );
        check(
            "signerName",
            json!("plain"),
            &[
                r#"spec.signerName: Invalid value: "plain": must be a fully qualified domain and path of the form"#,
            ],
        );
        check(
            "signerName",
            json!("a.b/c/d"),
            &[r#"spec.signerName: Invalid value: "a.b/c/d": must be"#],
        );
        check(
            "signerName",
            json!("local/x"),
            &[
                r#"spec.signerName: Invalid value: "local": should be a domain with at least two segments"#,
            ],
        );
        check(
            "signerName",
            json!("A.com/x"),
            &[r#"spec.signerName: Invalid value: "A.com": validating label "A": "#],
        );
        check(
            "signerName",
            json!("a.com/X"),
            &[r#"spec.signerName: Invalid value: "X": validating label "X": "#],
        );
    }

    #[test]
    fn a_huge_request_is_not_repeated() {
        let mut object = request();
        object["spec"]["request"] = STANDARD.encode(vec![b'x'; 1_000_000]).into();
        let errors = validate(&object, None);
        assert!(errors[0].to_string().len() < 1200);
        let mut object = request();
        object["spec"]["usages"] = json!(vec!["fly"; 100_000]);
        assert_eq!(validate(&object, None).len(), 2 * MOST_REPORTED - 1);
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
