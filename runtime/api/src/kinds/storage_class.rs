//! `StorageClass` and `CSINode`: kinds of storage, and where drivers for it run.

use serde_json::Value;

use super::json::{age_cell, bool_at, default_str, items, name_cell, str_at, value_at};
use super::validation::Check;
use super::{Column, Hooks, Resource, Scope};
use crate::status::FieldError;

const GROUP: &str = "storage.k8s.io";
const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

pub(super) const CLASS_ROW: Resource = Resource {
    group: GROUP,
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    scope: Scope::Cluster,
    columns: &[
        Column::NAME,
        Column::string("Provisioner").help("provisioner indicates the type of the provisioner."),
        Column::string("ReclaimPolicy").help("reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class."),
        Column::string("VolumeBindingMode").help("volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound."),
        Column::string("AllowVolumeExpansion").help("allowVolumeExpansion shows whether the storage class allow volume expand."),
        Column::AGE,
    ],
    schema: "storage.v1.StorageClass",
    hooks: Hooks { cells, default, validate, ..Hooks::PLAIN },
    ..Resource::BASE
};

pub(super) const NODE_ROW: Resource = Resource {
    group: GROUP,
    kind: "CSINode",
    plural: "csinodes",
    singular: "csinode",
    scope: Scope::Cluster,
    columns: &[
        Column::NAME,
        Column::integer("Drivers")
            .help("Drivers indicates the number of CSI drivers registered on the node"),
        Column::AGE,
    ],
    schema: "storage.v1.CSINode",
    hooks: Hooks {
        cells: |object, now| {
            let drivers = items(object, &["spec", "drivers"]).len();
            vec![name_cell(object), drivers.into(), age_cell(object, now)]
        },
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let annotations = value_at(object, &["metadata", "annotations"]);
    let is_default =
        DEFAULT_CLASS.iter().any(|key| annotations.get(key).is_some_and(|v| v == "true"));
    let name = str_at(object, &["metadata", "name"]);
    let name = if is_default { format!("{name} (default)").into() } else { name_cell(object) };
    vec![
        name,
        str_at(object, &["provisioner"]).into(),
        str_at(object, &["reclaimPolicy"]).into(),
        str_at(object, &["volumeBindingMode"]).into(),
        bool_at(object, &["allowVolumeExpansion"]).into(),
        age_cell(object, now_ms),
    ]
}

fn default(object: &mut Value) {
    default_str(object, "reclaimPolicy", "Delete");
    default_str(object, "volumeBindingMode", "Immediate");
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "");
    if str_at(object, &["provisioner"]).is_empty() {
        check.required("provisioner", "");
    }
    check.one_of(object, "reclaimPolicy", &["Delete", "Retain"]);
    check.one_of(object, "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]);
    if let Some(old) = old {
        for field in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
            check.immutable(object, old, field);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_default_class_says_so() {
        let mut class = json!({"metadata": {"name": "fast", "annotations": {DEFAULT_CLASS[0]: "true"}},
            "provisioner": "example.com/disk"});
        default(&mut class);
        assert!(validate(&class, None).is_empty());
        assert_eq!(cells(&class, 0)[0], "fast (default)");
        let mut other = class.clone();
        other["provisioner"] = "example.com/tape".into();
        assert!(validate(&other, Some(&class))[0].to_string().ends_with("field is immutable"));
    }
}
