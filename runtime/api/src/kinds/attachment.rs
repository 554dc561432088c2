//! `VolumeAttachment` and `CSIDriver`: volumes that are tied to a node, and how.

use serde_json::{Value, json};

use super::json::{
    age_cell, bool_at, default_str, default_to, items, name_cell, set, str_at, value_at,
};
use super::validation::Check;
use super::{Column, Hooks, Resource, Scope, Subresource};

const GROUP: &str = "storage.k8s.io";

pub(super) const ATTACHMENT_ROW: Resource = Resource {
    group: GROUP,
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    scope: Scope::Cluster,
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("Attacher").help("The volume driver that must handle this request."),
        Column::string("PV").help("The persistent volume that should be attached."),
        Column::string("Node").help("The node that the volume should be attached to."),
        Column::string("Attached").help("Whether the volume was attached."),
        Column::AGE,
    ],
    schema: "storage.v1.VolumeAttachment",
    hooks: Hooks {
        cells: |object, now| {
            let spec = value_at(object, &["spec"]);
            vec![
                name_cell(object),
                str_at(spec, &["attacher"]).into(),
                str_at(spec, &["source", "persistentVolumeName"]).into(),
                str_at(spec, &["nodeName"]).into(),
                bool_at(object, &["status", "attached"]).to_string().into(),
                age_cell(object, now),
            ]
        },
        validate: |object, old| {
            let mut errors = Vec::new();
            let spec = value_at(object, &["spec"]);
            let mut check = Check::new(&mut errors, "spec");
            for field in ["attacher", "nodeName"] {
                if str_at(spec, &[field]).is_empty() {
                    check.required(field, "");
                }
            }
            if let Some(old) = old {
                for field in ["attacher", "nodeName", "source"] {
                    check.immutable(spec, value_at(old, &["spec"]), field);
                }
            }
            errors
        },
        create: |object| set(object, "status", json!({"attached": false})),
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

pub(super) const DRIVER_ROW: Resource = Resource {
    group: GROUP,
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    scope: Scope::Cluster,
    columns: &[
        Column::NAME,
        Column::string("AttachRequired").help("Whether volumes have to be attached."),
        Column::string("PodInfoOnMount").help("Whether the driver is told about the pod."),
        Column::string("StorageCapacity")
            .help("Whether scheduling looks at the capacity that the driver reports."),
        Column::string("Modes").help("The life cycles of volumes that the driver knows."),
        Column::AGE,
    ],
    schema: "storage.v1.CSIDriver",
    hooks: Hooks { cells: driver_cells, default: default_driver, ..Hooks::PLAIN },
    ..Resource::BASE
};

fn driver_cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let spec = value_at(object, &["spec"]);
    let modes: Vec<&str> =
        items(spec, &["volumeLifecycleModes"]).iter().filter_map(Value::as_str).collect();
    vec![
        name_cell(object),
        bool_at(spec, &["attachRequired"]).into(),
        bool_at(spec, &["podInfoOnMount"]).into(),
        bool_at(spec, &["storageCapacity"]).into(),
        modes.join(",").into(),
        age_cell(object, now_ms),
    ]
}

fn default_driver(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default_to(spec, "attachRequired", true);
    for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        default_to(spec, field, false);
    }
    default_str(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if items(spec, &["volumeLifecycleModes"]).is_empty() {
        set(spec, "volumeLifecycleModes", json!(["Persistent"]));
    }
}
