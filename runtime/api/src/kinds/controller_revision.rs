//! `ControllerRevision`: an immutable snapshot of a controller's state.

use serde_json::Value;

use super::json::{age_cell, int_at, is_set, items, name_cell, str_at};
use super::validation::Check;
use super::{Column, Hooks, Resource};
use crate::meta::{GroupKind, split_api_version};
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    columns: &[
        Column::NAME,
        Column::string("Controller").help("Controller of the object"),
        Column::string("Revision")
            .help("Revision indicates the revision of the state represented by Data."),
        Column::AGE,
    ],
    schema: "apps.v1.ControllerRevision",
    hooks: Hooks {
        cells: |object, now| {
            vec![
                name_cell(object),
                controller(object),
                int_at(object, &["revision"]).into(),
                age_cell(object, now),
            ]
        },
        validate,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

/// `daemonset.apps/name`, or `<none>`.
fn controller(object: &Value) -> Value {
    let owner = items(object, &["metadata", "ownerReferences"])
        .iter()
        .find(|owner| owner["controller"].as_bool() == Some(true));
    let Some(owner) = owner else { return "<none>".into() };
    let (group, _) = split_api_version(str_at(owner, &["apiVersion"]));
    let kind = str_at(owner, &["kind"]).to_lowercase();
    format!("{}/{}", GroupKind::new(group, &kind), str_at(owner, &["name"])).into()
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "");
    if int_at(object, &["revision"]) < 0 {
        check.invalid("revision", object["revision"].clone(), "must be greater than or equal to 0");
    }
    if !is_set(object, "data") {
        check.required("data", "data is mandatory");
    }
    if let Some(old) = old {
        check.immutable(object, old, "data");
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_and_row() {
        let old = json!({"metadata": {"name": "r", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true}]}, "data": {"a": 1}, "revision": 2});
        assert!(validate(&old, None).is_empty());
        let mut new = old.clone();
        new["data"] = json!({"a": 2});
        assert_eq!(
            validate(&new, Some(&old))[0].to_string(),
            r#"data: Invalid value: {"a":2}: field is immutable"#
        );
        assert_eq!(controller(&old), "daemonset.apps/d");
        assert_eq!(controller(&json!({})), "<none>");
    }
}
