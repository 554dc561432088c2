//! `ConfigMap`: configuration as text or bytes.

use serde_json::Value;

use super::json::{age_cell, bool_at, name_cell, object_at, value_at};
use super::validation::{Check, IMMUTABLE};
use super::{Column, Hooks, Resource};
use crate::names;
use crate::status::FieldError;

/// Kubernetes' bound for the data of a ConfigMap or Secret.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

pub(super) const ROW: Resource = Resource {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    columns: &[
        Column::NAME,
        Column::string("Data").help("Data contains the configuration data."),
        Column::AGE,
    ],
    schema: "core.v1.ConfigMap",
    hooks: Hooks {
        cells: |object, now| {
            let count = |field: &str| object_at(object, &[field]).map_or(0, serde_json::Map::len);
            vec![
                name_cell(object),
                (count("data") + count("binaryData")).into(),
                age_cell(object, now),
            ]
        },
        validate,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "");
    let binary = object_at(object, &["binaryData"]);
    let mut size = 0;
    for (key, value) in object_at(object, &["data"]).into_iter().flatten() {
        config_key(&mut check, "data", key);
        if binary.is_some_and(|binary| binary.contains_key(key)) {
            check.invalid(
                &format!("data[{key}]"),
                key.as_str(),
                "duplicate of key present in binaryData",
            );
        }
        size += value.as_str().unwrap_or_default().len();
    }
    for (key, value) in binary.into_iter().flatten() {
        config_key(&mut check, "binaryData", key);
        size += decoded_len(&mut check, "binaryData", key, value);
    }
    if size > MAX_BYTES {
        check.errors().push(FieldError::too_long("", MAX_BYTES));
    }
    if let Some(old) = old.filter(|old| bool_at(old, &["immutable"])) {
        sealed(&mut check, object, old, &["data", "binaryData"]);
    }
    errors
}

/// What `immutable: true` forbids.
pub(super) fn sealed(check: &mut Check<'_>, object: &Value, old: &Value, fields: &[&str]) {
    if !bool_at(object, &["immutable"]) {
        check.forbidden("immutable", "field is immutable when `immutable` is set");
    }
    for field in fields {
        if value_at(object, &[field]) != value_at(old, &[field]) {
            check.forbidden(field, format!("{IMMUTABLE} when `immutable` is set"));
        }
    }
}

pub(super) fn config_key(check: &mut Check<'_>, field: &str, key: &str) {
    if let Some(message) = names::config_map_key(key) {
        check.invalid(&format!("{field}[{key}]"), key, message);
    }
}

/// The number of bytes that base64 text stands for.
pub(super) fn decoded_len(check: &mut Check<'_>, field: &str, key: &str, value: &Value) -> usize {
    use base64::Engine as _;
    let text = value.as_str().unwrap_or_default();
    match base64::engine::general_purpose::STANDARD.decode(text) {
        Ok(bytes) => bytes.len(),
        Err(error) => {
            check.invalid(&format!("{field}[{key}]"), text, format!("must be base64: {error}"));
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;
    use serde_json::json;

    fn check(object: Value, old: Option<Value>, expect: &[&str]) {
        expect_errors(&validate(&object, old.as_ref()), expect);
    }

    #[test]
    fn rules() {
        check(json!({"data": {"a.txt": "b"}, "binaryData": {"c": "AA=="}}), None, &[]);
        check(
            json!({"data": {"a/b": ""}}),
            None,
            &[r#"data[a/b]: Invalid value: "a/b": a valid config key"#],
        );
        check(
            json!({"data": {"a": ""}, "binaryData": {"a": ""}}),
            None,
            &["data[a]: Invalid value: \"a\": duplicate of key"],
        );
        check(
            json!({"binaryData": {"a": "?"}}),
            None,
            &["binaryData[a]: Invalid value: \"?\": must be base64"],
        );
        check(
            json!({"data": {"a": "x".repeat(MAX_BYTES + 1)}}),
            None,
            &[": Too long: may not be more than 1048576 bytes"],
        );
    }

    #[test]
    fn sealed_data_stays() {
        let old = json!({"immutable": true, "data": {"a": "b"}});
        check(old.clone(), Some(old.clone()), &[]);
        check(
            json!({"immutable": true, "data": {"a": "c"}}),
            Some(old.clone()),
            &["data: Forbidden: field is immutable when `immutable` is set"],
        );
        check(
            json!({"data": {"a": "b"}}),
            Some(old),
            &["immutable: Forbidden: field is immutable when"],
        );
    }
}
