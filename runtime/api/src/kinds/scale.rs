//! `autoscaling/v1 Scale`: the number of replicas of any workload, alone.

use serde_json::{Value, json};

use super::json::{child, int_at, set, str_at, value_at};
use super::validation::Check;
use crate::meta::GroupKind;
use crate::selector::LabelSelector;
use crate::status::StatusError;

/// The scale of a workload.
pub fn to_scale(workload: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        let value = value_at(workload, &["metadata", field]);
        if !value.is_null() {
            metadata[field] = value.clone();
        }
    }
    let selector = selector_text(value_at(workload, &["spec", "selector"]));
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": int_at(workload, &["spec", "replicas"])},
        "status": {"replicas": int_at(workload, &["status", "replicas"]), "selector": selector},
    })
}

/// In the form of a query. ReplicationControllers select by a plain map of labels.
fn selector_text(selector: &Value) -> String {
    let is_plain = selector
        .as_object()
        .is_some_and(|map| !map.is_empty() && map.values().all(Value::is_string));
    let parsed = if is_plain {
        LabelSelector::from_json(&json!({ "matchLabels": selector }))
    } else {
        LabelSelector::from_json(selector)
    };
    parsed.map(|selector| selector.to_string()).unwrap_or_default()
}

/// Writes a scale's wish into its workload, which still has to pass
/// `prepare_update` and `check`.
pub fn apply_scale(workload: &mut Value, scale: &Value) -> Result<(), StatusError> {
    let replicas = int_at(scale, &["spec", "replicas"]);
    let mut errors = Vec::new();
    Check::new(&mut errors, "spec").not_negative(value_at(scale, &["spec"]), "replicas");
    if !errors.is_empty() {
        let name = str_at(workload, &["metadata", "name"]);
        return Err(StatusError::invalid(GroupKind::new("autoscaling", "Scale"), name, errors));
    }
    if let Some(spec) = child(workload, "spec") {
        set(spec, "replicas", replicas);
    }
    // A version sent with the scale guards the workload.
    let version = str_at(scale, &["metadata", "resourceVersion"]).to_owned();
    if let Some(meta) = child(workload, "metadata").filter(|_| !version.is_empty()) {
        set(meta, "resourceVersion", version);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut workload = json!({"metadata": {"name": "w", "resourceVersion": "5"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}}, "status": {"replicas": 1}});
        let mut scale = to_scale(&workload);
        assert_eq!(scale["status"], json!({"replicas": 1, "selector": "a=b"}));
        scale["spec"]["replicas"] = 7.into();
        apply_scale(&mut workload, &scale).unwrap();
        assert_eq!(workload["spec"]["replicas"], 7);
        scale["spec"]["replicas"] = (-1).into();
        assert_eq!(
            apply_scale(&mut workload, &scale).unwrap_err().message(),
            r#"Scale.autoscaling "w" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#
        );
    }
}
