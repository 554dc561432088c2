//! `PodDisruptionBudget`: how many pods of a selection may be missing on purpose.

use serde_json::{Value, json};

use super::deployment::number_or_percent;
use super::json::{age_cell, int_at, is_set, name_cell, set, value_at};
use super::validation::Check;
use super::{Column, Hooks, Resource, Subresource};
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("Min Available").help("The minimum number of pods that must be available."),
        Column::string("Max Unavailable")
            .help("The maximum number of pods that may be unavailable."),
        Column::integer("Allowed Disruptions")
            .help("Calculated number of pods that may be disrupted at this time."),
        Column::AGE,
    ],
    schema: "policy.v1.PodDisruptionBudget",
    spec_generation: true,
    hooks: Hooks {
        cells,
        validate,
        create: |object| {
            let status = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
            set(object, "status", status);
        },
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let bound = |field: &str| -> Value {
        match value_at(object, &["spec", field]) {
            Value::Null => "N/A".into(),
            Value::String(text) => text.as_str().into(),
            other => other.to_string().into(),
        }
    };
    vec![
        name_cell(object),
        bound("minAvailable"),
        bound("maxUnavailable"),
        int_at(object, &["status", "disruptionsAllowed"]).into(),
        age_cell(object, now_ms),
    ]
}

fn validate(object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    if is_set(spec, "minAvailable") && is_set(spec, "maxUnavailable") {
        check.invalid("", spec.clone(), "minAvailable and maxUnavailable cannot be both set");
    }
    for field in ["minAvailable", "maxUnavailable"] {
        number_or_percent(spec, field, &mut check);
    }
    check.one_of(spec, "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"]);
    check.field("selector").label_selector(value_at(spec, &["selector"]));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bound_not_two() {
        fn check(spec: Value, expect: usize) {
            assert_eq!(validate(&json!({ "spec": spec }), None).len(), expect, "{spec}");
        }
        check(json!({}), 0);
        check(json!({"minAvailable": "50%"}), 0);
        check(json!({"maxUnavailable": 1}), 0);
        check(json!({"minAvailable": 1, "maxUnavailable": 1}), 1);
        check(json!({"minAvailable": "half"}), 1);
        check(json!({"minAvailable": -1}), 1);
    }
}
