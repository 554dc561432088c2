//! What may change in a pod that exists: nearly nothing.

use serde_json::Value;

use super::super::json::{is_set, items, items_mut, remove, set, str_at, value_at};
use super::super::validation::Check;
use crate::status::FieldError;

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
/// Enough to see what is wrong; a message is not a diff tool.
const MAX_DIFFERENCES: usize = 8;

pub(super) fn validate(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (spec, old_spec) = (value_at(object, &["spec"]), value_at(old, &["spec"]));
    if spec == old_spec {
        return;
    }
    let mut check = Check::new(errors, "spec");
    for list in ["containers", "initContainers"] {
        if items(spec, &[list]).len() != items(old_spec, &[list]).len() {
            check.forbidden(list, "pod updates may not add or remove containers");
            return;
        }
        for (index, container) in items(spec, &[list]).iter().enumerate() {
            if str_at(container, &["image"]).is_empty() {
                check.item(list, index).required("image", "");
            }
        }
    }
    deadline(spec, old_spec, &mut check);
    tolerations(spec, old_spec, &mut check);
    gates(spec, old_spec, &mut check);

    // With everything that may change put back, nothing may differ.
    let mut rest = spec.clone();
    for list in ["containers", "initContainers"] {
        let images: Vec<Value> =
            items(old_spec, &[list]).iter().map(|old| value_at(old, &["image"]).clone()).collect();
        for (container, image) in items_mut(&mut rest, list).zip(images) {
            set(container, "image", image);
        }
    }
    let mut restored = vec!["activeDeadlineSeconds", "tolerations"];
    if !items(old_spec, &["schedulingGates"]).is_empty() {
        restored.extend(["schedulingGates", "nodeSelector", "affinity"]);
    }
    let was = value_at(old_spec, &["terminationGracePeriodSeconds"]).as_i64();
    let is = value_at(spec, &["terminationGracePeriodSeconds"]).as_i64();
    if was.is_some_and(|seconds| seconds < 0) && is == Some(1) {
        restored.push("terminationGracePeriodSeconds");
    }
    for field in restored {
        if is_set(old_spec, field) {
            set(&mut rest, field, old_spec[field].clone());
        } else {
            remove(&mut rest, field);
        }
    }
    if &rest != old_spec {
        let mut changes = Vec::new();
        differences("spec", old_spec, &rest, &mut changes);
        changes.truncate(MAX_DIFFERENCES);
        check.forbidden("", format!("{UPDATABLE}\n{}\n", changes.join("\n")));
    }
}

/// A deadline may come and come closer.
fn deadline(spec: &Value, old: &Value, check: &mut Check<'_>) {
    let field = "activeDeadlineSeconds";
    let (is, was) = (value_at(spec, &[field]).as_i64(), value_at(old, &[field]).as_i64());
    match (is, was) {
        (Some(is), _) if !(0..=i64::from(i32::MAX)).contains(&is) => {
            check.invalid(field, is, "must be between 0 and 2147483647, inclusive");
        }
        (Some(is), Some(was)) if is > was => {
            check.invalid(field, is, "must be less than or equal to previous value");
        }
        (None, Some(was)) => {
            check.invalid(field, was, "must not update from a positive integer to nil value")
        }
        _ => {}
    }
}

fn tolerations(spec: &Value, old: &Value, check: &mut Check<'_>) {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        remove(&mut toleration, "tolerationSeconds");
        toleration
    };
    let now: Vec<Value> = items(spec, &["tolerations"]).iter().map(without_seconds).collect();
    let kept = items(old, &["tolerations"]).iter().all(|old| now.contains(&without_seconds(old)));
    if !kept {
        check.forbidden(
            "tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
}

fn gates(spec: &Value, old: &Value, check: &mut Check<'_>) {
    let known = items(old, &["schedulingGates"]);
    for (index, gate) in items(spec, &["schedulingGates"]).iter().enumerate() {
        if !known.contains(gate) {
            let name = str_at(gate, &["name"]);
            check.item("schedulingGates", index).forbidden(
                "name",
                format!("only deletion is allowed, but found new scheduling gate '{name}'"),
            );
        }
    }
}

/// `path: old -> new` for every leaf that differs.
fn differences(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    match (old, new) {
        _ if old == new || out.len() >= MAX_DIFFERENCES => {}
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                differences(
                    &format!("{path}.{key}"),
                    value,
                    b.get(key).unwrap_or(&Value::Null),
                    out,
                );
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                differences(&format!("{path}.{key}"), &Value::Null, value, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{index}]"), a, b, out);
            }
        }
        _ => out.push(format!("{path}: {old} -> {new}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn updates() {
        fn check(change: impl Fn(&mut Value), expect: &[&str]) {
            let old = json!({"spec": {"nodeName": "n", "containers": [{"name": "c", "image": "a"}],
                "tolerations": [{"key": "k", "operator": "Exists"}]}});
            let mut new = old.clone();
            change(&mut new["spec"]);
            let mut errors = Vec::new();
            validate(&new, &old, &mut errors);
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), expect.len(), "{found:?}");
            for (text, part) in found.iter().zip(expect) {
                assert!(text.contains(part), "{text}");
            }
        }
        check(|_| {}, &[]);
        check(|spec| spec["containers"][0]["image"] = "b".into(), &[]);
        check(
            |spec| spec["containers"][0]["image"] = "".into(),
            &["spec.containers[0].image: Required value"],
        );
        check(|spec| spec["activeDeadlineSeconds"] = 5.into(), &[]);
        check(
            |spec| {
                spec["tolerations"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"key": "x", "operator": "Exists"}))
            },
            &[],
        );
        check(
            |spec| spec["tolerations"] = json!([]),
            &["spec.tolerations: Forbidden: existing toleration"],
        );
        check(
            |spec| spec["nodeName"] = "m".into(),
            &[
                "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`",
            ],
        );
        check(|spec| spec["nodeName"] = "m".into(), &["spec.nodeName: \"n\" -> \"m\""]);
        check(
            |spec| {
                spec["containers"].as_array_mut().unwrap().push(json!({"name": "d", "image": "d"}))
            },
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        );
        check(
            |spec| spec["schedulingGates"] = json!([{"name": "g"}]),
            &[
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'",
                "pod updates may not change",
            ],
        );
    }
}
