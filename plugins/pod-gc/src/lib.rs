//! Deletes pods that nobody else will.
//!
//! - Pods bound to a node that does not exist: their agent is gone with it. They
//!   are failed first, so that their owners count them.
//! - Pods that are to be deleted and were never bound: no agent will end them.
//! - Pods on a node that is marked out of service and not ready, once they are to
//!   be deleted.
//! - Finished pods beyond a number in all, oldest first.
//!
//! Watches Pods and Nodes. Config (all optional): `terminatedPodThreshold`
//! (12500; 0 keeps all), `nodeGoneSeconds` (40): how long a node must be missing.
//!
//! Does not know: owners, evictions. Read first: [`Plugin::reconcile`].

use pintle_sdk::conditions;
use pintle_sdk::prelude::*;
use serde_json::json;

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Finished pods that may lie about in the whole cluster; 0 keeps all.
    pub terminated_pod_threshold: u32,
    /// How long a pod's node must be missing: it may be about to register again.
    pub node_gone_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { terminated_pod_threshold: 12_500, node_gone_seconds: 40 }
    }
}

pub struct Plugin {
    config: Config,
}

/// Pods that have the field, when something about their end changes.
fn bound_or_ending(field: &str) -> Watch {
    Watch::of(POD).on(Change::ADDED.or(Change::MODIFIED)).having(field).when_changed(&[
        "spec.nodeName",
        "status.phase",
        "metadata.deletionTimestamp",
    ])
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Plugin { config })
    }

    fn describe(&self) -> Description {
        Description::new(
            Manifest::new("pod-gc", env!("CARGO_PKG_VERSION"))
                .needs(
                    POD,
                    &["get", "list", "watch", "delete", "patch/status"],
                    "fails and deletes pods that nobody else ends",
                )
                .needs(NODE, &["get", "list", "watch"], "whether a pod's node is there"),
        )
        // A pod that waits for its node is nothing to look at: most are new ones.
        .watch(bound_or_ending("spec.nodeName"))
        .watch(bound_or_ending("metadata.deletionTimestamp"))
        .watch(Watch::of(POD).on(Change::MODIFIED).when_changed(&["status.phase"]))
        .watch(
            Watch::of(NODE)
                .on(Change::DELETED.or(Change::MODIFIED))
                .when_changed(&["spec.taints", "status.conditions"])
                .enqueue(Enqueue::Itself),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        if request.reference.kind == NODE {
            let on_node = Query::any_kind().field("spec.nodeName", request.reference.name.as_str());
            for pod in lister.read_all::<Pod>(on_node)? {
                self.look_at(context, lister, &pod, &mut outcome)?;
            }
        } else if let Some(pod) = request.read::<Pod>(lister)? {
            self.look_at(context, lister, &pod, &mut outcome)?;
            if pod.is_finished() {
                self.thin_out(lister, &mut outcome)?;
            }
        }
        Ok(outcome)
    }
}

impl Plugin {
    fn look_at(
        &self,
        context: &Context,
        lister: &dyn Lister,
        pod: &Typed<Pod>,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let ending = pod.metadata.is_being_deleted();
        if ending && pod.metadata.deletion_grace_period_seconds == Some(0) {
            // It waits for its finalizers alone.
            return Ok(());
        }
        if pod.spec.node_name.is_empty() {
            if ending {
                outcome.push(Delete::this(pod).grace(0));
            }
            return Ok(());
        }
        if !ending {
            // Of a pod that stays it only matters whether its node is there.
            let node = Query::of(NODE).field("metadata.name", &*pod.spec.node_name);
            if lister.count(&node) == 0 {
                self.node_is_gone(context, pod, outcome);
            }
            return Ok(());
        }
        match lister.read::<Node>("", &pod.spec.node_name)? {
            None => self.node_is_gone(context, pod, outcome),
            Some(node) => {
                let out = node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE);
                if out && !node.is_ready() {
                    let why = "PodGC: node is out-of-service";
                    fail(context, pod, why, outcome);
                    outcome.push(Delete::this(pod).grace(0));
                }
            }
        }
        Ok(())
    }

    fn node_is_gone(&self, context: &Context, pod: &Typed<Pod>, outcome: &mut Outcome) {
        // The moment at which it went is not known: what is, is that the pod was
        // made, and bound, before.
        let age = context.since(pod.metadata.creation_timestamp.as_deref()).unwrap_or(i64::MAX);
        let quarantine = i64::try_from(self.config.node_gone_seconds).unwrap_or(i64::MAX);
        let wait = quarantine.saturating_mul(1000).saturating_sub(age);
        if wait > 0 {
            return outcome.requeue_after(wait.unsigned_abs());
        }
        fail(context, pod, "PodGC: node no longer exists", outcome);
        outcome.push(Delete::this(pod).grace(0));
    }

    /// Deletes the oldest finished pods beyond the threshold.
    fn thin_out(&self, lister: &dyn Lister, outcome: &mut Outcome) -> Result<(), Error> {
        let threshold = self.config.terminated_pod_threshold;
        if threshold == 0 {
            return Ok(());
        }
        let of_phase = |phase: &str| Query::of(POD).field("status.phase", phase);
        let count: u32 = ["Succeeded", "Failed"]
            .iter()
            .map(|phase| lister.count(&of_phase(phase)))
            .fold(0, u32::saturating_add);
        if count <= threshold {
            return Ok(());
        }
        let mut finished = Vec::new();
        for phase in ["Succeeded", "Failed"] {
            let fields =
                &["metadata.name", "metadata.creationTimestamp", "metadata.deletionTimestamp"];
            finished.extend(lister.read_all::<Pod>(of_phase(phase).fields(fields))?);
        }
        finished.retain(|pod| !pod.metadata.is_being_deleted());
        finished.sort_by(|a, b| {
            let key = |pod: &Typed<Pod>| {
                (pod.metadata.creation_timestamp.clone(), pod.reference.name.clone())
            };
            key(a).cmp(&key(b))
        });
        let excess = finished.len().saturating_sub(threshold as usize);
        for pod in &finished[..excess] {
            outcome.push(Delete::this(pod).grace(0));
        }
        Ok(())
    }
}

/// A pod that nobody can report on any more has failed; owners that count
/// failures see why.
fn fail(context: &Context, pod: &Typed<Pod>, why: &str, outcome: &mut Outcome) {
    if pod.is_finished() {
        return;
    }
    let mut list = pod.status.conditions.clone();
    let disrupted = Condition::new("DisruptionTarget", "True", "DeletionByPodGC", why);
    conditions::set(&mut list, disrupted, &context.now());
    outcome.push(Patch::status_of(pod, &json!({"phase": "Failed", "conditions": list})));
}

pintle_sdk::export_controller!(Plugin);
