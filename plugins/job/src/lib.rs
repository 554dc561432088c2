//! Runs the pods of a Job until enough of them have succeeded.
//!
//! Watches Jobs, and Pods through their controlling owner. Pods carry a
//! finalizer until they have been counted, so that none is lost or counted
//! twice whatever is deleted or restarted meanwhile: first a finished pod's uid
//! is noted in the status, then its finalizer goes, then the counter moves.
//! Knows plain, indexed and work-queue jobs, back-off (per job and per index),
//! deadlines, pod failure and success policies, suspension and replacement
//! policies.
//!
//! No configuration.
//!
//! Does not know: cron, nodes, or when finished jobs are deleted
//! (ttl-after-finished). Read first: [`plan::plan`], then [`tally::Tally`].

pub mod create;
pub mod failure;
pub mod indexes;
pub mod plan;
pub mod success;
pub mod tally;

use pintle_sdk::prelude::*;
use pintle_sdk::workload;

use crate::tally::FINALIZER;

pub struct Plugin;

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        let seen = &[
            "metadata.labels",
            "metadata.ownerReferences",
            "metadata.deletionTimestamp",
            "metadata.finalizers",
            "status.phase",
            "status.conditions",
        ];
        Description::new(
            Manifest::new("job", env!("CARGO_PKG_VERSION"))
                .needs(
                    JOB,
                    &["get", "list", "watch", "patch/status"],
                    "reads what is wanted, reports what has been done",
                )
                .needs(
                    POD,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "creates, counts and deletes the job's pods",
                )
                .needs(EVENT, &["create"], "says what it did and how the job ended"),
        )
        .watch(Watch::of(JOB).when_changed(&[
            "spec",
            "metadata.deletionTimestamp",
            "status.uncountedTerminatedPods",
        ]))
        .watch(Watch::of(POD).when_changed(seen).enqueue(Enqueue::ControllerOwner(JOB)))
        .watch(
            Watch::of(POD)
                .on(Change::ADDED.or(Change::MODIFIED))
                .when_changed(&["metadata.labels", "metadata.ownerReferences"])
                .enqueue(Enqueue::SelectedBy(JOB, "spec.selector.matchLabels".to_owned())),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let Some(job) = request.read::<Job>(lister)? else {
            return orphans(lister, request);
        };
        if job.spec.selector.is_empty() || is_managed_elsewhere(lister, request) {
            return Ok(Outcome::done());
        }
        let pods = workload::candidates(lister, &job, &job.spec.selector)?;
        plan::plan(context, lister, &job, pods)
    }
}

/// `spec.managedBy` names another controller (KEP-4368).
fn is_managed_elsewhere(lister: &dyn Lister, request: &Request) -> bool {
    let whole = lister.get(&request.reference).and_then(|object| object.parse().ok());
    let whole: serde_json::Value = whole.unwrap_or_default();
    let manager = whole["spec"]["managedBy"].as_str();
    manager.is_some_and(|manager| manager != "kubernetes.io/job-controller")
}

/// Pods of a job that is gone need not wait to be counted.
fn orphans(lister: &dyn Lister, request: &Request) -> Result<Outcome, Error> {
    let mut outcome = Outcome::done();
    let reference = &request.reference;
    let mine = |owner: &OwnerReference| owner.kind == "Job" && owner.name == reference.name;
    let pods: Vec<Typed<Pod>> = lister.read_all(
        Query::any_kind()
            .namespace(&reference.namespace)
            .labels(format!("batch.kubernetes.io/job-name={}", reference.name)),
    )?;
    for pod in &pods {
        let waits = pod.metadata.finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        if waits && pod.metadata.controller().is_some_and(mine) {
            outcome.push(tally::untrack(pod));
        }
    }
    Ok(outcome)
}

pintle_sdk::export_controller!(Plugin);
