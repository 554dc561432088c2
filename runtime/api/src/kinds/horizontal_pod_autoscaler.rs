//! `HorizontalPodAutoscaler`: replicas that follow a measure. Stored as
//! autoscaling/v2; autoscaling/v1 is a view that knows processors only.

use serde_json::{Value, json};

use super::json::{
    age_cell, child, default_str, default_to, int_at, is_set, items, name_cell, object_at, remove,
    set, str_at, value_at,
};
use super::validation::Check;
use super::{Alias, Column, Hooks, Resource, Subresource};
use crate::status::FieldError;

/// Where autoscaling/v1 keeps what it cannot say.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

const MAX_STABILIZATION: i64 = 3600;
const MAX_POLICY_PERIOD: i64 = 1800;
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::string("Reference").help("Reference points to the target resource to scale."),
    Column::string("Targets")
        .help("The specifications for which to use to calculate the desired replica count."),
    Column::string("MinPods")
        .help("The lower limit for the number of replicas to which the autoscaler can scale down."),
    Column::string("MaxPods")
        .help("The upper limit for the number of replicas to which the autoscaler can scale up."),
    Column::string("Replicas")
        .help("The desired number of replicas of pods managed by this autoscaler."),
    Column::AGE,
];

pub(super) const ROW: Resource = Resource {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    columns: COLUMNS,
    schema: "autoscaling.v2.HorizontalPodAutoscaler",
    hooks: Hooks {
        cells,
        default,
        validate,
        create: |object| set(object, "status", json!({"desiredReplicas": 0})),
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

pub(super) const V1_ROW: Resource = Resource {
    version: "v1",
    schema: "autoscaling.v1.HorizontalPodAutoscaler",
    // What is stored is defaulted and checked as autoscaling/v2.
    hooks: Hooks { cells, ..Hooks::PLAIN },
    alias: Some(Alias {
        group: "autoscaling",
        plural: "horizontalpodautoscalers",
        to_storage: from_v1,
        from_storage: to_v1,
    }),
    ..ROW
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let spec = value_at(object, &["spec"]);
    let target = value_at(spec, &["scaleTargetRef"]);
    let minimum = match value_at(spec, &["minReplicas"]).as_i64() {
        Some(minimum) => minimum.to_string(),
        None => "<unset>".to_owned(),
    };
    let current = items(object, &["status", "currentMetrics"]);
    let mut targets: Vec<String> = items(spec, &["metrics"])
        .iter()
        .enumerate()
        .map(|(index, metric)| shown(metric, current.get(index).unwrap_or(&Value::Null)))
        .collect();
    if targets.len() > 2 {
        let more = targets.len() - 2;
        targets.truncate(2);
        targets.push(format!("{more} more..."));
    }
    let targets = if targets.is_empty() { "<none>".to_owned() } else { targets.join(", ") };
    vec![
        name_cell(object),
        format!("{}/{}", str_at(target, &["kind"]), str_at(target, &["name"])).into(),
        targets.into(),
        minimum.into(),
        int_at(spec, &["maxReplicas"]).to_string().into(),
        int_at(object, &["status", "currentReplicas"]).to_string().into(),
        age_cell(object, now_ms),
    ]
}

/// `cpu: 12%/50%`.
fn shown(metric: &Value, current: &Value) -> String {
    let Some((_, field)) = SOURCES.iter().find(|(kind, _)| *kind == str_at(metric, &["type"]))
    else {
        return "<unknown type>".to_owned();
    };
    let (source, now) = (value_at(metric, &[field]), value_at(current, &[field, "current"]));
    let target = value_at(source, &["target"]);
    let quantity = |value: &Value| match value {
        Value::Null => "<unknown>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = if is_set(target, "averageUtilization") {
        let now = match value_at(now, &["averageUtilization"]).as_i64() {
            Some(percent) => format!("{percent}%"),
            None => "<unknown>".to_owned(),
        };
        format!("{now}/{}%", int_at(target, &["averageUtilization"]))
    } else if is_set(target, "averageValue") {
        let suffix = if matches!(*field, "external" | "object") { " (avg)" } else { "" };
        let now = quantity(value_at(now, &["averageValue"]));
        format!("{now}/{}{suffix}", quantity(value_at(target, &["averageValue"])))
    } else {
        format!(
            "{}/{}",
            quantity(value_at(now, &["value"])),
            quantity(value_at(target, &["value"]))
        )
    };
    match str_at(source, &["name"]) {
        "" => text,
        name => format!("{name}: {text}"),
    }
}

fn default(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default_to(spec, "minReplicas", 1);
    if items(spec, &["metrics"]).is_empty() {
        set(
            spec,
            "metrics",
            json!([{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}]),
        );
    }
    if !is_set(spec, "behavior") {
        return;
    }
    let Some(behavior) = child(spec, "behavior") else { return };
    if let Some(up) = child(behavior, "scaleUp") {
        default_to(up, "stabilizationWindowSeconds", 0);
        default_str(up, "selectPolicy", "Max");
        if items(up, &["policies"]).is_empty() {
            let policies = json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15}]);
            set(up, "policies", policies);
        }
    }
    if let Some(down) = child(behavior, "scaleDown") {
        default_str(down, "selectPolicy", "Max");
        if items(down, &["policies"]).is_empty() {
            let policies = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
            set(down, "policies", policies);
        }
    }
}

