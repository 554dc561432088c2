//! `Job`: pods that run to completion.

use serde_json::{Value, json};

use super::deployment::default_template;
use super::json::{
    age, age_cell, bool_at, child, default_str, default_to, int_at, is_set, items, labels_cell,
    name_cell, set, str_at, value_at,
};
use super::pod;
use super::validation::Check;
use super::{Column, Hooks, Resource, SelectableField, Subresource};
use crate::selector::LabelSelector;
use crate::status::FieldError;

/// Jobs with an index of their own cannot be larger: names and annotations carry it.
const MAX_INDEXED_COMPLETIONS: i64 = 1_000_000_000;
const MAX_INDEXED_PARALLELISM: i64 = 100_000;
const MAX_POLICY_RULES: usize = 20;
const RESTART_POLICIES: &[&str] = &["Never", "OnFailure"];

/// Labels that tie pods to their job; the first two under their older names too.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

pub(super) const ROW: Resource = Resource {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("Status").help("Status of the job."),
        Column::string("Completions")
            .help("The desired number of successfully finished pods the job should be run with."),
        Column::string("Duration").help("Time required to complete the job."),
        Column::AGE,
        Column::CONTAINERS.wide(),
        Column::IMAGES.wide(),
        Column::POD_SELECTOR,
    ],
    selectable: &[SelectableField::new("status.successful", "/status/succeeded").or("0")],
    schema: "batch.v1.Job",
    spec_generation: true,
    hooks: Hooks {
        cells,
        default,
        validate,
        create: |object| {
            set(object, "status", json!({}));
            tie_to_uid(object);
        },
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, &["status", "conditions"])
        .iter()
        .find(|found| str_at(found, &["type"]) == kind && str_at(found, &["status"]) == "True")
}

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let spec = value_at(object, &["spec"]);
    let status = value_at(object, &["status"]);
    let succeeded = int_at(status, &["succeeded"]);
    let parallelism = int_at(spec, &["parallelism"]);
    let completions = match value_at(spec, &["completions"]).as_i64() {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    };
    let state = if condition(object, "Complete").is_some() {
        "Complete"
    } else if condition(object, "Failed").is_some() {
        "Failed"
    } else if !str_at(object, &["metadata", "deletionTimestamp"]).is_empty() {
        "Terminating"
    } else if condition(object, "Suspended").is_some() {
        "Suspended"
    } else if condition(object, "FailureTarget").is_some() {
        "FailureTarget"
    } else if condition(object, "SuccessCriteriaMet").is_some() {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let end = str_at(status, &["completionTime"]);
    let duration = match str_at(status, &["startTime"]) {
        "" => String::new(),
        start => age(start, crate::time::parse(end).unwrap_or(now_ms)),
    };
    let template = value_at(spec, &["template", "spec"]);
    let selector = match LabelSelector::from_json(value_at(spec, &["selector"])) {
        Ok(selector) if !selector.requirements().is_empty() => selector.to_string().into(),
        _ => labels_cell(&Value::Null),
    };
    vec![
        name_cell(object),
        state.into(),
        completions.into(),
        duration.into(),
        age_cell(object, now_ms),
        pod::container_names(template),
        pod::images(template),
        selector,
    ]
}

fn default(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) {
        default_spec(spec);
    }
}

