//! The volume with a pod's token, and its mounts.

use pintle_sdk::names::Random;
use pintle_sdk::serde_json::{Value, json};

use crate::{Container, Spec};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PREFIX: &str = "kube-api-access-";
/// An hour and a little: nodes renew it well before.
const TOKEN_SECONDS: u32 = 3607;

/// The operations that add volume and mounts to every container that has
/// nothing else at the path.
pub fn mounts(spec: &Spec, seed: u64) -> Vec<Value> {
    let is_at_path = |container: &Container| {
        container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == MOUNT_PATH)
    };
    let mut operations = Vec::new();
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let known = volumes.iter().find(|volume| volume.name.starts_with(PREFIX));
    let name = known.map_or_else(|| Random::new(seed).name(PREFIX), |volume| volume.name.clone());
    let mount = json!({"name": name, "mountPath": MOUNT_PATH, "readOnly": true});
    for (field, containers) in
        [("initContainers", &spec.init_containers), ("containers", &spec.containers)]
    {
        for (index, container) in containers.iter().flatten().enumerate() {
            if is_at_path(container) {
                continue;
            }
            let path = format!("/spec/{field}/{index}/volumeMounts");
            operations.push(match container.volume_mounts {
                Some(_) => json!({"op": "add", "path": format!("{path}/-"), "value": mount}),
                None => json!({"op": "add", "path": path, "value": [mount]}),
            });
        }
    }
    if operations.is_empty() || known.is_some() {
        return operations;
    }
    let volume = volume(&name);
    operations.push(match spec.volumes {
        Some(_) => json!({"op": "add", "path": "/spec/volumes/-", "value": volume}),
        None => json!({"op": "add", "path": "/spec/volumes", "value": [volume]}),
    });
    operations
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}
