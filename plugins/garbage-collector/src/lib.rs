//! Deletes what lost its owner.
//!
//! Background deletion: when an object is gone, its dependents that have no
//! other owner follow. Foreground: an object with the `foregroundDeletion`
//! finalizer goes after the dependents that block it. Orphaning: one with the
//! `orphan` finalizer lets go of its dependents first.
//!
//! Watches every kind: what is deleted, what appears with owner references, what
//! is on its way out, and the owners of what disappears. Needs the grants to
//! read, patch and delete every kind: one that it cannot read looks absent.
//!
//! Config: none.
//!
//! Does not know: any kind. Read first: [`owners::classify`].

pub mod deletion;
pub mod owners;

use pintle_sdk::prelude::*;

#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

pub struct Plugin;

/// Kinds whose objects wait for dependents often: these are looked at again as
/// soon as a dependent disappears.
const OWNERS: [KindRef; 6] = [
    DEPLOYMENT,
    REPLICA_SET,
    KindRef::new("apps", "v1", "StatefulSet"),
    KindRef::new("apps", "v1", "DaemonSet"),
    KindRef::new("batch", "v1", "Job"),
    KindRef::new("batch", "v1", "CronJob"),
];

impl Controller for Plugin {
    type Config = Config;

    fn new(_: Config) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        let manifest = Manifest::new("garbage-collector", env!("CARGO_PKG_VERSION")).needs(
            EVERY_KIND,
            &["get", "list", "watch", "patch", "delete"],
            "follows owner references between all kinds",
        );
        let mut description = Description::new(manifest)
            .watch(Watch::every_kind().on(Change::DELETED))
            .watch(Watch::every_kind().on(Change::ADDED).having("metadata.ownerReferences"))
            .watch(
                // Added: what a host that ended left half deleted.
                Watch::every_kind()
                    .on(Change::ADDED.or(Change::MODIFIED))
                    .having("metadata.deletionTimestamp")
                    .when_changed(&[
                        "metadata.deletionTimestamp",
                        "metadata.finalizers",
                        "metadata.ownerReferences",
                    ]),
            );
        for kind in OWNERS {
            let gone = Watch::every_kind().on(Change::DELETED).having("metadata.ownerReferences");
            description = description.watch(gone.enqueue(Enqueue::ControllerOwner(kind)));
        }
        description
    }

    fn reconcile(
        &self,
        _: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let object = owners::look_at(lister, &request.reference);
        let current = object.filter(|object| request.uid.is_empty() || object.uid == request.uid);
        match current {
            Some(object) => {
                let object = owners::Item::read(object)?;
                if object.metadata.is_being_deleted() {
                    deletion::advance(lister, &object, &mut outcome)?;
                } else {
                    deletion::review(lister, &object, &mut outcome)?;
                }
            }
            None if !request.uid.is_empty() => deletion::after(lister, &request.uid, &mut outcome)?,
            None => {}
        }
        Ok(outcome)
    }
}

pintle_sdk::export_controller!(Plugin);
