//! Volumes and claims.

use pintle_plugins::flow::{Made, Row, Work};
use serde_json::{Value, json};

use crate::objects::*;

pub const ROWS: &[Row] = &[
    Row {
        plugin: "persistent-volume",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let volume = json!({"metadata": {"name": unit}, "spec": {
                    "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                    "storageClassName": unit, "hostPath": {"path": "/nowhere"}}});
                stage.api.create("/api/v1/persistentvolumes", &volume).ok();
                stage.create("v1/persistentvolumeclaims", claim(unit, unit, Value::Null));
            },
            look_at: |stage| stage.path("v1/persistentvolumeclaims"),
            sees: |_, object| {
                let bound = object["status"]["phase"] == "Bound";
                let volume = object["spec"]["volumeName"].as_str()?;
                bound.then(|| (name(object), volume.to_owned()))
            },
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "hostpath-provisioner",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let annotations = json!({
                    "volume.kubernetes.io/storage-provisioner": "pintle.dev/host-path",
                    "volume.kubernetes.io/selected-node": NODE,
                });
                stage.create("v1/persistentvolumeclaims", claim(unit, "standard", annotations));
            },
            look_at: |_| "/api/v1/persistentvolumes".to_owned(),
            sees: |kind, object| {
                let claim = object["spec"]["claimRef"]["name"].as_str()?;
                (kind == "ADDED").then(|| (claim.to_owned(), uid(object)))
            },
            each: 1,
            told: Some(("ProvisioningSucceeded", 1)),
        }),
    },
];

fn claim(name: &str, class: &str, annotations: Value) -> Value {
    json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "1Gi"}}},
    })
}
