//! Pods that use claims: they choose the node, and they hold what they use.

use pintle_sdk::prelude::*;
use serde::Deserialize;

use crate::claim;

/// What matters here of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    metadata: ObjectMeta,
    spec: UserSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UserSpec {
    node_name: Option<String>,
    volumes: Option<Vec<UserVolume>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UserVolume {
    name: String,
    persistent_volume_claim: Option<Source>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    claim_name: String,
}

const FIELDS: &[&str] = &["metadata.name", "spec.nodeName", "spec.volumes"];

impl User {
    fn claims(&self) -> impl Iterator<Item = String> {
        self.spec.volumes.iter().flatten().filter_map(|volume| {
            match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(source), _) => Some(source.claim_name.clone()),
                // A claim of the pod's own.
                (None, Some(_)) => Some(format!("{}-{}", self.metadata.name, volume.name)),
                (None, None) => None,
            }
        })
    }

    fn node(&self) -> Option<&str> {
        self.spec.node_name.as_deref().filter(|name| !name.is_empty())
    }
}

/// What a pod's coming, moving or going means for claims.
pub fn plan(lister: &dyn Lister, namespace: &str, name: &str) -> Result<Outcome, Error> {
    let pod = lister.get_fields(&POD.named(namespace, name), FIELDS);
    let Some(pod) = pod else {
        return released(lister, namespace);
    };
    let pod: User = pod.parse()?;
    let mut outcome = Outcome::done();
    for claim in pod.claims() {
        if let Some(claim) = lister.read::<PersistentVolumeClaim>(namespace, &claim)? {
            outcome.extend(claim::plan(lister, &claim, pod.node())?.actions);
        }
    }
    Ok(outcome)
}

/// The pod is gone, and what it used with it: looks after claims that wait to go.
fn released(lister: &dyn Lister, namespace: &str) -> Result<Outcome, Error> {
    let mut outcome = Outcome::done();
    let query = Query::of(PERSISTENT_VOLUME_CLAIM).namespace(namespace);
    for claim in lister.read_all::<PersistentVolumeClaim>(query)? {
        if claim.metadata.is_being_deleted() {
            outcome.extend(claim::plan(lister, &claim, None)?.actions);
        }
    }
    Ok(outcome)
}

/// The nodes of the pods that use a claim; pods without a node do not count.
pub fn nodes_of_users(
    lister: &dyn Lister,
    claim: &Typed<PersistentVolumeClaim>,
) -> Result<Vec<String>, Error> {
    let query = Query::of(POD).namespace(claim.reference.namespace.as_str());
    let mut nodes = Vec::new();
    for pod in lister.list_fields(&query, FIELDS) {
        let pod: User = pod.parse()?;
        if let Some(node) = pod.node()
            && pod.claims().any(|name| name == claim.reference.name)
        {
            nodes.push(node.to_owned());
        }
    }
    Ok(nodes)
}
