//! Notices nodes that went silent, taints them and evicts their pods.
//!
//! A node whose lease and status are older than the grace period becomes
//! `Ready: Unknown`. A node that is not ready gets the taints of
//! `node.kubernetes.io/not-ready` or `/unreachable`, others by their conditions;
//! they go when the reason goes. Pods that do not tolerate a `NoExecute` taint
//! are deleted, after `tolerationSeconds` if they tolerate it for a while. Pods
//! of a node that no longer exists are deleted at once.
//!
//! Watches Nodes, and Pods that are created for a node. Lease renewals are not
//! watched: each node is looked at again when its grace period would end.
//!
//! Config (all optional): `nodeMonitorGracePeriodSeconds` (40),
//! `nodeStartupGracePeriodSeconds` (60).
//!
//! Does not know: how a node renews its lease, or what runs a pod. Read first:
//! [`health::assess`], then [`evict::plan`].

pub mod evict;
pub mod health;
pub mod taints;

use pintle_sdk::prelude::*;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Silence after which a node counts as unreachable.
    pub node_monitor_grace_period_seconds: u32,
    /// The same for a node that never said anything.
    pub node_startup_grace_period_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { node_monitor_grace_period_seconds: 40, node_startup_grace_period_seconds: 60 }
    }
}

pub struct Plugin {
    config: Config,
}

const LEASE_NAMESPACE: &str = "kube-node-lease";

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        match config.node_monitor_grace_period_seconds {
            0 => Err("spec.config.nodeMonitorGracePeriodSeconds: must be at least 1".to_owned()),
            _ => Ok(Plugin { config }),
        }
    }

    fn describe(&self) -> Description {
        Description::new(
            Manifest::new("node-lifecycle", env!("CARGO_PKG_VERSION"))
                .needs(
                    NODE,
                    &["get", "list", "watch", "patch", "patch/status"],
                    "marks and taints silent nodes",
                )
                .needs(LEASE, &["get"], "when a node was last heard of")
                .needs(
                    POD,
                    &["get", "list", "watch", "delete", "patch/status"],
                    "evicts pods, marks those of silent nodes as not ready",
                )
                .needs(EVENT, &["create"], "NodeNotReady, TaintManagerEviction"),
        )
        .watch(Watch::of(NODE).when_changed(&[
            "status.conditions",
            "spec.taints",
            "spec.unschedulable",
        ]))
        .watch(
            Watch::of(POD)
                .on(Change::ADDED)
                .having("spec.nodeName")
                .enqueue(Enqueue::NamedBy(NODE, "spec.nodeName".to_owned())),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let name = &request.reference.name;
        let mut outcome = Outcome::done();
        let Some(node) = lister.read::<Node>("", name)? else {
            evict::orphans(&pods_on(lister, name)?, &mut outcome);
            return Ok(outcome);
        };
        if node.metadata.is_being_deleted() {
            return Ok(outcome);
        }
        let lease = lister.read::<Lease>(LEASE_NAMESPACE, name)?;
        let health = health::assess(context, &self.config, &node, lease.as_deref());
        if let Some(wait) = health.look_again_ms {
            outcome.requeue_after(wait);
        }
        if health.silent && health::mark_silent(context, &node, &mut outcome) {
            return Ok(outcome); // the taints follow when this is seen
        }
        if taints::apply(context, &node, &mut outcome) {
            return Ok(outcome); // and the evictions when those are
        }
        let unreachable = health::is_unreachable(&node);
        if unreachable || taints::evicts(&node) {
            let pods = pods_on(lister, name)?;
            if unreachable {
                evict::mark_not_ready(context, &pods, &mut outcome);
            }
            evict::plan(context, &node, &pods, &mut outcome);
        }
        Ok(outcome)
    }
}

fn pods_on(lister: &dyn Lister, node: &str) -> Result<Vec<Typed<Pod>>, Error> {
    lister.read_all::<Pod>(Query::any_kind().field("spec.nodeName", node))
}

pintle_sdk::export_controller!(Plugin);