/// Also for the template of a CronJob.
pub(super) fn default_spec(spec: &mut Value) {
    if !is_set(spec, "completions") && !is_set(spec, "parallelism") {
        default_to(spec, "completions", 1);
    }
    default_to(spec, "parallelism", 1);
    if is_set(spec, "backoffLimitPerIndex") {
        default_to(spec, "backoffLimit", i32::MAX);
    }
    default_to(spec, "backoffLimit", 6);
    default_str(spec, "completionMode", "NonIndexed");
    default_to(spec, "suspend", false);
    let replaced = if is_set(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    default_str(spec, "podReplacementPolicy", replaced);
    default_to(spec, "manualSelector", false);
    default_template(spec);
}

/// A job selects its own pods by its uid, unless its author knows better.
fn tie_to_uid(object: &mut Value) {
    let name = str_at(object, &["metadata", "name"]).to_owned();
    let uid = str_at(object, &["metadata", "uid"]).to_owned();
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if bool_at(spec, &["manualSelector"]) {
        return;
    }
    if let Some(labels) = child(spec, "template")
        .and_then(|template| child(template, "metadata"))
        .and_then(|meta| child(meta, "labels"))
    {
        for label in UID_LABELS {
            default_str(labels, label, &uid);
        }
        for label in NAME_LABELS {
            default_str(labels, label, &name);
        }
    }
    if let Some(labels) =
        child(spec, "selector").and_then(|selector| child(selector, "matchLabels"))
    {
        default_str(labels, UID_LABELS[0], &uid);
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    validate_spec(spec, "spec", &mut errors);
    let mut check = Check::new(&mut errors, "spec");
    if let Ok(selector) = LabelSelector::from_json(value_at(spec, &["selector"]))
        && !selector.is_everything()
        && !selector.matches_json(value_at(spec, &["template", "metadata", "labels"]))
    {
        let labels = value_at(spec, &["template", "metadata", "labels"]).clone();
        let detail = "`selector` does not match template `labels`";
        check.invalid("template.metadata.labels", labels, detail);
    }
    if let Some(old) = old {
        let before = value_at(old, &["spec"]);
        for field in [
            "selector",
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ] {
            check.immutable(spec, before, field);
        }
        // An indexed job may grow and shrink together with its parallelism.
        let elastic = str_at(spec, &["completionMode"]) == "Indexed"
            && value_at(spec, &["completions"]) == value_at(spec, &["parallelism"]);
        if !elastic {
            check.immutable(spec, before, "completions");
        }
        // The template of a job that never started may still be steered elsewhere.
        let waiting =
            bool_at(before, &["suspend"]) && str_at(old, &["status", "startTime"]).is_empty();
        if !waiting {
            check.immutable(spec, before, "template");
        }
    }
    errors
}

/// Also for the template of a CronJob.
pub(super) fn validate_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut check = Check::new(errors, path);
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
        "ttlSecondsAfterFinished",
    ] {
        check.not_negative(spec, field);
    }
    check.one_of(spec, "completionMode", &["Indexed", "NonIndexed"]);
    check.one_of(spec, "podReplacementPolicy", &["Failed", "TerminatingOrFailed"]);
    if str_at(spec, &["completionMode"]) == "Indexed" {
        indexed(spec, &mut check);
    } else {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
            if is_set(spec, field) {
                check.invalid(field, spec[field].clone(), "requires indexed completion mode");
            }
        }
    }
    if is_set(spec, "maxFailedIndexes") && !is_set(spec, "backoffLimitPerIndex") {
        check.required("backoffLimitPerIndex", "when maxFailedIndexes is specified");
    }
    failure_policy(spec, &mut check);
    let template = value_at(spec, &["template"]);
    pod::validate_template_of(
        template,
        &format!("{path}.template"),
        RESTART_POLICIES,
        check.errors(),
    );
}

fn indexed(spec: &Value, check: &mut Check<'_>) {
    match value_at(spec, &["completions"]).as_i64() {
        None => check.required("completions", "when completion mode is Indexed"),
        Some(completions) if completions > MAX_INDEXED_COMPLETIONS => {
            let detail = format!("must be less than or equal to {MAX_INDEXED_COMPLETIONS}");
            check.invalid("completions", completions, detail);
        }
        Some(_) => {}
    }
    let parallelism = int_at(spec, &["parallelism"]);
    if parallelism > MAX_INDEXED_PARALLELISM {
        let detail = format!(
            "must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
        );
        check.invalid("parallelism", parallelism, detail);
    }
    let rules = items(spec, &["successPolicy", "rules"]);
    if is_set(spec, "successPolicy") && rules.is_empty() {
        check.field("successPolicy").required(
            "rules",
            "at least one rules must be specified when the successPolicy is specified",
        );
    }
    for (index, rule) in rules.iter().enumerate() {
        let mut check = check.field("successPolicy");
        if !is_set(rule, "succeededIndexes") && !is_set(rule, "succeededCount") {
            check.required(
                &format!("rules[{index}]"),
                "at least one of succeededCount or succeededIndexes must be specified",
            );
        }
    }
}

