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
use pintle_sdk::refusal::REFUSAL;
use pintle_sdk::remembered::Remembered;
use pintle_sdk::{lister, workload};

/// Whose pod it was made to be; stays when its owner leaves it behind.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";

#[derive(Default)]
pub struct Plugin {
    pods: Remembered<Typed<Pod>>,
}

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin::default())
    }

    fn describe(&self) -> Description {
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
                .needs(EVENT, &["create"], "says what it did and how the job ended")
                .needs(REFUSAL, &["get"], "why pods could not be made"),
        )
        .watch(Watch::of(JOB).when_changed(&[
            "spec",
            "metadata.deletionTimestamp",
            "status.uncountedTerminatedPods",
            "status.completedIndexes",
        ]))
        .watch_pods_of(JOB, "spec.selector", &["metadata.finalizers"])
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let job = request.read::<Job>(lister)?;
        let mut outcome = Outcome::done();
        release_orphans(lister, request, job.as_ref(), &mut outcome)?;
        let Some(job) = job else { return Ok(outcome) };
        if job.spec.selector.is_empty() || is_managed_elsewhere(lister, request) {
            return Ok(outcome);
        }
        let pods = workload::candidates(&self.pods, lister, &job, &job.spec.selector)?;
        let refusal = request.refusal(lister);
        let refused = refusal.is_some();
        if let Some(message) = refusal {
            let note = format!("Error creating: {message}");
            outcome.push(Event::warning(&job, "FailedCreate", note).action("Create"));
        }
        plan::plan(context, lister, &job, pods, refused, outcome)
    }
}

/// `spec.managedBy` names another controller (KEP-4368).
fn is_managed_elsewhere(lister: &dyn Lister, request: &Request) -> bool {
    let whole = lister.get(&request.reference).and_then(|object| object.parse().ok());
    let whole: serde_json::Value = whole.unwrap_or_default();
    let manager = whole["spec"]["managedBy"].as_str();
    manager.is_some_and(|manager| manager != "kubernetes.io/job-controller")
}

/// Pods of a job that is gone need not wait to be counted, whether or not another
/// of the same name has come; nor do those that it left behind without an owner.
fn release_orphans(
    lister: &dyn Lister,
    request: &Request,
    job: Option<&Typed<Job>>,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let reference = &request.reference;
    let is_of_another = |owner: &OwnerReference| {
        owner.kind == "Job"
            && owner.name == reference.name
            && job.is_none_or(|job| job.uid != owner.uid)
    };
    let is_orphan = |pod: &Typed<Pod>| match pod.metadata.controller() {
        Some(owner) => is_of_another(owner),
        None => job.is_none_or(|job| {
            let made_for = pod.metadata.labels.get(CONTROLLER_UID);
            made_for.is_some_and(|uid| **uid != *job.uid)
        }),
    };
    let named = Query::of(POD)
        .namespace(&reference.namespace)
        .labels(format!("batch.kubernetes.io/job-name={}", reference.name));
    // Mostly all of them are the job's own, which takes no names to see.
    if let Some(job) = job
        && lister.count(&named) == lister.count(&named.clone().owned_by(&*job.uid))
    {
        return Ok(());
    }
    let pods: Vec<Typed<Pod>> = lister.read_all(named.fields(lister::METADATA))?;
    for pod in &pods {
        if tally::is_tracked(pod) && is_orphan(pod) {
            outcome.push(tally::untrack(pod));
        }
    }
    Ok(())
}

pintle_sdk::export_controller!(Plugin);
