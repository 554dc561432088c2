//! `Lease`: who holds something, renewed in time.

use serde_json::Value;

use super::json::{age_cell, name_cell, str_at, value_at};
use super::validation::Check;
use super::{Column, Hooks, Resource};
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    columns: &[
        Column::NAME,
        Column::string("Holder")
            .help("holderIdentity contains the identity of the holder of a current lease."),
        Column::AGE,
    ],
    schema: "coordination.v1.Lease",
    hooks: Hooks {
        cells: |object, now| {
            vec![
                name_cell(object),
                str_at(object, &["spec", "holderIdentity"]).into(),
                age_cell(object, now),
            ]
        },
        validate,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn validate(object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    if let Some(seconds) = value_at(spec, &["leaseDurationSeconds"]).as_i64()
        && seconds <= 0
    {
        check.invalid("leaseDurationSeconds", seconds, "must be greater than 0");
    }
    check.not_negative(spec, "leaseTransitions");
    if spec.get("holderIdentity").and_then(Value::as_str) == Some("") {
        check.invalid("holderIdentity", "", "must not be empty");
    }
    for field in ["acquireTime", "renewTime"] {
        if let Some(text) = spec.get(field).and_then(Value::as_str)
            && crate::time::parse_micros(text).is_none()
        {
            check.invalid(field, text, "must be an RFC 3339 time");
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules() {
        fn check(spec: Value, expect: &[&str]) {
            let found: Vec<String> =
                validate(&json!({ "spec": spec }), None).iter().map(ToString::to_string).collect();
            assert_eq!(found, expect);
        }
        check(json!({"leaseDurationSeconds": 40, "renewTime": "2026-01-02T03:04:05.000000Z"}), &[]);
        check(
            json!({"leaseDurationSeconds": 0}),
            &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        );
        check(
            json!({"renewTime": "soon"}),
            &[r#"spec.renewTime: Invalid value: "soon": must be an RFC 3339 time"#],
        );
    }
}
