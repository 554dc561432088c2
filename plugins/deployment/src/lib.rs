//! Rolls a Deployment out over ReplicaSets.
//!
//! Watches Deployments, their ReplicaSets, and the end of pods (a `Recreate`
//! rollout waits for it). Creates one ReplicaSet per pod template, scales old
//! and new ones within `maxSurge` and `maxUnavailable`, keeps revisions and
//! history, and reports progress. Rolling back is nothing special: a template
//! that an old ReplicaSet already has makes that one the new one again.
//!
//! Config: none.
//!
//! Does not know: pods (but for `Recreate`), nodes, or how a ReplicaSet keeps
//! its count. Read first: [`plan::plan`]; the arithmetic is in [`rolling`] and
//! [`proportion`].

pub mod plan;
pub mod proportion;
pub mod rolling;
pub mod sets;
pub mod status;
pub mod template;

use pintle_sdk::prelude::*;

#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

pub struct Plugin;

impl Controller for Plugin {
    type Config = Config;

    fn new(_: Config) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        Description::new(
            Manifest::new("deployment", env!("CARGO_PKG_VERSION"))
                .needs(
                    DEPLOYMENT,
                    &["get", "list", "watch", "patch", "patch/status"],
                    "reads what is wanted, notes the revision, reports progress",
                )
                .needs(
                    REPLICA_SET,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "one per pod template; scales them, trims the history",
                )
                .needs(
                    POD,
                    &["get", "list", "watch"],
                    "a Recreate rollout waits until old pods are gone",
                )
                .needs(EVENT, &["create"], "says what it scaled"),
        )
        .watch(Watch::of(DEPLOYMENT).when_changed(&[
            "spec",
            "metadata.deletionTimestamp",
            "metadata.labels",
            "metadata.annotations",
            "status.collisionCount",
        ]))
        .watch(Watch::of(REPLICA_SET).enqueue(Enqueue::ControllerOwner(DEPLOYMENT)))
        .watch(
            Watch::of(REPLICA_SET)
                .on(Change::ADDED.or(Change::MODIFIED))
                .when_changed(&["metadata.labels", "metadata.ownerReferences"])
                .enqueue(Enqueue::SelectedBy(DEPLOYMENT, "spec.selector".to_owned())),
        )
        .watch(
            Watch::of(POD)
                .on(Change::DELETED.or(Change::MODIFIED))
                .when_changed(&["status.phase"])
                .enqueue(Enqueue::SelectedBy(DEPLOYMENT, "spec.selector".to_owned())),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let reference = &request.reference;
        let Some(deployment) = lister.read::<Deployment>(&reference.namespace, &reference.name)?
        else {
            return Ok(Outcome::done()); // its ReplicaSets are the garbage collector's
        };
        let mut outcome = Outcome::done();
        if deployment.spec.selector.is_empty() {
            outcome.push(
                Event::warning(
                    &deployment,
                    "SelectingAll",
                    "This deployment is selecting all pods. A non-empty selector is required.",
                )
                .action("Reconcile"),
            );
            return Ok(outcome);
        }
        let sets = sets::claim(lister, &deployment, &mut outcome)?;
        plan::plan(context, lister, &deployment, sets, &mut outcome)?;
        Ok(outcome)
    }
}

pintle_sdk::export_controller!(Plugin);
