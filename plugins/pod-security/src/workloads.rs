//! What makes pods, and where it says of which kind.

use pintle_sdk::prelude::{
    CRON_JOB, DAEMON_SET, DEPLOYMENT, JOB, KindRef, REPLICA_SET, STATEFUL_SET,
};
use serde::Deserialize;

use crate::fields::Template;

const REPLICATION_CONTROLLER: KindRef = KindRef::new("", "v1", "ReplicationController");
pub const POD_TEMPLATE: KindRef = KindRef::new("", "v1", "PodTemplate");

pub const KINDS: &[KindRef] = &[
    DEPLOYMENT,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    STATEFUL_SET,
    DAEMON_SET,
    JOB,
    CRON_JOB,
    POD_TEMPLATE,
];

#[derive(Deserialize, Default)]
#[serde(default)]
struct Templated {
    template: Option<Template>,
    spec: Option<Inner>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Inner {
    template: Option<Template>,
    job_template: Option<Box<Templated>>,
}

/// The pod, or the template that pods are made of.
pub fn template(kind: &KindRef, json: &[u8]) -> Result<Option<Template>, serde_json::Error> {
    if kind.kind == "Pod" {
        return pintle_sdk::reading::parse(json).map(Some);
    }
    let object: Templated = pintle_sdk::reading::parse(json)?;
    let inner = object.spec.unwrap_or_default();
    let of_job = inner.job_template.and_then(|job| job.spec.and_then(|spec| spec.template));
    Ok(object.template.or(inner.template).or(of_job))
}
