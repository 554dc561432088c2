//! What a request must look like. Whether it deserves a certificate is decided
//! by plugins.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::json::{items, str_at, value_at};
use super::super::validation::Check;
use crate::names;
use crate::status::FieldError;
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

/// What was once stored is not checked again: it cannot be changed.
pub(super) fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
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
fn quoted(request: &str) -> String {
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
    use serde_json::json;

    use super::super::tests::request;
    use super::*;
    use crate::status::expect_errors;

    fn check(field: &str, value: Value, expect: &[&str]) {
        let mut object = request();
        object["spec"][field] = value;
        expect_errors(&validate(&object, None), expect);
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
}
