//! `metadata`: what is filled in on creation and what is checked on every write.

use serde_json::{Value, json};

use super::json::{bool_at, child, int_at, items, object_at, remove, set, str_at, value_at};
use crate::names;
use crate::status::FieldError;
use crate::time;

/// Kubernetes' bound for all annotations of an object together.
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;
/// `generateName` plus five random characters must fit a label.
const GENERATED_PREFIX_MAX: usize = 58;

/// What the server knows and the client does not, at the moment of a create.
#[derive(Debug, Clone, Copy)]
pub struct CreateMeta<'a> {
    pub uid: &'a str,
    pub now_ms: i64,
    /// Namespace of the request; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Random characters for `generateName`; Kubernetes takes five out of
    /// `bcdfghjklmnpqrstvwxz2456789`.
    pub name_suffix: &'a str,
}

/// Gives a new object its name (from `generateName` if it has none), namespace,
/// `uid` and `creationTimestamp`.
pub fn fill_create_meta(object: &mut Value, with: CreateMeta<'_>) {
    let Some(meta) = child(object, "metadata") else { return };
    set(meta, "uid", with.uid);
    set(meta, "creationTimestamp", time::format_seconds(with.now_ms));
    remove(meta, "resourceVersion");
    if with.namespace.is_empty() {
        remove(meta, "namespace");
    } else {
        set(meta, "namespace", with.namespace);
    }
    let prefix = str_at(meta, &["generateName"]).to_owned();
    if str_at(meta, &["name"]).is_empty() && !prefix.is_empty() {
        let mut end = prefix.len().min(GENERATED_PREFIX_MAX);
        while !prefix.is_char_boundary(end) {
            end -= 1;
        }
        set(meta, "name", format!("{}{}", &prefix[..end], with.name_suffix));
    }
}

/// All rules of `metadata` for a new object.
pub fn validate_meta(
    object: &Value,
    namespaced: bool,
    name_rule: fn(&str) -> Option<String>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let meta = value_at(object, &["metadata"]);
    if !meta.is_object() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
        return errors;
    }
    let prefix = str_at(meta, &["generateName"]);
    if !prefix.is_empty()
        && let Some(message) = name_rule(&masked(prefix))
    {
        errors.push(FieldError::invalid("metadata.generateName", prefix, message));
    }
    let name = str_at(meta, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else if let Some(message) = name_rule(name) {
        errors.push(FieldError::invalid("metadata.name", name, message));
    }
    let namespace = str_at(meta, &["namespace"]);
    if !namespaced {
        if !namespace.is_empty() {
            errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
        }
    } else if namespace.is_empty() {
        errors.push(FieldError::required("metadata.namespace", ""));
    } else if let Some(message) = names::dns_label(namespace) {
        errors.push(FieldError::invalid("metadata.namespace", namespace, message));
    }
    common(meta, &mut errors);
    errors
}

/// All rules of `metadata` for an update.
pub fn validate_meta_update(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (meta, old_meta) = (value_at(object, &["metadata"]), value_at(old, &["metadata"]));
    if str_at(old_meta, &["deletionTimestamp"]).is_empty() {
        // Finalizers may still come and go.
    } else {
        let known = items(old_meta, &["finalizers"]);
        let added: Vec<&str> = items(meta, &["finalizers"])
            .iter()
            .filter(|finalizer| !known.contains(finalizer))
            .filter_map(Value::as_str)
            .collect();
        if !added.is_empty() {
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                    go_strings(&added)
                ),
            ));
        }
    }
    errors.extend(validate_immutable_meta(object, old));
    common(meta, &mut errors);
    errors
}

/// The fields of `metadata` that identify an object and never change.
pub fn validate_immutable_meta(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let value = value_at(object, &["metadata", field]);
        if value != value_at(old, &["metadata", field]) {
            let path = format!("metadata.{field}");
            errors.push(FieldError::invalid(path, value.clone(), super::validation::IMMUTABLE));
        }
    }
    errors
}

fn common(meta: &Value, errors: &mut Vec<FieldError>) {
    if int_at(meta, &["generation"]) < 0 {
        errors.push(FieldError::invalid(
            "metadata.generation",
            meta["generation"].clone(),
            "must be greater than or equal to 0",
        ));
    }
    labels(value_at(meta, &["labels"]), "metadata.labels", errors);
    annotations(meta, errors);
    owners(meta, errors);
    finalizers(meta, errors);
}

/// Keys and values of a map of labels.
pub(super) fn labels(labels: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(message) = names::qualified_name(key) {
            errors.push(FieldError::invalid(path, key.as_str(), message));
        }
        match value.as_str() {
            Some(text) => {
                if let Some(message) = names::label_value(text) {
                    errors.push(FieldError::invalid(path, text, message));
                }
            }
            None => errors.push(FieldError::type_invalid(path, value.clone(), "must be a string")),
        }
    }
}

fn annotations(meta: &Value, errors: &mut Vec<FieldError>) {
    let path = "metadata.annotations";
    let mut size = 0;
    for (key, value) in object_at(meta, &["annotations"]).into_iter().flatten() {
        if let Some(message) = names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(path, key.as_str(), message));
        }
        match value.as_str() {
            Some(text) => size += key.len() + text.len(),
            None => errors.push(FieldError::type_invalid(path, value.clone(), "must be a string")),
        }
    }
    if size > ANNOTATIONS_MAX_BYTES {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX_BYTES));
    }
}