fn validate(object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    let (minimum, maximum) = (int_at(spec, &["minReplicas"]), int_at(spec, &["maxReplicas"]));
    if is_set(spec, "minReplicas") && minimum < 1 {
        check.invalid("minReplicas", minimum, "must be greater than or equal to 1");
    }
    if maximum < 1 {
        check.invalid("maxReplicas", maximum, "must be greater than 0");
    }
    if is_set(spec, "minReplicas") && maximum < minimum {
        check.invalid("maxReplicas", maximum, "must be greater than or equal to `minReplicas`");
    }
    let target = value_at(spec, &["scaleTargetRef"]);
    for field in ["kind", "name"] {
        if str_at(target, &[field]).is_empty() {
            check.field("scaleTargetRef").required(field, "");
        }
    }
    for (index, metric) in items(spec, &["metrics"]).iter().enumerate() {
        validate_metric(metric, &mut check.item("metrics", index));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = value_at(spec, &["behavior", direction]);
        if rules.is_object() {
            let mut check = check.field("behavior");
            validate_rules(rules, &mut check.field(direction));
        }
    }
    errors
}

fn validate_metric(metric: &Value, check: &mut Check<'_>) {
    let kind = str_at(metric, &["type"]);
    let Some((_, field)) = SOURCES.iter().find(|(known, _)| *known == kind) else {
        if kind.is_empty() {
            return check.required("type", "must specify a metric source type");
        }
        return check.not_supported("type", kind, &SOURCES.map(|(known, _)| known));
    };
    if !is_set(metric, field) {
        return check.required(field, "must populate information for the given metric source");
    }
    let source = &metric[field];
    let mut check = check.field(field);
    if matches!(*field, "resource" | "containerResource") && str_at(source, &["name"]).is_empty() {
        check.required("name", "must specify a resource name");
    }
    if matches!(*field, "pods" | "object" | "external")
        && str_at(source, &["metric", "name"]).is_empty()
    {
        check.field("metric").required("name", "");
    }
    let target = value_at(source, &["target"]);
    let mut check = check.field("target");
    match str_at(target, &["type"]) {
        "" => check.required("type", "must specify a metric target type"),
        _ => check.one_of(target, "type", &["AverageValue", "Utilization", "Value"]),
    }
    if let Some(percent) = value_at(target, &["averageUtilization"]).as_i64()
        && percent < 1
    {
        check.invalid("averageUtilization", percent, "must be greater than 0");
    }
    let given = ["averageUtilization", "averageValue", "value"]
        .iter()
        .filter(|field| is_set(target, field))
        .count();
    if given == 0 {
        check.required(
            "averageUtilization",
            "must set either a target raw value or a target utilization",
        );
    }
}

