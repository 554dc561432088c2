//! `DaemonSet`: one pod on every node that fits.

use serde_json::{Value, json};

use super::deployment::{default_template, number_or_percent, template_cells, workload};
use super::json::{
    age_cell, child, default_str, default_to, int_at, name_cell, object_at, set, str_at, value_at,
};
use super::validation::Check;
use super::{Column, Hooks, Resource, Subresource};
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::integer("Desired").help("The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod)."),
        Column::integer("Current").help("The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod."),
        Column::integer("Ready").help("The number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition."),
        Column::integer("Up-to-date").help("The total number of nodes that are running updated daemon pod"),
        Column::integer("Available").help("The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available."),
        Column::string("Node Selector").help("A selector which must be true for the pod to fit on a node."),
        Column::AGE,
        Column::CONTAINERS.wide(),
        Column::IMAGES.wide(),
        Column::POD_SELECTOR,
    ],
    schema: "apps.v1.DaemonSet",
    spec_generation: true,
    hooks: Hooks {
        cells,
        default,
        validate,
        create: |object| {
            let zero = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0,
                "desiredNumberScheduled": 0, "numberReady": 0});
            set(object, "status", zero);
        },
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let status = value_at(object, &["status"]);
    let selector = object_at(object, &["spec", "template", "spec", "nodeSelector"]);
    let selector: Vec<String> = selector
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let selector = if selector.is_empty() { "<none>".to_owned() } else { selector.join(",") };
    let mut cells = vec![
        name_cell(object),
        int_at(status, &["desiredNumberScheduled"]).into(),
        int_at(status, &["currentNumberScheduled"]).into(),
        int_at(status, &["numberReady"]).into(),
        int_at(status, &["updatedNumberScheduled"]).into(),
        int_at(status, &["numberAvailable"]).into(),
        selector.into(),
        age_cell(object, now_ms),
    ];
    cells.extend(template_cells(object));
    cells
}

fn default(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if let Some(strategy) = child(spec, "updateStrategy") {
        default_str(strategy, "type", "RollingUpdate");
        if str_at(strategy, &["type"]) == "RollingUpdate"
            && let Some(rolling) = child(strategy, "rollingUpdate")
        {
            default_to(rolling, "maxUnavailable", 1);
            default_to(rolling, "maxSurge", 0);
        }
    }
    default_to(spec, "revisionHistoryLimit", 10);
    default_template(spec);
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    workload(spec, old, &mut errors);
    let mut check = Check::new(&mut errors, "spec");
    check.not_negative(spec, "minReadySeconds");
    check.not_negative(spec, "revisionHistoryLimit");
    let strategy = value_at(spec, &["updateStrategy"]);
    let mut check = check.field("updateStrategy");
    match str_at(strategy, &["type"]) {
        "OnDelete" => {}
        "RollingUpdate" => rolling(strategy, &mut check),
        other => check.not_supported("type", other, &["OnDelete", "RollingUpdate"]),
    }
    errors
}

fn rolling(strategy: &Value, check: &mut Check<'_>) {
    let rolling = value_at(strategy, &["rollingUpdate"]);
    if !rolling.is_object() {
        return check.required("rollingUpdate", "");
    }
    let mut check = check.field("rollingUpdate");
    for field in ["maxUnavailable", "maxSurge"] {
        number_or_percent(rolling, field, &mut check);
    }
    let is_zero = |field: &str| rolling[field] == 0 || rolling[field] == "0%";
    match (is_zero("maxUnavailable"), is_zero("maxSurge")) {
        (true, true) => {
            let detail = "cannot be 0 when maxSurge is 0";
            check.invalid("maxUnavailable", rolling["maxUnavailable"].clone(), detail);
        }
        (false, false) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            check.invalid("maxSurge", rolling["maxSurge"].clone(), detail);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;

    #[test]
    fn rules() {
        fn check(rolling: Value, expect: &[&str]) {
            let mut object = json!({"spec": {"selector": {"matchLabels": {"a": "b"}},
                "updateStrategy": {"rollingUpdate": rolling},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
            default(&mut object);
            expect_errors(&validate(&object, None), expect);
        }
        check(json!({}), &[]);
        check(json!({"maxUnavailable": 0, "maxSurge": "10%"}), &[]);
        check(
            json!({"maxUnavailable": 0}),
            &["spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"],
        );
        check(
            json!({"maxSurge": 1}),
            &["spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set"],
        );
    }
}
