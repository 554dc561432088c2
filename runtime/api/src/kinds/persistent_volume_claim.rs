//! `PersistentVolumeClaim`: a wish for storage that outlives pods.

use serde_json::{Value, json};

use super::json::{age_cell, default_str, is_set, items, name_cell, set, str_at, value_at};
use super::validation::{Check, quantity};
use super::{Column, Hooks, Resource, Subresource};
use crate::names;
use crate::status::FieldError;

pub(super) const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Of the spec, what may change on an existing claim: it is bound once, it may
/// grow, and a class may be given to one that was made without.
const CHANGEABLE: [&str; 4] =
    ["resources", "volumeName", "storageClassName", "volumeAttributesClassName"];

pub(super) const ROW: Resource = Resource {
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("Status")
            .help("phase represents the current phase of PersistentVolumeClaim."),
        Column::string("Volume").help(
            "volumeName is the binding reference to the PersistentVolume backing this claim.",
        ),
        Column::string("Capacity")
            .help("capacity represents the actual resources of the underlying volume."),
        Column::string("Access Modes")
            .help("accessModes contains the desired access modes the volume should have."),
        Column::string("StorageClass").help("StorageClass of the pvc"),
        Column::string("VolumeAttributesClass").help("VolumeAttributesClass of the pvc"),
        Column::AGE,
        Column::string("VolumeMode")
            .wide()
            .help("volumeMode defines what type of volume is required by the claim."),
    ],
    schema: "core.v1.PersistentVolumeClaim",
    hooks: Hooks {
        cells,
        default,
        validate,
        create: |object| set(object, "status", json!({"phase": "Pending"})),
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

/// `RWO,ROX`.
pub(super) fn short_modes(modes: &[Value]) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let found: Vec<&str> = short
        .iter()
        .filter(|(mode, _)| modes.iter().any(|found| found == mode))
        .map(|(_, short)| *short)
        .collect();
    found.join(",")
}

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let spec = value_at(object, &["spec"]);
    let status = value_at(object, &["status"]);
    let phase = match str_at(object, &["metadata", "deletionTimestamp"]) {
        "" => str_at(status, &["phase"]),
        _ => "Terminating",
    };
    let volume = str_at(spec, &["volumeName"]);
    let (capacity, modes) = if volume.is_empty() {
        ("", String::new())
    } else {
        (str_at(status, &["capacity", "storage"]), short_modes(items(status, &["accessModes"])))
    };
    let unset = |text: &str| -> Value { if text.is_empty() { "<unset>" } else { text }.into() };
    vec![
        name_cell(object),
        phase.into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        str_at(spec, &["storageClassName"]).into(),
        unset(str_at(spec, &["volumeAttributesClassName"])),
        age_cell(object, now_ms),
        unset(str_at(spec, &["volumeMode"])),
    ]
}

fn default(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) {
        default_str(spec, "volumeMode", "Filesystem");
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    access_modes(spec, &mut check);
    check.field("selector").label_selector(value_at(spec, &["selector"]));
    check.one_of(spec, "volumeMode", &["Block", "Filesystem"]);
    let storage = value_at(spec, &["resources", "requests", "storage"]);
    let mut requests = check.field("resources");
    requests.quantities(value_at(spec, &["resources"]), "requests");
    match (storage, quantity(storage)) {
        (Value::Null, _) => requests.required("requests[storage]", ""),
        (value, Ok(amount)) if amount.value() <= 0 => {
            requests.invalid("requests[storage]", value.clone(), "must be greater than zero");
        }
        _ => {}
    }
    let class = str_at(spec, &["storageClassName"]);
    if !class.is_empty() {
        check.syntax(spec, "storageClassName", names::dns_subdomain);
    }
    if let Some(old) = old {
        changed(spec, value_at(old, &["spec"]), str_at(old, &["status", "phase"]), &mut check);
    }
    errors
}

pub(super) fn access_modes(spec: &Value, check: &mut Check<'_>) {
    let modes = items(spec, &["accessModes"]);
    if modes.is_empty() {
        check.required("accessModes", "at least 1 access mode is required");
    }
    for (index, mode) in modes.iter().enumerate() {
        let text = mode.as_str().unwrap_or_default();
        if !ACCESS_MODES.contains(&text) {
            check.not_supported(&format!("accessModes[{index}]"), text, ACCESS_MODES);
        }
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        check.forbidden("accessModes", "may not use ReadWriteOncePod with other access modes");
    }
}

fn changed(spec: &Value, before: &Value, phase: &str, check: &mut Check<'_>) {
    let fixed = |spec: &Value| {
        let mut spec = spec.clone();
        if let Some(fields) = spec.as_object_mut() {
            fields.retain(|field, _| !CHANGEABLE.contains(&field.as_str()));
        }
        spec
    };
    let rebound = is_set(before, "volumeName")
        && !str_at(before, &["volumeName"]).is_empty()
        && value_at(spec, &["volumeName"]) != value_at(before, &["volumeName"]);
    let reclassed = is_set(before, "storageClassName")
        && value_at(spec, &["storageClassName"]) != value_at(before, &["storageClassName"]);
    if fixed(spec) != fixed(before) || rebound || reclassed {
        check.forbidden(
            "",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        );
    }
    let storage =
        |spec: &Value| quantity(value_at(spec, &["resources", "requests", "storage"])).ok();
    if let (Some(new), Some(old)) = (storage(spec), storage(before)) {
        if new < old {
            check
                .field("resources")
                .forbidden("requests.storage", "field can not be less than previous value");
        } else if new > old && phase != "Bound" {
            check.forbidden(
                "",
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;

    fn claim(phase: &str) -> Value {
        let mut claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": phase}});
        default(&mut claim);
        claim
    }

    #[test]
    fn rules() {
        fn check(phase: &str, change: impl Fn(&mut Value), expect: &[&str]) {
            let old = claim(phase);
            let mut new = old.clone();
            change(&mut new["spec"]);
            expect_errors(&validate(&new, Some(&old)), expect);
        }
        check("Pending", |_| {}, &[]);
        check("Pending", |spec| spec["volumeName"] = "v".into(), &[]);
        check("Bound", |spec| spec["resources"]["requests"]["storage"] = "2Gi".into(), &[]);
        check(
            "Bound",
            |spec| spec["resources"]["requests"]["storage"] = "1Mi".into(),
            &["spec.resources.requests.storage: Forbidden: field can not be less"],
        );
        check(
            "Pending",
            |spec| spec["resources"]["requests"]["storage"] = "2Gi".into(),
            &["spec: Forbidden"],
        );
        check("Pending", |spec| spec["volumeMode"] = "Block".into(), &["spec: Forbidden"]);
        check(
            "Pending",
            |spec| spec["accessModes"] = json!([]),
            &["spec.accessModes: Required value", "spec: Forbidden"],
        );
    }

    #[test]
    fn printed_row() {
        let mut claim = claim("Bound");
        claim["spec"]["volumeName"] = "v".into();
        claim["status"]["capacity"] = json!({"storage": "1Gi"});
        claim["status"]["accessModes"] = json!(["ReadWriteOnce", "ReadOnlyMany"]);
        assert_eq!(
            cells(&claim, 0)[1..5],
            [json!("Bound"), json!("v"), json!("1Gi"), json!("RWO,ROX")]
        );
    }
}
