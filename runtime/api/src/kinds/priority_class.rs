//! `PriorityClass`: a name for how important pods are.

use serde_json::Value;

use super::json::{age_cell, bool_at, default_str, int_at, name_cell, str_at};
use super::validation::Check;
use super::{Column, Hooks, Resource, Scope};
use crate::status::FieldError;

/// Above this only the system's own classes lie.
const HIGHEST_USER_VALUE: i64 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";
const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub(super) const ROW: Resource = Resource {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    scope: Scope::Cluster,
    columns: &[
        Column::NAME,
        Column::integer("Value").help("value represents the integer value of this priority class."),
        Column { name: "Global-Default", type_: "boolean", ..Column::string("Global-Default") },
        Column::AGE,
        Column::string("PreemptionPolicy")
            .wide()
            .help("preemptionPolicy is the Policy for preempting pods with lower priority."),
    ],
    schema: "scheduling.v1.PriorityClass",
    spec_generation: true,
    hooks: Hooks {
        cells: |object, now| {
            vec![
                name_cell(object),
                int_at(object, &["value"]).into(),
                bool_at(object, &["globalDefault"]).into(),
                age_cell(object, now),
                str_at(object, &["preemptionPolicy"]).into(),
            ]
        },
        default: |object| default_str(object, "preemptionPolicy", "PreemptLowerPriority"),
        validate,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "");
    let name = str_at(object, &["metadata", "name"]);
    let value = int_at(object, &["value"]);
    if name.starts_with(SYSTEM_PREFIX) {
        if !SYSTEM.contains(&(name, value)) {
            check.field("metadata").forbidden(
                "name",
                "priority class names with 'system-' prefix are reserved for system use only. error: not a valid system priority class",
            );
        }
    } else if value > HIGHEST_USER_VALUE {
        check.forbidden(
            "value",
            format!("maximum allowed value of a user defined priority is {HIGHEST_USER_VALUE}"),
        );
    }
    check.one_of(object, "preemptionPolicy", &["Never", "PreemptLowerPriority"]);
    if let Some(old) = old {
        if int_at(old, &["value"]) != value {
            check.forbidden("value", "may not be changed in an update.");
        }
        check.immutable(object, old, "preemptionPolicy");
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_have_their_bounds() {
        fn check(name: &str, value: i64, expect: usize) {
            let class = json!({"metadata": {"name": name}, "value": value});
            assert_eq!(validate(&class, None).len(), expect, "{name} {value}");
        }
        check("high", 1_000_000_000, 0);
        check("higher", 1_000_000_001, 1);
        check("system-node-critical", 2_000_001_000, 0);
        check("system-node-critical", 5, 1);
        check("system-mine", 5, 1);
    }
}
