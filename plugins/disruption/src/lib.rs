//! Says how many pods of a PodDisruptionBudget may be evicted now.
//!
//! Watches PodDisruptionBudgets, and Pods through the selector. Counts healthy
//! pods against what the budget demands; percentages are of what the pods'
//! controllers want, not of what happens to be there. An eviction that was
//! granted counts until its pod is seen to go.
//!
//! Config (all optional): `deletionTimeoutSeconds` (120): for how long a granted
//! eviction counts although the pod is still there.
//!
//! Does not know: who evicts, or how an eviction is granted (the server does,
//! against this status). Read first: [`plan::plan`].

pub mod expected;
pub mod plan;

use pintle_sdk::prelude::*;
use pintle_sdk::remembered::Remembered;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub deletion_timeout_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { deletion_timeout_seconds: 120 }
    }
}

pub struct Plugin {
    config: Config,
    pods: Remembered<Typed<Pod>>,
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Plugin { config, pods: Remembered::default() })
    }

    fn describe(&self) -> Description {
        let wants = "how many pods it wants";
        Description::new(
            Manifest::new("disruption", env!("CARGO_PKG_VERSION"))
                .needs(
                    POD_DISRUPTION_BUDGET,
                    &["get", "list", "watch", "patch/status"],
                    "reads budgets, says what they allow",
                )
                .needs(POD, &["get", "list", "watch"], "which pods are healthy")
                .needs(DEPLOYMENT, &["get"], wants)
                .needs(REPLICA_SET, &["get"], wants)
                .needs(STATEFUL_SET, &["get"], wants)
                .needs(expected::REPLICATION_CONTROLLER, &["get"], wants)
                .needs(EVENT, &["create"], "says why nothing can be counted"),
        )
        .watch(Watch::of(POD_DISRUPTION_BUDGET).when_changed(&["spec", "status.disruptedPods"]))
        .watch(
            Watch::of(POD)
                .when_changed(&[
                    "metadata.labels",
                    "metadata.deletionTimestamp",
                    "status.phase",
                    "status.conditions",
                ])
                .enqueue(Enqueue::SelectedBy(POD_DISRUPTION_BUDGET, "spec.selector".to_owned())),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        match request.read::<PodDisruptionBudget>(lister)? {
            None => Ok(Outcome::done()),
            Some(budget) => plan::plan(context, &self.config, &self.pods, lister, &budget),
        }
    }
}

pintle_sdk::export_controller!(Plugin);
