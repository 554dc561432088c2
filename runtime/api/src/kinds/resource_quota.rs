//! `ResourceQuota`: how much a namespace may use in all.

use serde_json::{Value, json};

use super::json::{age_cell, items, name_cell, object_at, set, value_at};
use super::validation::Check;
use super::{Column, Hooks, Resource, Subresource, str_at};
use crate::status::FieldError;

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

pub(super) const ROW: Resource = Resource {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("Request").help("Request represents a minimum amount of cpu/memory that a container may consume."),
        Column::string("Limit").help("Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
        Column::AGE,
    ],
    schema: "core.v1.ResourceQuota",
    hooks: Hooks {
        cells,
        validate,
        create: |object| set(object, "status", json!({})),
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let text = |value: &Value| value.as_str().map_or_else(|| "0".to_owned(), str::to_owned);
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, hard) in object_at(object, &["status", "hard"]).into_iter().flatten() {
        let used = value_at(object, &["status", "used", name]);
        let line = format!("{name}: {}/{}", text(used), text(hard));
        if name.starts_with("limits.") { &mut limits } else { &mut requests }.push(line);
    }
    vec![
        name_cell(object),
        requests.join(", ").into(),
        limits.join(", ").into(),
        age_cell(object, now_ms),
    ]
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    check.quantities(spec, "hard");
    let scopes = items(spec, &["scopes"]);
    let has = |scope: &str| scopes.iter().any(|found| found == scope);
    for (index, scope) in scopes.iter().enumerate() {
        let text = scope.as_str().unwrap_or_default();
        if !SCOPES.contains(&text) {
            check.invalid(&format!("scopes[{index}]"), text, "unsupported scope");
        }
    }
    if (has("BestEffort") && has("NotBestEffort")) || (has("Terminating") && has("NotTerminating"))
    {
        check.invalid("scopes", scopes.to_vec(), "conflicting scopes");
    }
    for (index, term) in items(spec, &["scopeSelector", "matchExpressions"]).iter().enumerate() {
        let mut check = check.field("scopeSelector");
        let mut check = check.item("matchExpressions", index);
        check.one_of(term, "scopeName", SCOPES);
        let values = items(term, &["values"]);
        match str_at(term, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                check.required("values", "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                check.invalid("values", values.to_vec(), "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => check.invalid("operator", other, "not a valid selector operator"),
        }
    }
    if let Some(old) = old {
        check.immutable(spec, value_at(old, &["spec"]), "scopes");
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_row_and_rules() {
        let object = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "10"}, "scopes": ["BestEffort"]},
            "status": {"hard": {"limits.cpu": "4", "pods": "10"}, "used": {"pods": "3"}}});
        assert_eq!(cells(&object, 0)[1..3], [json!("pods: 3/10"), json!("limits.cpu: 0/4")]);
        assert!(validate(&object, None).is_empty());
        let mut bad = object.clone();
        bad["spec"]["scopes"] = json!(["BestEffort", "NotBestEffort"]);
        assert!(validate(&bad, None)[0].to_string().contains("conflicting scopes"));
    }
}
