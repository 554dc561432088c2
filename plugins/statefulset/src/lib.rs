//! Keeps the numbered pods of a StatefulSet and their volume claims.
//!
//! Watches StatefulSets, Pods through their controlling owner and through the
//! selector, and the claims that it labels. Pods come up one after the other and
//! go the other way round (`OrderedReady`), or all at once (`Parallel`); a
//! changed template reaches them from the highest number down, as far as
//! `partition` says. Claims outlive their pods unless the retention policy says
//! otherwise.
//!
//! No configuration.
//!
//! Does not know: how volumes are made, nodes, or who owns the set. Read first:
//! [`plan::plan`].

pub mod claims;
pub mod identity;
pub mod plan;
pub mod rolling;
pub mod status;

use pintle_sdk::prelude::*;
use pintle_sdk::refusal::REFUSAL;
use pintle_sdk::remembered::Remembered;
use pintle_sdk::workload;

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
            Manifest::new("statefulset", env!("CARGO_PKG_VERSION"))
                .needs(
                    STATEFUL_SET,
                    &["get", "list", "watch", "patch/status"],
                    "reads what is wanted, reports what is there",
                )
                .needs(
                    POD,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "creates, adopts, repairs and deletes the set's pods",
                )
                .needs(
                    PERSISTENT_VOLUME_CLAIM,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "each pod's claims, made from the set's templates",
                )
                .needs(
                    CONTROLLER_REVISION,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "the templates that the set had",
                )
                .needs(EVENT, &["create"], "says which pods and claims it made and deleted")
                .needs(REFUSAL, &["get"], "why pods could not be made"),
        )
        .watch(Watch::of(STATEFUL_SET).when_changed(&["spec", "metadata.deletionTimestamp"]))
        .watch_pods_of(STATEFUL_SET, "spec.selector", &[])
        .watch(
            Watch::of(PERSISTENT_VOLUME_CLAIM)
                .on(Change::DELETED)
                .enqueue(Enqueue::SelectedBy(STATEFUL_SET, "spec.selector".to_owned())),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let Some(object) = lister.get(&request.reference) else { return Ok(Outcome::done()) };
        let templates = claims::templates(&object)?;
        let set = Typed::<StatefulSet>::try_from(object)?;
        if set.spec.selector.is_empty() {
            return Ok(Outcome::done()); // would select every pod; never valid
        }
        let pods = workload::candidates(&self.pods, lister, &set, &set.spec.selector)?;
        let refusal = request.refusal(lister);
        plan::plan(context, lister, &set, &templates, pods, refusal)
    }
}

pintle_sdk::export_controller!(Plugin);