fn owners(meta: &Value, errors: &mut Vec<FieldError>) {
    let path = "metadata.ownerReferences";
    let mut controller: Option<&str> = None;
    for owner in items(meta, &["ownerReferences"]) {
        let api_version = str_at(owner, &["apiVersion"]);
        if api_version.is_empty() {
            errors.push(FieldError::invalid(
                format!("{path}.apiVersion"),
                api_version,
                "version must not be empty",
            ));
        }
        for field in ["kind", "name", "uid"] {
            let value = str_at(owner, &[field]);
            if value.is_empty() {
                errors.push(FieldError::invalid(
                    format!("{path}.{field}"),
                    value,
                    "must not be empty",
                ));
            }
        }
        if (api_version, str_at(owner, &["kind"])) == ("v1", "Event") {
            errors.push(FieldError::invalid(
                path,
                owner.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if bool_at(owner, &["controller"]) {
            let name = str_at(owner, &["name"]);
            match controller {
                None => controller = Some(name),
                Some(first) => errors.push(FieldError::invalid(
                    path,
                    meta["ownerReferences"].clone(),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                    ),
                )),
            }
        }
    }
}

fn finalizers(meta: &Value, errors: &mut Vec<FieldError>) {
    let path = "metadata.finalizers";
    let list = items(meta, &["finalizers"]);
    for finalizer in list {
        let name = finalizer.as_str().unwrap_or_default();
        if let Some(message) = names::qualified_name(name) {
            errors.push(FieldError::invalid(path, name, message));
        }
    }
    if list.contains(&json!("orphan")) && list.contains(&json!("foregroundDeletion")) {
        errors.push(FieldError::invalid(
            path,
            list.to_vec(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
}

/// A prefix may end in a dash, because more characters follow.
fn masked(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(head) if !head.is_empty() => format!("{head}a"),
        _ => prefix.to_owned(),
    }
}

fn go_strings(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[]string{{{}}}", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn creation_fills_identity() {
        let mut object = json!({"metadata": {"generateName": "web-", "resourceVersion": "9"}});
        let with = CreateMeta {
            uid: "u",
            now_ms: 1_767_323_045_000,
            namespace: "default",
            name_suffix: "abcde",
        };
        fill_create_meta(&mut object, with);
        assert_eq!(
            object["metadata"],
            json!({"generateName": "web-", "name": "web-abcde", "namespace": "default", "uid": "u",
                "creationTimestamp": "2026-01-02T03:04:05Z"})
        );
        let mut long = json!({"metadata": {"generateName": "é".repeat(40)}});
        fill_create_meta(&mut long, with);
        assert!(long["metadata"]["name"].as_str().unwrap().len() <= 63);
    }

    #[test]
    fn metadata_rules() {
        fn check(meta: Value, namespaced: bool, expect: &[&str]) {
            let errors =
                validate_meta(&json!({"metadata": meta}), namespaced, names::dns_subdomain);
            expect_errors(&errors, expect);
        }
        check(json!({"name": "a"}), false, &[]);
        check(json!({"name": "a", "namespace": "b"}), true, &[]);
        check(json!({"name": "a"}), true, &["metadata.namespace: Required value"]);
        check(
            json!({"name": "a", "namespace": "b"}),
            false,
            &["metadata.namespace: Forbidden: not allowed on this type"],
        );
        check(
            json!({}),
            false,
            &["metadata.name: Required value: name or generateName is required"],
        );
        check(
            json!({"name": "A"}),
            false,
            &[r#"metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist"#],
        );
        check(json!({"generateName": "web-", "name": "web-a"}), false, &[]);
        check(
            json!({"name": "a", "labels": {"-k": "v", "k": "v v"}}),
            false,
            &[
                r#"metadata.labels: Invalid value: "-k": name part"#,
                r#"metadata.labels: Invalid value: "v v": a valid label"#,
            ],
        );
        check(json!({"name": "a", "annotations": {"Up.Per/Key": "any text"}}), false, &[]);
        check(
            json!({"name": "a", "annotations": {"k": "x".repeat(ANNOTATIONS_MAX_BYTES)}}),
            false,
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        );
        check(
            json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
            false,
            &[r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#],
        );
        check(
            json!({"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}),
            false,
            &[
                r#"metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan"#,
            ],
        );
    }

    #[test]
    fn identity_never_changes() {
        let old = json!({"metadata": {"name": "a", "namespace": "b", "uid": "1"}});
        assert!(validate_immutable_meta(&old, &old).is_empty());
        let new = json!({"metadata": {"name": "a", "namespace": "b", "uid": "2"}});
        assert_eq!(
            texts(&validate_immutable_meta(&new, &old)),
            [r#"metadata.uid: Invalid value: "2": field is immutable"#]
        );
    }

    #[test]
    fn no_finalizer_joins_a_dying_object() {
        let old = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["x/a", "x/b"]}});
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!(["x/a"]);
        assert!(validate_meta_update(&new, &old).is_empty());
        new["metadata"]["finalizers"] = json!(["x/a", "x/c"]);
        assert_eq!(
            texts(&validate_meta_update(&new, &old)),
            [
                r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"x/c"}"#
            ]
        );
    }
}