fn failure_policy(spec: &Value, check: &mut Check<'_>) {
    if !is_set(spec, "podFailurePolicy") {
        return;
    }
    if str_at(spec, &["template", "spec", "restartPolicy"]) != "Never" {
        let policy = str_at(spec, &["template", "spec", "restartPolicy"]);
        check.invalid(
            "template.spec.restartPolicy",
            policy,
            "only \"Never\" is supported when podFailurePolicy is specified",
        );
    }
    let rules = items(spec, &["podFailurePolicy", "rules"]);
    let mut check = check.field("podFailurePolicy");
    if rules.len() > MAX_POLICY_RULES {
        check.invalid("rules", rules.len(), format!("must have at most {MAX_POLICY_RULES} items"));
    }
    for (index, rule) in rules.iter().enumerate() {
        let mut check = check.item("rules", index);
        match str_at(rule, &["action"]) {
            "" => check.required(
                "action",
                "valid values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
            ),
            "FailIndex" if !is_set(spec, "backoffLimitPerIndex") => {
                check.invalid("action", "FailIndex", "requires the backoffLimitPerIndex to be set");
            }
            _ => check.one_of(rule, "action", &["Count", "FailIndex", "FailJob", "Ignore"]),
        }
        let codes = is_set(rule, "onExitCodes");
        let patterns = !items(rule, &["onPodConditions"]).is_empty();
        if codes == patterns {
            let detail = if codes {
                "specifying both OnExitCodes and OnPodConditions is not supported"
            } else {
                "specifying one of OnExitCodes and OnPodConditions is required"
            };
            check.invalid("onExitCodes", value_at(rule, &["onExitCodes"]).clone(), detail);
        }
        if codes {
            let codes = &rule["onExitCodes"];
            let mut check = check.field("onExitCodes");
            check.one_of(codes, "operator", &["In", "NotIn"]);
            let values = items(codes, &["values"]);
            if values.is_empty() {
                check.invalid("values", json!([]), "at least one value is required");
            }
            if str_at(codes, &["operator"]) == "In" && values.iter().any(|code| code == &json!(0)) {
                check.invalid("values", 0, "must not be 0 for the In operator");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;

    fn good() -> Value {
        json!({"metadata": {"name": "pi"}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})
    }

    #[test]
    fn defaults_and_the_selector_by_uid() {
        let mut job = good();
        default(&mut job);
        assert_eq!(
            (&job["spec"]["completions"], &job["spec"]["backoffLimit"]),
            (&json!(1), &json!(6))
        );
        job["metadata"]["uid"] = "u-1".into();
        tie_to_uid(&mut job);
        assert_eq!(
            job["spec"]["selector"]["matchLabels"],
            json!({"batch.kubernetes.io/controller-uid": "u-1"})
        );
        assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "pi");
        assert!(validate(&job, None).is_empty());
    }

    #[test]
    fn rules() {
        fn check(change: Value, expect: &[&str]) {
            let mut job = good();
            for (field, value) in change.as_object().unwrap() {
                job["spec"][field] = value.clone();
            }
            default(&mut job);
            tie_to_uid(&mut job);
            expect_errors(&validate(&job, None), expect);
        }
        check(json!({"completions": -1}), &["spec.completions: Invalid value: -1"]);
        check(
            json!({"completionMode": "Indexed", "parallelism": 2}),
            &["spec.completions: Required value"],
        );
        check(json!({"backoffLimitPerIndex": 1}), &["spec.backoffLimitPerIndex: Invalid value"]);
        check(
            json!({"podFailurePolicy": {"rules": [{"action": "FailJob"}]}}),
            &["spec.podFailurePolicy.rules[0].onExitCodes: Invalid value"],
        );
        check(
            json!({"podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [0]}}]}}),
            &["spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: 0"],
        );
        let mut job = good();
        job["spec"]["template"]["spec"]["restartPolicy"] = "Always".into();
        default(&mut job);
        tie_to_uid(&mut job);
        assert_eq!(
            validate(&job, None)[0].to_string(),
            r#"spec.template.spec.restartPolicy: Unsupported value: "Always": supported values: "Never", "OnFailure""#
        );
    }
}