fn validate_rules(rules: &Value, check: &mut Check<'_>) {
    check.not_negative(rules, "stabilizationWindowSeconds");
    let window = int_at(rules, &["stabilizationWindowSeconds"]);
    if window > MAX_STABILIZATION {
        let detail = format!("must be less than or equal to {MAX_STABILIZATION}");
        check.invalid("stabilizationWindowSeconds", window, detail);
    }
    check.one_of(rules, "selectPolicy", &["Disabled", "Max", "Min"]);
    let policies = items(rules, &["policies"]);
    if policies.is_empty() {
        check.required("policies", "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        let mut check = check.item("policies", index);
        check.one_of(policy, "type", &["Percent", "Pods"]);
        let (value, period) = (int_at(policy, &["value"]), int_at(policy, &["periodSeconds"]));
        if value <= 0 {
            check.invalid("value", value, "must be greater than zero");
        }
        if period <= 0 {
            check.invalid("periodSeconds", period, "must be greater than zero");
        }
        if period > MAX_POLICY_PERIOD {
            let detail = format!("must be less than or equal to {MAX_POLICY_PERIOD}");
            check.invalid("periodSeconds", period, detail);
        }
    }
}

fn is_cpu(metric: &Value) -> bool {
    str_at(metric, &["type"]) == "Resource"
        && str_at(metric, &["resource", "name"]) == "cpu"
        && is_set(value_at(metric, &["resource", "target"]), "averageUtilization")
}

/// Processors have a field of their own, everything else an annotation.
fn to_v1(object: &mut Value) {
    let metrics = items(object, &["spec", "metrics"]).to_vec();
    let behavior = value_at(object, &["spec", "behavior"]).clone();
    let (cpu, others): (Vec<Value>, Vec<Value>) = metrics.into_iter().partition(is_cpu);
    if let Some(spec) = object.get_mut("spec") {
        remove(spec, "metrics");
        remove(spec, "behavior");
        if let Some(first) = cpu.first() {
            let percent = int_at(first, &["resource", "target", "averageUtilization"]);
            set(spec, "targetCPUUtilizationPercentage", percent);
        }
    }
    let current = items(object, &["status", "currentMetrics"]).to_vec();
    if let Some(status) = object.get_mut("status") {
        remove(status, "currentMetrics");
        remove(status, "conditions");
        let of_cpu = current.iter().find(|metric| str_at(metric, &["resource", "name"]) == "cpu");
        if let Some(percent) = of_cpu.and_then(|metric| {
            value_at(metric, &["resource", "current", "averageUtilization"]).as_i64()
        }) {
            set(status, "currentCPUUtilizationPercentage", percent);
        }
    }
    let notes = [
        (METRICS, (!others.is_empty()).then(|| Value::Array(others).to_string())),
        (BEHAVIOR, behavior.is_object().then(|| behavior.to_string())),
    ];
    for (key, text) in notes {
        if let Some(text) = text
            && let Some(annotations) =
                child(object, "metadata").and_then(|meta| child(meta, "annotations"))
        {
            set(annotations, key, text);
        }
    }
}

fn from_v1(object: &mut Value) {
    let take = |object: &mut Value, key: &str| -> Value {
        let text = object_at(object, &["metadata", "annotations"])
            .and_then(|annotations| annotations.get(key))
            .and_then(Value::as_str)
            .map(str::to_owned);
        let Some(text) = text else { return Value::Null };
        if let Some(annotations) =
            child(object, "metadata").and_then(|meta| child(meta, "annotations"))
        {
            remove(annotations, key);
        }
        serde_json::from_str(&text).unwrap_or(Value::Null)
    };
    let mut metrics = take(object, METRICS).as_array().cloned().unwrap_or_default();
    let behavior = take(object, BEHAVIOR);
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if let Some(percent) = value_at(spec, &["targetCPUUtilizationPercentage"]).as_i64() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent}}});
        metrics.insert(0, cpu);
    }
    remove(spec, "targetCPUUtilizationPercentage");
    if !metrics.is_empty() {
        set(spec, "metrics", metrics);
    }
    if behavior.is_object() {
        set(spec, "behavior", behavior);
    }
    if let Some(status) = object.get_mut("status") {
        remove(status, "currentCPUUtilizationPercentage");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_version_is_a_view() {
        let mut object = json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 70}});
        from_v1(&mut object);
        default(&mut object);
        assert_eq!(object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
        assert!(validate(&object, None).is_empty());
        let stored = object.clone();
        to_v1(&mut object);
        assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 70);
        from_v1(&mut object);
        assert_eq!(object["spec"], stored["spec"]);
    }

    #[test]
    fn printed_row() {
        let object = json!({"metadata": {"name": "h"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 3, "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
        let row = cells(&object, 0);
        assert_eq!(
            row[1..6],
            [
                json!("Deployment/web"),
                json!("cpu: <unknown>/50%"),
                json!("1"),
                json!("3"),
                json!("0")
            ]
        );
    }
}
