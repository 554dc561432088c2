//! How many pods there should be: what the pods' controllers want, each once.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::prelude::*;
use serde_json::Value;

pub const REPLICATION_CONTROLLER: KindRef = KindRef::new("", "v1", "ReplicationController");

/// Why it cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(pub String);

/// The sum over the controllers of these pods.
pub fn of_controllers(lister: &dyn Lister, pods: &[Typed<Pod>]) -> Result<i64, Unknown> {
    let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
    // What scales a pod is mostly the owner of its owner; most pods share both.
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for pod in pods {
        let Some(owner) = pod.metadata.controller() else {
            return Err(Unknown(format!("found no controllers for pod {:?}", pod.reference.name)));
        };
        if !known.insert(&owner.uid) {
            continue;
        }
        let (uid, replicas) =
            scale_of(lister, &pod.reference.namespace, owner).ok_or_else(|| {
                Unknown(format!(
                    "{}.{} does not implement the scale subresource",
                    owner.kind.to_lowercase(),
                    owner.api_version
                ))
            })?;
        wanted.insert(uid, replicas);
    }
    Ok(wanted.values().sum())
}

/// The controller that has the last word on the number, and the number: a
/// ReplicaSet's Deployment, when it has one.
fn scale_of(lister: &dyn Lister, namespace: &str, owner: &OwnerReference) -> Option<(String, i64)> {
    let kind = KindRef::parse(&owner.api_version, &owner.kind);
    let known = [REPLICA_SET, STATEFUL_SET, DEPLOYMENT, REPLICATION_CONTROLLER];
    if !known.contains(&kind) {
        return None;
    }
    let object = lister.get(&kind.named(namespace, owner.name.as_str()))?;
    if object.uid != owner.uid {
        return None;
    }
    let whole: Value = object.parse().ok()?;
    if kind == REPLICA_SET {
        let metadata: ObjectMeta = serde_json::from_value(whole["metadata"].clone()).ok()?;
        if let Some(above) = metadata.controller()
            && KindRef::parse(&above.api_version, &above.kind) == DEPLOYMENT
        {
            return scale_of(lister, namespace, above);
        }
    }
    Some((object.uid, whole["spec"]["replicas"].as_i64().unwrap_or(1)))
}
