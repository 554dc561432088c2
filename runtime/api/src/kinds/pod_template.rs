//! `PodTemplate`: a template that stands alone.

use serde_json::Value;

use super::deployment::default_template;
use super::json::{age_cell, labels_cell, name_cell, value_at};
use super::pod;
use super::{Column, Hooks, Resource};

pub(super) const ROW: Resource = Resource {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    columns: &[
        Column::NAME,
        Column::CONTAINERS,
        Column::IMAGES,
        Column::string("Pod Labels").help("Labels of the pods made from the template."),
        Column { ..Column::AGE },
    ],
    schema: "core.v1.PodTemplate",
    spec_generation: true,
    hooks: Hooks {
        cells: |object, now| {
            let template = value_at(object, &["template"]);
            let spec = value_at(template, &["spec"]);
            vec![
                name_cell(object),
                pod::container_names(spec),
                pod::images(spec),
                labels_cell(value_at(template, &["metadata", "labels"])),
                age_cell(object, now),
            ]
        },
        default: default_template,
        validate: |object: &Value, _| {
            let mut errors = Vec::new();
            pod::validate_template_of(
                value_at(object, &["template"]),
                "template",
                &["Always", "Never", "OnFailure"],
                &mut errors,
            );
            errors
        },
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};
