//! Keeps the number of pods that a ReplicationController asks for: the workload
//! from before ReplicaSets, with a plain map of labels as its selector.
//!
//! Watches ReplicationControllers, and Pods through their controlling owner and
//! through the selector. Creates and deletes at most [`Config::burst_replicas`]
//! pods at a time; writes `status`.
//!
//! Config (all optional): `burstReplicas` (500).
//!
//! Does not know: rollouts, nodes, or ReplicaSets. What it has in common with
//! them is `pintle_sdk::replicas`.

pub mod status;

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::prelude::*;
use pintle_sdk::refusal::REFUSAL;
use pintle_sdk::remembered::Remembered;
use pintle_sdk::{replicas, workload};
use serde_json::Value;

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

pub const REPLICATION_CONTROLLER: KindRef = KindRef::new("", "v1", "ReplicationController");

/// What is read of one.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct ReplicationController {
    pub metadata: ObjectMeta,
    pub spec: Spec,
    pub status: status::Status,
}
pintle_sdk::resource!(ReplicationController, REPLICATION_CONTROLLER);

#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub replicas: Option<i64>,
    pub min_ready_seconds: Option<i64>,
    pub selector: Option<BTreeMap<String, String>>,
    pub template: Value,
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
            Manifest::new("replicationcontroller", env!("CARGO_PKG_VERSION"))
                .needs(
                    REPLICATION_CONTROLLER,
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
        .watch(
            Watch::of(REPLICATION_CONTROLLER).when_changed(&["spec", "metadata.deletionTimestamp"]),
        )
        .watch_pods_of(REPLICATION_CONTROLLER, "spec.selector", &[])
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let Some(controller) = request.read::<ReplicationController>(lister)? else {
            return Ok(outcome);
        };
        let labels = controller.spec.selector.clone().unwrap_or_default();
        if labels.is_empty() {
            return Ok(outcome); // would select every pod; never valid
        }
        let selector = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
        let going = controller.metadata.is_being_deleted();
        let pods = workload::candidates(&self.pods, lister, &controller, &selector)?;
        let own =
            workload::claim(&controller, &selector, going, pods, Pod::is_active, &mut outcome);
        let active: Vec<&Typed<Pod>> = own.iter().filter(|pod| pod.is_active()).collect();
        let wanted = usize::try_from(controller.spec.replicas.unwrap_or(1)).unwrap_or(0);
        let failure = replicas::failure(active.len(), wanted, request.refusal(lister));
        let failure = failure.filter(|_| !going);
        if let Some(failure) = &failure {
            outcome.push(failure.event(&controller));
        }
        status::report(context, &controller, &active, failure.as_ref(), &mut outcome);
        if going {
            return Ok(outcome);
        }
        let uid = BTreeSet::from([controller.uid.clone()]);
        let namespace = &controller.reference.namespace;
        replicas::bring_to(
            context,
            &controller,
            &controller.spec.template,
            wanted,
            self.config.burst_replicas,
            &active,
            &own,
            &|| replicas::pods_per_node(lister, namespace, &uid),
            &mut outcome,
        )?;
        Ok(outcome)
    }
}

pintle_sdk::export_controller!(Plugin);
