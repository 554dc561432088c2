//! `ReplicationController`: a ReplicaSet from before there were selectors with expressions.

use serde_json::{Value, json};

use super::deployment::default_template;
use super::json::{
    age_cell, default_to, int_at, is_set, labels_cell, name_cell, object_at, set, value_at,
};
use super::pod;
use super::validation::Check;
use super::{Column, Hooks, Resource, SelectableField, Subresource};
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Scale],
    columns: &[
        Column::NAME,
        Column::integer("Desired").help("Replicas is the number of desired replicas."),
        Column::integer("Current")
            .help("Replicas is the most recently observed number of replicas."),
        Column::integer("Ready")
            .help("The number of ready replicas for this replication controller."),
        Column::AGE,
        Column::CONTAINERS.wide(),
        Column::IMAGES.wide(),
        Column::string("Selector")
            .wide()
            .help("Selector is a label query over pods that should match the Replicas count."),
    ],
    selectable: &[SelectableField::new("status.replicas", "/status/replicas").or("0")],
    schema: "core.v1.ReplicationController",
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
    let template = value_at(object, &["spec", "template", "spec"]);
    vec![
        name_cell(object),
        int_at(object, &["spec", "replicas"]).into(),
        int_at(object, &["status", "replicas"]).into(),
        int_at(object, &["status", "readyReplicas"]).into(),
        age_cell(object, now_ms),
        pod::container_names(template),
        pod::images(template),
        labels_cell(value_at(object, &["spec", "selector"])),
    ]
}

fn default(object: &mut Value) {
    let labels = value_at(object, &["spec", "template", "metadata", "labels"]).clone();
    if labels.is_object() {
        if let Some(spec) = object.get_mut("spec").filter(|spec| !is_set(spec, "selector")) {
            set(spec, "selector", labels.clone());
        }
        if let Some(meta) = object.get_mut("metadata").filter(|meta| !is_set(meta, "labels")) {
            set(meta, "labels", labels);
        }
    }
    if let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) {
        default_to(spec, "replicas", 1);
        default_template(spec);
    }
}

fn validate(object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    check.not_negative(spec, "replicas");
    check.not_negative(spec, "minReadySeconds");
    let labels = value_at(spec, &["template", "metadata", "labels"]);
    match object_at(spec, &["selector"]).filter(|selector| !selector.is_empty()) {
        None => check.required("selector", ""),
        Some(selector) => {
            if selector.iter().any(|(key, value)| labels.get(key) != Some(value)) {
                let found = if labels.is_null() { json!({}) } else { labels.clone() };
                let detail = "`selector` does not match template `labels`";
                check.invalid("template.metadata.labels", found, detail);
            }
        }
    }
    pod::validate_template(value_at(spec, &["template"]), "spec.template", check.errors());
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selector_defaults_to_the_labels_of_the_template() {
        let mut object = json!({"metadata": {"name": "r"}, "spec": {
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        default(&mut object);
        assert_eq!(object["spec"]["selector"], json!({"a": "b"}));
        assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
        assert!(validate(&object, None).is_empty());
        object["spec"]["selector"] = json!({"a": "c"});
        assert_eq!(
            validate(&object, None)[0].to_string(),
            r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#
        );
    }
}
