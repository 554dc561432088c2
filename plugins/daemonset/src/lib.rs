//! Keeps one pod of a DaemonSet on every node that fits.
//!
//! Watches DaemonSets, Pods through their controlling owner and through the
//! selector, and Nodes. A pod is made for one node, by required affinity to its
//! name, and is bound by the scheduler like any other. A changed template
//! reaches the nodes a few at a time (`maxUnavailable`, or beside the old pod
//! with `maxSurge`), or when somebody deletes the old pod (`OnDelete`).
//!
//! Config (all optional): `burstReplicas` (250), pods created or deleted in one step.
//!
//! Does not know: how pods are bound, other workloads, or who owns the set. Read
//! first: [`plan::plan`], then [`nodes::Fit`].

pub mod nodes;
pub mod plan;
pub mod pods;
pub mod rolling;
pub mod status;

use pintle_sdk::prelude::*;
use pintle_sdk::refusal::REFUSAL;
use pintle_sdk::remembered::Remembered;
use pintle_sdk::workload;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Pods created or deleted in one step.
    pub burst_replicas: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { burst_replicas: 250 }
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
            Manifest::new("daemonset", env!("CARGO_PKG_VERSION"))
                .needs(
                    DAEMON_SET,
                    &["get", "list", "watch", "patch/status"],
                    "reads what is wanted, reports what is there",
                )
                .needs(
                    POD,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "creates, adopts, releases and deletes the set's pods",
                )
                .needs(NODE, &["get", "list", "watch"], "which nodes fit")
                .needs(
                    CONTROLLER_REVISION,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "the templates that the set had",
                )
                .needs(EVENT, &["create"], "says which pods it created and deleted")
                .needs(REFUSAL, &["get"], "why pods could not be made"),
        )
        .watch(Watch::of(DAEMON_SET).when_changed(&["spec", "metadata.deletionTimestamp"]))
        .watch_pods_of(DAEMON_SET, "spec.selector", &["spec.nodeName"])
        .watch(
            Watch::of(NODE)
                .when_changed(&["metadata.labels", "spec.taints", "spec.unschedulable"])
                .enqueue(Enqueue::AllOf(DAEMON_SET)),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let Some(set) = request.read::<DaemonSet>(lister)? else { return Ok(Outcome::done()) };
        if set.spec.selector.is_empty() {
            return Ok(Outcome::done()); // would select every pod; never valid
        }
        let pods = workload::candidates(&self.pods, lister, &set, &set.spec.selector)?;
        let nodes = lister.read_all::<Node>(Query::any_kind())?;
        let mut outcome = Outcome::done();
        if let Some(message) = request.refusal(lister) {
            let note = format!("Error creating: {message}");
            outcome.push(Event::warning(&set, "FailedCreate", note).action("Create"));
        }
        plan::plan(context, &self.config, lister, &set, pods, &nodes, outcome)
    }
}

pintle_sdk::export_controller!(Plugin);
