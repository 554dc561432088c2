//! Keeps the number of pods that a ReplicaSet asks for.
//!
//! Watches ReplicaSets, and Pods through their controlling owner and through
//! the selector (a pod without owner that matches is adopted, an owned one that
//! matches no longer is released). Creates and deletes at most
//! [`Config::burst_replicas`] pods at a time; writes `status`.
//!
//! Config (all optional): `burstReplicas` (500).
//!
//! Does not know: rollouts (the deployment plugin), nodes, or who owns the
//! ReplicaSet. Read first: [`plan::plan`].

pub mod plan;
pub mod status;

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::prelude::*;
use pintle_sdk::refusal::REFUSAL;
use pintle_sdk::remembered::Remembered;
use pintle_sdk::{replicas, workload};

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Pods created or deleted in one step.
    pub burst_replicas: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { burst_replicas: 500 }
    }
}

pub struct Plugin {
    config: Config,
    pods: Remembered<Typed<Pod>>,
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        if config.burst_replicas == 0 {
            return Err("spec.config.burstReplicas: must be at least 1".to_owned());
        }
        Ok(Plugin { config, pods: Remembered::default() })
    }

    fn describe(&self) -> Description {
        Description::new(
            Manifest::new("replicaset", env!("CARGO_PKG_VERSION"))
                .needs(
                    REPLICA_SET,
                    &["get", "list", "watch", "patch/status"],
                    "reads what is wanted, reports what is there",
                )
                .needs(
                    POD,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "creates, adopts, releases and deletes pods",
                )
                .needs(EVENT, &["create"], "says which pods it created and deleted")
                .needs(REFUSAL, &["get"], "why pods could not be made"),
        )
        .watch(Watch::of(REPLICA_SET).when_changed(&[
            "spec",
            "metadata.deletionTimestamp",
            "metadata.labels",
        ]))
        .watch_pods_of(REPLICA_SET, "spec.selector", &[])
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let reference = &request.reference;
        let Some(set) = lister.read::<ReplicaSet>(&reference.namespace, &reference.name)? else {
            return Ok(Outcome::done()); // its pods are the garbage collector's
        };
        if set.spec.selector.is_empty() {
            return Ok(Outcome::done()); // would select every pod; never valid
        }
        let pods = workload::candidates(&self.pods, lister, &set, &set.spec.selector)?;
        let siblings = || pods_per_node(lister, &set);
        let refusal = request.refusal(lister);
        plan::plan(context, &self.config, &set, pods, refusal, &siblings)
    }
}

/// How many pods of this set and of its siblings (ReplicaSets of the same
/// controller) each node has.
fn pods_per_node(
    lister: &dyn Lister,
    set: &Typed<ReplicaSet>,
) -> Result<BTreeMap<String, usize>, Error> {
    let namespace = &set.reference.namespace;
    let siblings: BTreeSet<String> = match set.metadata.controller() {
        Some(owner) => lister
            .list(&Query::of(REPLICA_SET).namespace(namespace).owned_by(&owner.uid).metadata_only())
            .into_iter()
            .map(|object| object.uid)
            .collect(),
        None => BTreeSet::from([set.uid.clone()]),
    };
    replicas::pods_per_node(lister, namespace, &siblings)
}

pintle_sdk::export_controller!(Plugin);
