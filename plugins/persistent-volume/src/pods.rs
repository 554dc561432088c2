//! Pods that use claims: they choose the node, and they hold what they use.

use pintle_sdk::prelude::*;
use pintle_sdk::remembered::FromObject;
use serde::Deserialize;

use crate::claim;
use crate::seen::Seen;

/// What matters here of a pod.
#[derive(Debug, Clone)]
pub struct User {
    pub node: Option<String>,
    /// Names of claims, in the pod's namespace.
    pub claims: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Fields {
    spec: SpecFields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecFields {
    node_name: Option<String>,
    volumes: Option<Vec<VolumeFields>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeFields {
    name: String,
    persistent_volume_claim: Option<Source>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    claim_name: String,
}

impl User {
    pub const FIELDS: &'static [&'static str] = &["spec.nodeName", "spec.volumes"];

    pub fn uses(&self, claim: &str) -> bool {
        self.claims.iter().any(|name| name == claim)
    }
}

impl FromObject for User {
    fn from_object(object: Object) -> Result<Self, Error> {
        let spec = object.parse::<Fields>()?.spec;
        let pod = &object.reference.name;
        let volumes = spec.volumes.into_iter().flatten();
        let claims = volumes.filter_map(|volume| {
            match (volume.persistent_volume_claim, volume.ephemeral) {
                (Some(source), _) => Some(source.claim_name),
                // A claim of the pod's own.
                (None, Some(_)) => Some(format!("{pod}-{}", volume.name)),
                (None, None) => None,
            }
        });
        Ok(User { claims: claims.collect(), node: spec.node_name.filter(|name| !name.is_empty()) })
    }
}

/// What a pod's coming, moving or going means for claims.
pub fn plan(seen: Seen<'_>, namespace: &str, name: &str) -> Result<Outcome, Error> {
    let pod = seen.lister.get_fields(&POD.named(namespace, name), User::FIELDS);
    let Some(pod) = pod else {
        return released(seen, namespace);
    };
    let pod = User::from_object(pod)?;
    let mut outcome = Outcome::done();
    for claim in &pod.claims {
        if let Some(claim) = seen.lister.read::<PersistentVolumeClaim>(namespace, claim)? {
            outcome.extend(claim::plan(seen, &claim, pod.node.as_deref())?.actions);
        }
    }
    Ok(outcome)
}

/// The pod is gone, and what it used with it: looks after claims that wait to go.
fn released(seen: Seen<'_>, namespace: &str) -> Result<Outcome, Error> {
    let leaving = seen.claims(|claim| {
        claim.reference.namespace == namespace && claim.metadata.is_being_deleted()
    })?;
    let mut outcome = Outcome::done();
    for claim in leaving {
        outcome.extend(claim::plan(seen, &claim, None)?.actions);
    }
    Ok(outcome)
}
