//! The status of a certificate request: who may write which part of it.
//! Approval and denial exclude each other, and neither they nor a failure nor a
//! certificate can be taken back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::json::{child, default_str, items, items_mut, str_at, value_at};
use super::validation::Check;
use crate::status::FieldError;
use crate::time;
use crate::x509;

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";
const CONDITIONS: &[&str] = &["status", "conditions"];

/// What a subresource may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// `Approved` and `Denied`.
    Approval,
    /// `status.certificate`, and conditions other than these two.
    Certificate,
}

/// Through the status subresource approvals stay as they are, to the letter;
/// one that was added or taken away is left for validation to find.
pub(super) fn keep_approval(object: &mut Value, old: &Value) {
    for kind in [APPROVED, DENIED] {
        let known: Vec<Value> = of_type(old, kind).cloned().collect();
        if known.len() != of_type(object, kind).count() {
            continue;
        }
        let Some(status) = child(object, "status") else { continue };
        let mine = items_mut(status, "conditions").filter(|entry| str_at(entry, &["type"]) == kind);
        for (entry, known) in mine.zip(known) {
            *entry = known;
        }
    }
}

/// Fills in the times that a writer left out.
pub(super) fn stamp(object: &mut Value, old: &Value, now_ms: i64) {
    let now = time::format_seconds(now_ms);
    let since: BTreeMap<(&str, &str), &str> = items(old, CONDITIONS)
        .iter()
        .map(|known| (key(known), str_at(known, &["lastTransitionTime"])))
        .filter(|(_, since)| !since.is_empty())
        .collect();
    let Some(status) = object.get_mut("status") else { return };
    for entry in items_mut(status, "conditions") {
        default_str(entry, "lastUpdateTime", &now);
        let since = since.get(&key(entry)).copied().unwrap_or(&now);
        default_str(entry, "lastTransitionTime", since);
    }
}

fn key(condition: &Value) -> (&str, &str) {
    (str_at(condition, &["type"]), str_at(condition, &["status"]))
}

pub(super) fn validate(object: &Value, old: &Value, allowed: Allowed) -> Vec<FieldError> {
    let mut errors = Vec::new();
    conditions(&mut Check::new(&mut errors, "status"), object, old);
    let mut check = Check::new(&mut errors, "status");
    for kind in [APPROVED, DENIED, FAILED] {
        if of_type(object, kind).count() < of_type(old, kind).count() {
            check.forbidden(
                "conditions",
                format!("updates may not remove a condition of type {kind:?}"),
            );
        }
    }
    if allowed != Allowed::Approval {
        for kind in [APPROVED, DENIED] {
            if of_type(object, kind).count() > of_type(old, kind).count() {
                check.forbidden(
                    "conditions",
                    format!("updates may not add a condition of type {kind:?}"),
                );
            }
        }
    }
    certificate(&mut check, object, old, allowed);
    errors
}

