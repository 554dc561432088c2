//! `Deployment`: declared replicas of a pod template, rolled forward and back.

use serde_json::{Value, json};

use super::json::{
    age_cell, child, default_str, default_to, int_at, is_set, name_cell, set, str_at, value_at,
};
use super::pod;
use super::validation::Check;
use super::{Column, Hooks, Resource, Subresource};
use crate::selector::LabelSelector;
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Scale],
    columns: &[
        Column::NAME,
        Column::string("Ready").help("Number of the pod with ready state"),
        Column::string("Up-to-date").help(
            "Total number of non-terminating pods targeted by this deployment that have the desired template spec.",
        ),
        Column::string("Available").help(
            "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.",
        ),
        Column::AGE,
        Column::CONTAINERS.wide(),
        Column::IMAGES.wide(),
        Column::POD_SELECTOR,
    ],
    schema: "apps.v1.Deployment",
    spec_generation: true,
    hooks: Hooks {
        cells,
        default,
        validate,
        create: |object| set(object, "status", json!({})),
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let status = value_at(object, &["status"]);
    let ready = int_at(status, &["readyReplicas"]);
    let mut cells = vec![
        name_cell(object),
        format!("{ready}/{}", int_at(object, &["spec", "replicas"])).into(),
        int_at(status, &["updatedReplicas"]).into(),
        int_at(status, &["availableReplicas"]).into(),
        age_cell(object, now_ms),
    ];
    cells.extend(template_cells(object));
    cells
}

/// The wide cells of a workload: containers, images, selector.
pub(super) fn template_cells(object: &Value) -> [Value; 3] {
    let template = value_at(object, &["spec", "template", "spec"]);
    let selector = LabelSelector::from_json(value_at(object, &["spec", "selector"]));
    let selector = match selector {
        Err(_) => "<error>".to_owned(),
        Ok(selector) if selector.requirements().is_empty() => "<none>".to_owned(),
        Ok(selector) => selector.to_string(),
    };
    [pod::container_names(template), pod::images(template), selector.into()]
}

fn default(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default_to(spec, "replicas", 1);
    default_to(spec, "revisionHistoryLimit", 10);
    default_to(spec, "progressDeadlineSeconds", 600);
    if let Some(strategy) = child(spec, "strategy") {
        default_str(strategy, "type", "RollingUpdate");
        if str_at(strategy, &["type"]) == "RollingUpdate"
            && let Some(rolling) = child(strategy, "rollingUpdate")
        {
            default_to(rolling, "maxUnavailable", "25%");
            default_to(rolling, "maxSurge", "25%");
        }
    }
    default_template(spec);
}

