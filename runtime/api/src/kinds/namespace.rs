//! `Namespace`: the scope of names, ended in order by its finalizers.

use serde_json::{Value, json};

use super::json::{age_cell, child, is_set, items, name_cell, set, str_at};
use super::validation::Check;
use super::{Column, Hooks, Resource, Scope, SelectableField, Subresource};
use crate::names;
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    scope: Scope::Cluster,
    // A namespace is emptied one by one, so there is no deletion in bulk.
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[Subresource::Status, Subresource::Finalize],
    columns: &[
        Column::NAME,
        Column::string("Status").help("The status of the namespace"),
        Column::AGE,
    ],
    selectable: &[SelectableField::new("status.phase", "/status/phase")],
    schema: "core.v1.Namespace",
    status_writes_labels: true,
    hooks: Hooks {
        cells: |object, now| {
            vec![
                name_cell(object),
                str_at(object, &["status", "phase"]).into(),
                age_cell(object, now),
            ]
        },
        default,
        validate,
        name: names::dns_label,
        create,
        update,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn default(object: &mut Value) {
    let name = str_at(object, &["metadata", "name"]).to_owned();
    if !name.is_empty()
        && let Some(labels) = child(object, "metadata").and_then(|meta| child(meta, "labels"))
    {
        set(labels, "kubernetes.io/metadata.name", name);
    }
}

/// Every namespace starts active and is finalized by the server itself.
fn create(object: &mut Value) {
    set(object, "status", json!({"phase": "Active"}));
    if let Some(spec) = child(object, "spec") {
        let mut finalizers = items(spec, &["finalizers"]).to_vec();
        if !finalizers.contains(&json!("kubernetes")) {
            finalizers.push("kubernetes".into());
        }
        set(spec, "finalizers", finalizers);
    }
}

/// Finalizers of the spec change through the finalize subresource only.
fn update(object: &mut Value, old: &Value) {
    let kept = old.get("spec").cloned().unwrap_or_else(|| json!({}));
    set(object, "spec", kept);
}

fn validate(object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "spec");
    if is_set(object, "spec") {
        for finalizer in items(object, &["spec", "finalizers"]) {
            let name = finalizer.as_str().unwrap_or_default();
            if let Some(message) = names::qualified_name(name) {
                check.invalid("finalizers", name, message);
            } else if name != "kubernetes" && !name.contains('/') {
                check.invalid(
                    "finalizers",
                    name,
                    "name is neither a standard finalizer name nor is it fully qualified",
                );
            }
        }
    }
    errors
}
