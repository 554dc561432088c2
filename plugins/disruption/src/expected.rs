//! How many pods there should be: what the pods' controllers want, each once.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::prelude::*;
use serde_json::Value;

pub const REPLICATION_CONTROLLER: KindRef = KindRef::new("", "v1", "ReplicationController");

const SCALED: [KindRef; 4] = [REPLICA_SET, STATEFUL_SET, DEPLOYMENT, REPLICATION_CONTROLLER];

/// Why it cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(pub String);

/// What the controllers of these pods want together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    pub replicas: i64,
    /// There are pods that no controller wants; they are not counted.
    pub unmanaged: bool,
}

pub fn of_controllers(lister: &dyn Lister, pods: &[Typed<Pod>]) -> Result<Scale, Unknown> {
    let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
    // What scales a pod is mostly the owner of its owner; most pods share both.
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut unmanaged = false;
    for pod in pods {
        let Some(owner) = pod.metadata.controller() else {
            unmanaged = true;
            continue;
        };
        if !known.insert(&owner.uid) {
            continue;
        }
        let kind = KindRef::parse(&owner.api_version, &owner.kind);
        if !SCALED.contains(&kind) {
            let what = format!("{} does not implement the scale subresource", resource(&kind));
            return Err(Unknown(what));
        }
        let (uid, replicas) =
            scale_of(lister, &pod.reference.namespace, &kind, owner).ok_or_else(|| {
                Unknown(format!("found no controllers for pod {:?}", pod.reference.name))
            })?;
        wanted.insert(uid, replicas);
    }
    Ok(Scale { replicas: wanted.values().sum(), unmanaged })
}

/// `daemonsets.apps`.
fn resource(kind: &KindRef) -> String {
    let plural = format!("{}s", kind.kind.to_lowercase());
    if kind.group.is_empty() { plural } else { format!("{plural}.{}", kind.group) }
}

/// The controller that has the last word on the number, and the number: a
/// ReplicaSet's Deployment, when it has one.
fn scale_of(
    lister: &dyn Lister,
    namespace: &str,
    kind: &KindRef,
    owner: &OwnerReference,
) -> Option<(String, i64)> {
    let object = lister.get(&kind.named(namespace, owner.name.as_str()))?;
    if object.uid != owner.uid {
        return None;
    }
    let whole: Value = object.parse().ok()?;
    if *kind == REPLICA_SET {
        let metadata: ObjectMeta = serde_json::from_value(whole["metadata"].clone()).ok()?;
        if let Some(above) = metadata.controller()
            && KindRef::parse(&above.api_version, &above.kind) == DEPLOYMENT
        {
            return scale_of(lister, namespace, &DEPLOYMENT, above);
        }
    }
    Some((object.uid, whole["spec"]["replicas"].as_i64().unwrap_or(1)))
}
