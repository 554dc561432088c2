//! `StatefulSet`: pods with names and volumes that stay.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::deployment::{default_template, template_cells, workload};
use super::json::{
    age_cell, child, default_str, default_to, int_at, items, items_mut, name_cell, set, str_at,
    value_at,
};
use super::validation::Check;
use super::{Column, Hooks, Resource, Subresource};
use crate::status::FieldError;

const RETENTION: &[&str] = &["Delete", "Retain"];

/// Of the spec, what may change on an existing object.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(super) const ROW: Resource = Resource {
    group: "apps",
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Scale],
    columns: &[
        Column::NAME,
        Column::string("Ready").help("Number of the pod with ready state"),
        Column::AGE,
        Column::CONTAINERS.wide(),
        Column::IMAGES.wide(),
    ],
    schema: "apps.v1.StatefulSet",
    spec_generation: true,
    hooks: Hooks {
        cells,
        default,
        validate,
        create: |object| set(object, "status", json!({"replicas": 0, "availableReplicas": 0})),
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let ready = int_at(object, &["status", "readyReplicas"]);
    let [containers, images, _] = template_cells(object);
    vec![
        name_cell(object),
        format!("{ready}/{}", int_at(object, &["spec", "replicas"])).into(),
        age_cell(object, now_ms),
        containers,
        images,
    ]
}

fn default(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default_str(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = child(spec, "updateStrategy") {
        default_str(strategy, "type", "RollingUpdate");
        if str_at(strategy, &["type"]) == "RollingUpdate"
            && let Some(rolling) = child(strategy, "rollingUpdate")
        {
            default_to(rolling, "partition", 0);
        }
    }
    if let Some(policy) = child(spec, "persistentVolumeClaimRetentionPolicy") {
        default_str(policy, "whenDeleted", "Retain");
        default_str(policy, "whenScaled", "Retain");
    }
    default_to(spec, "replicas", 1);
    default_to(spec, "revisionHistoryLimit", 10);
    default_template(spec);
    for claim in items_mut(spec, "volumeClaimTemplates") {
        default_claim(claim);
    }
}

/// A claim in a template carries its kind, like one that stands alone.
fn default_claim(claim: &mut Value) {
    if !claim.is_object() {
        return;
    }
    default_str(claim, "apiVersion", "v1");
    default_str(claim, "kind", "PersistentVolumeClaim");
    if let Some(spec) = child(claim, "spec") {
        default_str(spec, "volumeMode", "Filesystem");
    }
    if let Some(status) = child(claim, "status") {
        default_str(status, "phase", "Pending");
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    workload(&with_claimed_volumes(spec), None, &mut errors);
    let mut check = Check::new(&mut errors, "spec");
    check.not_negative(spec, "minReadySeconds");
    check.not_negative(spec, "revisionHistoryLimit");
    check.one_of(spec, "podManagementPolicy", &["OrderedReady", "Parallel"]);
    strategy(value_at(spec, &["updateStrategy"]), &mut check.field("updateStrategy"));
    let retention = value_at(spec, &["persistentVolumeClaimRetentionPolicy"]);
    for field in ["whenDeleted", "whenScaled"] {
        check.field("persistentVolumeClaimRetentionPolicy").one_of(retention, field, RETENTION);
    }
    check.field("ordinals").not_negative(value_at(spec, &["ordinals"]), "start");
    for (index, claim) in items(spec, &["volumeClaimTemplates"]).iter().enumerate() {
        let mut check = check.item("volumeClaimTemplates", index);
        if str_at(claim, &["metadata", "name"]).is_empty() {
            check.field("metadata").required("name", "");
        }
    }
    if let Some(old) = old
        && fixed(spec) != fixed(value_at(old, &["spec"]))
    {
        Check::new(&mut errors, "").forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
    errors
}

/// The spec with a volume for each claim in a template, as the pods will have them:
/// containers mount those.
fn with_claimed_volumes(spec: &Value) -> Cow<'_, Value> {
    let volumes = items(spec, &["template", "spec", "volumes"]);
    let named = |name: &str| volumes.iter().any(|known| str_at(known, &["name"]) == name);
    let names = items(spec, &["volumeClaimTemplates"])
        .iter()
        .map(|claim| str_at(claim, &["metadata", "name"]))
        .filter(|name| !name.is_empty() && !named(name));
    let more: Vec<Value> = names
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    let mut spec = Cow::Borrowed(spec);
    if !more.is_empty()
        && let Some(pod) = spec.to_mut().pointer_mut("/template/spec").filter(|pod| pod.is_object())
    {
        let volumes = &mut pod["volumes"];
        if volumes.is_null() {
            *volumes = json!([]);
        }
        if let Some(list) = volumes.as_array_mut() {
            list.extend(more);
        }
    }
    spec
}

fn fixed(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|field, _| !CHANGEABLE.contains(&field.as_str()));
    }
    spec
}

fn strategy(strategy: &Value, check: &mut Check<'_>) {
    let rolling = value_at(strategy, &["rollingUpdate"]);
    match str_at(strategy, &["type"]) {
        "RollingUpdate" => {
            let mut check = check.field("rollingUpdate");
            check.not_negative(rolling, "partition");
        }
        "OnDelete" if rolling.is_object() => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            check.invalid("rollingUpdate", rolling.clone(), detail);
        }
        "OnDelete" => {}
        "" => check.required("type", ""),
        other => check.not_supported("type", other, &["OnDelete", "RollingUpdate"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;

    fn good() -> Value {
        json!({"metadata": {"name": "db"}, "spec": {"serviceName": "db", "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}})
    }

    #[test]
    fn defaults() {
        let mut object = good();
        default(&mut object);
        let spec = &object["spec"];
        assert_eq!(spec["podManagementPolicy"], "OrderedReady");
        assert_eq!(
            spec["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
        );
        assert_eq!(
            spec["persistentVolumeClaimRetentionPolicy"],
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
        );
        assert_eq!(spec["volumeClaimTemplates"][0]["kind"], "PersistentVolumeClaim");
    }

    #[test]
    fn rules() {
        fn check(change: impl Fn(&mut Value), expect: &[&str]) {
            let mut old = good();
            old["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
                json!([{"name": "data", "mountPath": "/data"}]);
            default(&mut old);
            let mut new = old.clone();
            change(&mut new["spec"]);
            expect_errors(&validate(&new, Some(&old)), expect);
        }
        check(|_| {}, &[]);
        check(|spec| spec["replicas"] = 9.into(), &[]);
        check(
            |spec| spec["serviceName"] = "other".into(),
            &["spec: Forbidden: updates to statefulset spec"],
        );
        check(
            |spec| spec["updateStrategy"] = json!({"type": "OnDelete", "rollingUpdate": {}}),
            &["spec.updateStrategy.rollingUpdate: Invalid value"],
        );
        check(
            |spec| spec["ordinals"] = json!({"start": -1}),
            &["spec.ordinals.start: Invalid value: -1"],
        );
    }
}
