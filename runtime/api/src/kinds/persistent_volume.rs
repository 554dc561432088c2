//! `PersistentVolume`: a piece of storage in the cluster.

use serde_json::{Value, json};

use super::json::{age_cell, child, default_str, is_set, items, name_cell, set, str_at, value_at};
use super::persistent_volume_claim::{access_modes, short_modes};
use super::validation::Check;
use super::{Column, Hooks, Resource, Scope, Subresource};
use crate::names;
use crate::status::FieldError;

/// Where the bytes are; exactly one of them.
const SOURCES: [&str; 22] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "hostPath",
    "glusterfs",
    "nfs",
    "rbd",
    "iscsi",
    "cinder",
    "cephfs",
    "fc",
    "flocker",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];
const POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];

pub(super) const ROW: Resource = Resource {
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    scope: Scope::Cluster,
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("Capacity").help("capacity is the description of the persistent volume's resources and capacity."),
        Column::string("Access Modes").help("accessModes contains all ways the volume can be mounted."),
        Column::string("Reclaim Policy").help("persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim."),
        Column::string("Status").help("phase indicates if a volume is available, bound to a claim, or released by a claim."),
        Column::string("Claim").help("claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim."),
        Column::string("StorageClass").help("StorageClass of the pv"),
        Column::string("VolumeAttributesClass").help("VolumeAttributesClass of the pv"),
        Column::string("Reason").help("reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI."),
        Column::AGE,
        Column::string("VolumeMode").wide().help("volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state."),
    ],
    schema: "core.v1.PersistentVolume",
    hooks: Hooks {
        cells,
        default,
        validate,
        create: |object| set(object, "status", json!({"phase": "Pending"})),
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let spec = value_at(object, &["spec"]);
    let phase = match str_at(object, &["metadata", "deletionTimestamp"]) {
        "" => str_at(object, &["status", "phase"]),
        _ => "Terminating",
    };
    let claim = match str_at(spec, &["claimRef", "name"]) {
        "" => String::new(),
        name => format!("{}/{name}", str_at(spec, &["claimRef", "namespace"])),
    };
    let unset = |text: &str| -> Value { if text.is_empty() { "<unset>" } else { text }.into() };
    vec![
        name_cell(object),
        str_at(spec, &["capacity", "storage"]).into(),
        short_modes(items(spec, &["accessModes"])).into(),
        str_at(spec, &["persistentVolumeReclaimPolicy"]).into(),
        phase.into(),
        claim.into(),
        str_at(spec, &["storageClassName"]).into(),
        unset(str_at(spec, &["volumeAttributesClassName"])),
        str_at(object, &["status", "reason"]).into(),
        age_cell(object, now_ms),
        unset(str_at(spec, &["volumeMode"])),
    ]
}

fn default(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default_str(spec, "persistentVolumeReclaimPolicy", "Retain");
    default_str(spec, "volumeMode", "Filesystem");
    if is_set(spec, "hostPath")
        && let Some(path) = child(spec, "hostPath")
        && !is_set(path, "type")
    {
        set(path, "type", "");
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    access_modes(spec, &mut check);
    if value_at(spec, &["capacity", "storage"]).is_null() {
        check.required("capacity", "");
    }
    check.quantities(spec, "capacity");
    check.one_of(spec, "persistentVolumeReclaimPolicy", POLICIES);
    check.one_of(spec, "volumeMode", &["Block", "Filesystem"]);
    if !str_at(spec, &["storageClassName"]).is_empty() {
        check.syntax(spec, "storageClassName", names::dns_subdomain);
    }
    source(spec, &mut check);
    if let Some(old) = old {
        let before = value_at(old, &["spec"]);
        if SOURCES.iter().any(|field| value_at(spec, &[field]) != value_at(before, &[field])) {
            check.forbidden(
                "persistentvolumesource",
                "spec.persistentvolumesource is immutable after creation",
            );
        }
        check.immutable(spec, before, "volumeMode");
        let affinity = value_at(before, &["nodeAffinity"]);
        if !affinity.is_null() && value_at(spec, &["nodeAffinity"]) != affinity {
            check.immutable(spec, before, "nodeAffinity");
        }
    }
    errors
}

fn source(spec: &Value, check: &mut Check<'_>) {
    let given: Vec<&str> = SOURCES.into_iter().filter(|field| is_set(spec, field)).collect();
    match given.as_slice() {
        [] => check.required("", "must specify a volume type"),
        [one] => match *one {
            "hostPath" => {
                let path = str_at(spec, &["hostPath", "path"]);
                if path.is_empty() {
                    check.field("hostPath").required("path", "");
                } else if path.split('/').any(|part| part == "..") {
                    check.field("hostPath").invalid("path", path, "must not contain '..'");
                } else if path == "/"
                    && str_at(spec, &["persistentVolumeReclaimPolicy"]) == "Recycle"
                {
                    check.forbidden(
                        "persistentVolumeReclaimPolicy",
                        "may not be 'recycle' for a hostPath mount of '/'",
                    );
                }
            }
            "local" => {
                if str_at(spec, &["local", "path"]).is_empty() {
                    check.field("local").required("path", "");
                }
                if !is_set(spec, "nodeAffinity") {
                    check.required("nodeAffinity", "Local volume requires node affinity");
                }
            }
            "csi" => {
                for field in ["driver", "volumeHandle"] {
                    if str_at(spec, &["csi", field]).is_empty() {
                        check.field("csi").required(field, "");
                    }
                }
            }
            _ => {}
        },
        [_, rest @ ..] => {
            for field in rest {
                check.forbidden(field, "may not specify more than 1 volume type");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;

    #[test]
    fn rules() {
        fn check(change: Value, expect: &[&str]) {
            let mut volume = json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}}});
            for (field, value) in change.as_object().unwrap() {
                volume["spec"][field] = value.clone();
            }
            default(&mut volume);
            expect_errors(&validate(&volume, None), expect);
        }
        check(json!({}), &[]);
        check(json!({"hostPath": null}), &["spec: Required value: must specify a volume type"]);
        check(json!({"nfs": {"server": "s", "path": "/"}}), &["spec.nfs: Forbidden"]);
        check(json!({"hostPath": {"path": "/a/../b"}}), &["spec.hostPath.path: Invalid value"]);
        check(json!({"hostPath": null, "local": {"path": "/x"}}), &["spec.nodeAffinity: Required"]);
        check(
            json!({"persistentVolumeReclaimPolicy": "Burn"}),
            &["spec.persistentVolumeReclaimPolicy: Unsupported"],
        );
    }
}