fn conditions(check: &mut Check<'_>, object: &Value, old: &Value) {
    // What is stored already does not stand in the way of other changes.
    let both = of_type(old, APPROVED).next().is_some() && of_type(old, DENIED).next().is_some();
    let mut seen = BTreeSet::new();
    for (index, entry) in items(object, CONDITIONS).iter().enumerate() {
        let mut check = check.item("conditions", index);
        let kind = str_at(entry, &["type"]);
        if kind.is_empty() {
            check.required("type", "");
        }
        let supported: &[&str] = match kind {
            APPROVED | DENIED | FAILED => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        match str_at(entry, &["status"]) {
            "" => check.required("status", ""),
            status if !supported.contains(&status) => {
                check.not_supported("status", status, supported);
            }
            _ => {}
        }
        let excludes = match kind {
            APPROVED => seen.contains(DENIED),
            DENIED => seen.contains(APPROVED),
            _ => false,
        };
        if excludes && !both {
            check.invalid("type", kind, "Approved and Denied conditions are mutually exclusive");
        }
        if !seen.insert(kind) {
            check.duplicate("type", kind);
        }
    }
}

fn certificate(check: &mut Check<'_>, object: &Value, old: &Value, allowed: Allowed) {
    const FIELD: &str = "certificate";
    let (new, old) = (str_at(object, &["status", FIELD]), str_at(old, &["status", FIELD]));
    if new == old {
        return;
    }
    let content = x509::field_bytes(new).and_then(|bytes| x509::check_bundle(&bytes));
    if let Err(error) = content {
        check.invalid(FIELD, "<certificate data>", error.to_string());
    }
    if allowed != Allowed::Certificate {
        check.forbidden(FIELD, "updates may not set certificate content");
    } else if !old.is_empty() {
        check.forbidden(FIELD, "updates may not modify existing certificate content");
    }
}

fn of_type<'a>(object: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    items(value_at(object, CONDITIONS), &[])
        .iter()
        .filter(move |entry| str_at(entry, &["type"]) == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(kind: &str, status: &str) -> Value {
        json!({"type": kind, "status": status})
    }

    fn with(conditions: &[Value]) -> Value {
        json!({"status": {"conditions": conditions}})
    }

    #[test]
    fn approvals_exclude_each_other_and_stay() {
        fn check(old: &[Value], new: &[Value], allowed: Allowed, expect: &[&str]) {
            let found: Vec<String> =
                validate(&with(new), &with(old), allowed).iter().map(ToString::to_string).collect();
            assert_eq!(found, expect);
        }
        let yes = || entry(APPROVED, "True");
        let no = || entry(DENIED, "True");
        let failed = || entry(FAILED, "True");
        check(&[], &[yes()], Allowed::Approval, &[]);
        check(&[], &[failed()], Allowed::Certificate, &[]);
        check(&[yes()], &[yes(), failed()], Allowed::Certificate, &[]);
        check(
            &[],
            &[yes(), no()],
            Allowed::Approval,
            &[
                r#"status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive"#,
            ],
        );
        check(
            &[no()],
            &[no(), yes()],
            Allowed::Approval,
            &[
                r#"status.conditions[1].type: Invalid value: "Approved": Approved and Denied conditions are mutually exclusive"#,
            ],
        );
        check(
            &[yes()],
            &[],
            Allowed::Approval,
            &[
                r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#,
            ],
        );
        check(
            &[],
            &[yes()],
            Allowed::Certificate,
            &[
                r#"status.conditions: Forbidden: updates may not add a condition of type "Approved""#,
            ],
        );
        check(
            &[],
            &[yes(), yes()],
            Allowed::Approval,
            &[r#"status.conditions[1].type: Duplicate value: "Approved""#],
        );
        check(
            &[],
            &[entry(APPROVED, "False")],
            Allowed::Approval,
            &[
                r#"status.conditions[0].status: Unsupported value: "False": supported values: "True""#,
            ],
        );
        check(
            &[],
            &[entry("Odd", "")],
            Allowed::Approval,
            &["status.conditions[0].status: Required value"],
        );
        check(
            &[],
            &[entry("", "True")],
            Allowed::Approval,
            &["status.conditions[0].type: Required value"],
        );
        check(&[yes(), no()], &[yes(), no(), failed()], Allowed::Certificate, &[]);
    }

    #[test]
    fn a_certificate_is_written_once_by_its_signer() {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;
        let pem = STANDARD.encode(include_str!("../../tests/x509/ca.crt"));
        let with = |certificate: &str| json!({"status": {"certificate": certificate}});
        let check = |old: &str, new: &str, allowed: Allowed, expect: &[&str]| {
            let found: Vec<String> =
                validate(&with(new), &with(old), allowed).iter().map(ToString::to_string).collect();
            assert_eq!(found, expect);
        };
        check("", &pem, Allowed::Certificate, &[]);
        check(&pem, &pem, Allowed::Approval, &[]);
        check(
            "",
            &pem,
            Allowed::Approval,
            &["status.certificate: Forbidden: updates may not set certificate content"],
        );
        check(
            "QUJD",
            &pem,
            Allowed::Certificate,
            &["status.certificate: Forbidden: updates may not modify existing certificate content"],
        );
        check(
            "",
            "QUJD",
            Allowed::Certificate,
            &[
                r#"status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block"#,
            ],
        );
    }

    #[test]
    fn times_are_filled_in_and_kept() {
        let mut old = with(&[entry(APPROVED, "True")]);
        stamp(&mut old, &json!({}), 0);
        let first = &old["status"]["conditions"][0];
        assert_eq!(first["lastUpdateTime"], "1970-01-01T00:00:00Z");
        assert_eq!(first["lastTransitionTime"], "1970-01-01T00:00:00Z");
        let mut new = with(&[entry(APPROVED, "True"), entry(FAILED, "True")]);
        stamp(&mut new, &old, 60_000);
        let list = &new["status"]["conditions"];
        assert_eq!(list[0]["lastUpdateTime"], "1970-01-01T00:01:00Z");
        assert_eq!(list[0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(list[1]["lastTransitionTime"], "1970-01-01T00:01:00Z");
        // Through the status subresource an approval is what it was.
        let mut status = with(&[json!({"type": APPROVED, "status": "True", "message": "mine"})]);
        keep_approval(&mut status, &old);
        assert_eq!(status, old);
    }
}
