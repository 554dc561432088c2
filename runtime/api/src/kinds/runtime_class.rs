//! `RuntimeClass`: which runtime runs a pod's containers, and what that costs.

use serde_json::Value;

use super::json::{age_cell, name_cell, str_at, value_at};
use super::validation::Check;
use super::{Column, Hooks, Resource, Scope};
use crate::names;
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    scope: Scope::Cluster,
    columns: &[
        Column::NAME,
        Column::string("Handler").help("handler specifies the underlying runtime and configuration that the CRI implementation will use to handle pods of this class."),
        Column::AGE,
    ],
    schema: "node.v1.RuntimeClass",
    hooks: Hooks {
        cells: |object, now| {
            vec![name_cell(object), str_at(object, &["handler"]).into(), age_cell(object, now)]
        },
        validate,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "");
    match str_at(object, &["handler"]) {
        "" => check.required("handler", ""),
        _ => check.syntax(object, "handler", names::dns_label),
    }
    check.field("overhead").quantities(value_at(object, &["overhead"]), "podFixed");
    if let Some(old) = old {
        check.immutable(object, old, "handler");
    }
    errors
}
