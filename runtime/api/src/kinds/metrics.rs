//! Measures, as objects that whoever measures writes: what pods and nodes use, and
//! values of custom and external metrics. Kubernetes serves the latter two by paths of
//! their own; here they are objects with a name, like any other.

use serde_json::Value;

use super::json::{is_set, str_at, value_at};
use super::validation::Check;
use super::{Hooks, Resource, Scope};
use crate::status::FieldError;

pub(super) const POD_ROW: Resource = Resource {
    group: "metrics.k8s.io",
    version: "v1beta1",
    kind: "PodMetrics",
    plural: "pods",
    singular: "podmetrics",
    schema: "metrics.v1beta1.PodMetrics",
    hooks: Hooks { validate: |object, _| of_time(object), ..Hooks::PLAIN },
    ..Resource::BASE
};

pub(super) const NODE_ROW: Resource = Resource {
    group: "metrics.k8s.io",
    version: "v1beta1",
    kind: "NodeMetrics",
    plural: "nodes",
    singular: "nodemetrics",
    scope: Scope::Cluster,
    schema: "metrics.v1beta1.NodeMetrics",
    hooks: Hooks { validate: |object, _| of_time(object), ..Hooks::PLAIN },
    ..Resource::BASE
};

pub(super) const CUSTOM_ROW: Resource = Resource {
    group: "custom.metrics.k8s.io",
    version: "v1beta2",
    kind: "MetricValue",
    plural: "metricvalues",
    singular: "metricvalue",
    schema: "custommetrics.v1beta2.MetricValue",
    hooks: Hooks {
        validate: |object, _| {
            let mut errors = of_time(object);
            for field in ["kind", "name"] {
                if str_at(object, &["describedObject", field]).is_empty() {
                    Check::new(&mut errors, "describedObject").required(field, "");
                }
            }
            if str_at(object, &["metric", "name"]).is_empty() {
                Check::new(&mut errors, "metric").required("name", "");
            }
            of_value(object, &mut errors);
            errors
        },
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

pub(super) const EXTERNAL_ROW: Resource = Resource {
    group: "external.metrics.k8s.io",
    version: "v1beta1",
    kind: "ExternalMetricValue",
    plural: "externalmetricvalues",
    singular: "externalmetricvalue",
    schema: "externalmetrics.v1beta1.ExternalMetricValue",
    hooks: Hooks {
        validate: |object, _| {
            let mut errors = of_time(object);
            if str_at(object, &["metricName"]).is_empty() {
                Check::new(&mut errors, "").required("metricName", "");
            }
            of_value(object, &mut errors);
            errors
        },
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn of_time(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(text) = value_at(object, &["timestamp"]).as_str()
        && crate::time::parse(text).is_none()
    {
        Check::new(&mut errors, "").invalid("timestamp", text, "must be an RFC 3339 time");
    }
    errors
}

fn of_value(object: &Value, errors: &mut Vec<FieldError>) {
    if !is_set(object, "value") {
        Check::new(errors, "").required("value", "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules() {
        fn check(row: &Resource, object: Value, expect: &[&str]) {
            let found = (row.hooks.validate)(&object, None);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expect);
        }
        check(&POD_ROW, json!({"timestamp": "2026-01-02T03:04:05Z"}), &[]);
        check(
            &NODE_ROW,
            json!({"timestamp": "now"}),
            &[r#"timestamp: Invalid value: "now": must be an RFC 3339 time"#],
        );
        check(
            &CUSTOM_ROW,
            json!({"describedObject": {"kind": "Pod"}, "metric": {}}),
            &[
                "describedObject.name: Required value",
                "metric.name: Required value",
                "value: Required value",
            ],
        );
        check(&EXTERNAL_ROW, json!({"metricName": "queue", "value": "3"}), &[]);
        check(&EXTERNAL_ROW, json!({}), &["metricName: Required value", "value: Required value"]);
    }
}