/// A workload's template is defaulted as a pod is.
pub(super) fn default_template(spec: &mut Value) {
    if let Some(template) = spec.get_mut("template").filter(|template| template.is_object()) {
        child(template, "metadata");
        if let Some(spec) = template.get_mut("spec") {
            pod::default_pod_spec(spec);
        }
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    workload(spec, old, &mut errors);
    let mut check = Check::new(&mut errors, "spec");
    strategy(value_at(spec, &["strategy"]), &mut check.field("strategy"));
    check.not_negative(spec, "minReadySeconds");
    check.not_negative(spec, "revisionHistoryLimit");
    if let Some(deadline) = value_at(spec, &["progressDeadlineSeconds"]).as_i64() {
        check.not_negative(spec, "progressDeadlineSeconds");
        if deadline <= int_at(spec, &["minReadySeconds"]) {
            check.invalid(
                "progressDeadlineSeconds",
                deadline,
                "must be greater than minReadySeconds",
            );
        }
    }
    errors
}

/// What Deployments and ReplicaSets share: replicas, selector and template.
pub(super) fn workload(spec: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let mut check = Check::new(errors, "spec");
    check.not_negative(spec, "replicas");
    check.selects_template(spec);
    pod::validate_template(value_at(spec, &["template"]), "spec.template", check.errors());
    if let Some(old) = old {
        check.immutable(spec, value_at(old, &["spec"]), "selector");
    }
}

fn strategy(strategy: &Value, check: &mut Check<'_>) {
    match str_at(strategy, &["type"]) {
        "RollingUpdate" => rolling(strategy, check),
        "Recreate" if is_set(strategy, "rollingUpdate") => {
            check.forbidden(
                "rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            );
        }
        "Recreate" => {}
        other => check.not_supported("type", other, &["Recreate", "RollingUpdate"]),
    }
}

fn rolling(strategy: &Value, check: &mut Check<'_>) {
    let rolling = value_at(strategy, &["rollingUpdate"]);
    if !rolling.is_object() {
        check.required("rollingUpdate", "this should be defaulted and never be nil");
        return;
    }
    let mut check = check.field("rollingUpdate");
    let zero = |field: &str| {
        matches!(&rolling[field], Value::Number(n) if n.as_i64() == Some(0))
            || rolling[field] == "0%"
    };
    for field in ["maxUnavailable", "maxSurge"] {
        number_or_percent(rolling, field, &mut check);
    }
    if let Some(percent) = percent(&rolling["maxUnavailable"])
        && percent > 100
    {
        check.invalid(
            "maxUnavailable",
            rolling["maxUnavailable"].clone(),
            "must not be greater than 100%",
        );
    }
    if zero("maxUnavailable") && zero("maxSurge") {
        let detail = "may not be 0 when `maxSurge` is 0";
        check.invalid("maxUnavailable", rolling["maxUnavailable"].clone(), detail);
    }
}

pub(super) fn number_or_percent(object: &Value, field: &str, check: &mut Check<'_>) {
    match value_at(object, &[field]) {
        Value::Null => {}
        Value::Number(_) => check.not_negative(object, field),
        value if percent(value).is_some() => {}
        value => check.invalid(
            field,
            value.clone(),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
    }
}

fn percent(value: &Value) -> Option<u32> {
    let digits = value.as_str()?.strip_suffix('%')?;
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    numeric.then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;

    fn good() -> Value {
        json!({"metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web"}]}}}})
    }

    fn check(change: impl Fn(&mut Value), expect: &[&str]) {
        let mut object = good();
        change(&mut object["spec"]);
        default(&mut object);
        expect_errors(&validate(&object, None), expect);
    }

    #[test]
    fn defaults() {
        let mut object = good();
        default(&mut object);
        let spec = &object["spec"];
        assert_eq!(spec["replicas"], 1);
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!(
            (&spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]),
            (&json!(10), &json!(600))
        );
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
    }

    #[test]
    fn rules() {
        check(|_| {}, &[]);
        check(|spec| spec["replicas"] = 0.into(), &[]);
        check(
            |spec| spec["replicas"] = (-1).into(),
            &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        );
        check(|spec| spec["selector"] = Value::Null, &["spec.selector: Required value"]);
        check(
            |spec| spec["selector"] = json!({}),
            &["spec.selector: Invalid value: {}: empty selector is invalid"],
        );
        check(
            |spec| spec["selector"] = json!({"matchLabels": {"app": "other"}}),
            &[
                r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#,
            ],
        );
        check(
            |spec| spec["template"]["spec"]["containers"] = json!([]),
            &["spec.template.spec.containers: Required value"],
        );
        check(
            |spec| spec["template"]["spec"]["restartPolicy"] = "Never".into(),
            &[
                r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
            ],
        );
        check(|spec| spec["strategy"] = json!({"type": "Recreate"}), &[]);
        check(
            |spec| spec["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}}),
            &["spec.strategy.rollingUpdate: Forbidden"],
        );
        check(
            |spec| {
                spec["strategy"] = json!({"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}})
            },
            &[
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ],
        );
        check(
            |spec| spec["strategy"] = json!({"rollingUpdate": {"maxSurge": "lots"}}),
            &[
                "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"lots\": a valid percent string",
            ],
        );
        check(
            |spec| spec["minReadySeconds"] = 600.into(),
            &[
                "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
            ],
        );
    }

    #[test]
    fn the_selector_stays() {
        let old = good();
        let mut new = good();
        new["spec"]["selector"]["matchLabels"] = json!({"app": "web", "tier": "x"});
        new["spec"]["template"]["metadata"]["labels"] = json!({"app": "web", "tier": "x"});
        default(&mut new);
        let found = validate(&new, Some(&old));
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().ends_with("field is immutable"));
    }

    #[test]
    fn printed_row() {
        let mut object = good();
        object["status"] =
            json!({"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1});
        object["spec"]["replicas"] = 3.into();
        assert_eq!(
            cells(&object, 0),
            json!(["web", "1/3", 2, 1, "<unknown>", "c", "web", "app=web"]).as_array().unwrap()[..]
        );
    }
}
