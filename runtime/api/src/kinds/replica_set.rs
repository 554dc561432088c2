//! `ReplicaSet`: a number of equal pods.

use serde_json::{Value, json};

use super::deployment::{default_template, template_cells, workload};
use super::json::{age_cell, default_to, int_at, name_cell, set, value_at};
use super::validation::Check;
use super::{Column, Hooks, Resource, SelectableField, Subresource};
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Scale],
    columns: &[
        Column::NAME,
        Column::integer("Desired").help("Replicas is the number of desired pods."),
        Column::integer("Current").help("Replicas is the most recently observed number of non-terminating pods."),
        Column::integer("Ready").help("The number of non-terminating pods targeted by this ReplicaSet with a Ready condition."),
        Column::AGE,
        Column::CONTAINERS.wide(),
        Column::IMAGES.wide(),
        Column::POD_SELECTOR,
    ],
    selectable: &[SelectableField::new("status.replicas", "/status/replicas").or("0")],
    schema: "apps.v1.ReplicaSet",
    spec_generation: true,
    hooks: Hooks {
        cells,
        default,
        validate,
        create: |object| set(object, "status", json!({"replicas": 0})),
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let mut cells = vec![
        name_cell(object),
        int_at(object, &["spec", "replicas"]).into(),
        int_at(object, &["status", "replicas"]).into(),
        int_at(object, &["status", "readyReplicas"]).into(),
        age_cell(object, now_ms),
    ];
    cells.extend(template_cells(object));
    cells
}

fn default(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) {
        default_to(spec, "replicas", 1);
        default_template(spec);
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    workload(spec, old, &mut errors);
    Check::new(&mut errors, "spec").not_negative(spec, "minReadySeconds");
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_rules() {
        let mut object = json!({"metadata": {"name": "r"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        default(&mut object);
        assert_eq!(object["spec"]["replicas"], 1);
        assert!(validate(&object, None).is_empty());
        object["spec"]["replicas"] = (-3).into();
        assert_eq!(
            validate(&object, None)[0].to_string(),
            "spec.replicas: Invalid value: -3: must be greater than or equal to 0"
        );
    }

    #[test]
    fn printed_row() {
        let object = json!({"metadata": {"name": "r"}, "spec": {"replicas": 3}, "status": {"replicas": 2, "readyReplicas": 1}});
        assert_eq!(cells(&object, 0)[..4], *json!(["r", 3, 2, 1]).as_array().unwrap());
        assert_eq!(cells(&object, 0)[7], "<none>");
    }
}
