//! `LimitRange`: bounds and defaults for what a namespace's pods ask for.

use serde_json::Value;

use super::json::{items, items_mut, object_at, str_at, value_at};
use super::validation::{Check, quantity};
use super::{Column, Hooks, Resource};
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    columns: &[Column::NAME, Column { name: "Created At", type_: "date", ..Column::AGE }],
    schema: "core.v1.LimitRange",
    hooks: Hooks {
        cells: |object, _| {
            vec![
                super::json::name_cell(object),
                str_at(object, &["metadata", "creationTimestamp"]).into(),
            ]
        },
        default,
        validate,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

/// What is missing of a container's limits follows from the others: the default
/// from the maximum, the default request from the default, then from the minimum.
fn default(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    for item in items_mut(spec, "limits") {
        if str_at(item, &["type"]) != "Container" {
            continue;
        }
        for (from, to) in
            [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
        {
            let Some(source) = object_at(item, &[from]).cloned() else { continue };
            let Some(fields) = item.as_object_mut() else { continue };
            let target = fields.entry(to).or_insert_with(|| Value::Object(Default::default()));
            if let Some(target) = target.as_object_mut() {
                for (resource, amount) in source {
                    target.entry(resource).or_insert(amount);
                }
            }
        }
    }
}

fn validate(object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "spec");
    let mut seen = Vec::new();
    for (index, item) in items(object, &["spec", "limits"]).iter().enumerate() {
        let kind = str_at(item, &["type"]);
        let mut check = check.item("limits", index);
        if seen.contains(&kind) {
            check.duplicate("type", kind);
        }
        seen.push(kind);
        match kind {
            "" => check.required("type", ""),
            "Container" | "Pod" | "PersistentVolumeClaim" => {}
            other => {
                if let Some(message) = crate::names::qualified_name(other) {
                    check.invalid("type", other, message);
                }
            }
        }
        for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            check.quantities(item, field);
        }
        if kind == "Pod" {
            for field in ["default", "defaultRequest"] {
                if object_at(item, &[field]).is_some_and(|map| !map.is_empty()) {
                    check.forbidden(field, "may not be specified when `type` is 'Pod'");
                }
            }
        }
        if kind == "PersistentVolumeClaim"
            && item.pointer("/min/storage").is_none()
            && item.pointer("/max/storage").is_none()
        {
            check.required(
                "limits",
                "either minimum or maximum storage value is required, but neither was provided",
            );
        }
        ordered(item, &mut check);
    }
    errors
}

/// min ≤ defaultRequest ≤ default ≤ max, where they are given.
fn ordered(item: &Value, check: &mut Check<'_>) {
    for (low, high) in [
        ("min", "max"),
        ("min", "defaultRequest"),
        ("defaultRequest", "max"),
        ("defaultRequest", "default"),
        ("min", "default"),
        ("default", "max"),
    ] {
        for (resource, amount) in object_at(item, &[low]).into_iter().flatten() {
            let bound = value_at(item, &[high, resource]);
            if let (Ok(smaller), Ok(larger)) = (quantity(amount), quantity(bound))
                && smaller > larger
            {
                let (amount, bound) = (text(amount), text(bound));
                check.invalid(
                    &format!("{low}[{resource}]"),
                    amount.clone(),
                    format!("{low} value {amount} is greater than {high} value {bound}"),
                );
            }
        }
    }
}

fn text(quantity: &Value) -> String {
    quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_follow_from_the_bounds() {
        let mut object = json!({"spec": {"limits": [{"type": "Container",
            "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}});
        default(&mut object);
        let item = &object["spec"]["limits"][0];
        assert_eq!(item["default"], json!({"cpu": "2"}));
        assert_eq!(item["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
        assert!(validate(&object, None).is_empty());
        object["spec"]["limits"][0]["min"]["cpu"] = "3".into();
        assert_eq!(
            validate(&object, None)[0].to_string(),
            r#"spec.limits[0].min[cpu]: Invalid value: "3": min value 3 is greater than max value 2"#
        );
    }
}
