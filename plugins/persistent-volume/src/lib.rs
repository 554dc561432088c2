//! Binds PersistentVolumeClaims to PersistentVolumes, protects both while they
//! are in use, and says of volumes without a claim what becomes of them.
//!
//! A binding has two sides and no transaction over them: first the volume names
//! the claim (`spec.claimRef`), then the claim the volume (`spec.volumeName`).
//! Every call takes the next missing step, against the revision that was seen,
//! so it does not matter where the last one was interrupted.
//!
//! A claim whose class waits for the first consumer gets its node
//! (`volume.kubernetes.io/selected-node`) from the first pod that uses it and
//! was given a node. Claims without a class get the default one.
//!
//! Watches claims, volumes, StorageClasses and Pods with volumes. No configuration.
//!
//! Does not know: how volumes are made or their data removed (provisioners do),
//! or how they are mounted (nodes do). Read first: [`seen::Seen`], then [`claim::plan`].

pub mod choice;
pub mod claim;
pub mod keys;
pub mod pods;
pub mod seen;
pub mod volume;

use pintle_sdk::prelude::*;

use crate::seen::{Known, Seen};

#[derive(Default)]
pub struct Plugin {
    known: Known,
}

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin::default())
    }

    fn describe(&self) -> Description {
        Description::new(
            Manifest::new("persistent-volume", env!("CARGO_PKG_VERSION"))
                .needs(
                    PERSISTENT_VOLUME_CLAIM,
                    &["get", "list", "watch", "patch", "patch/status"],
                    "binds claims and holds those in use",
                )
                .needs(
                    PERSISTENT_VOLUME,
                    &["get", "list", "watch", "patch", "patch/status"],
                    "gives volumes to claims, says what state they are in",
                )
                .needs(
                    STORAGE_CLASS,
                    &["get", "list", "watch"],
                    "which class is the default, and when its claims are bound",
                )
                .needs(POD, &["list", "watch"], "which claims are used, and where")
                .needs(NODE, &["get"], "from which node a volume can be reached")
                .needs(EVENT, &["create"], "says why a claim has no volume"),
        )
        .watch(Watch::of(PERSISTENT_VOLUME_CLAIM))
        .watch(Watch::of(PERSISTENT_VOLUME))
        .watch(
            Watch::of(STORAGE_CLASS)
                .on(Change::ADDED.or(Change::MODIFIED))
                .when_changed(&["metadata.annotations", "volumeBindingMode"])
                .enqueue(Enqueue::AllOf(PERSISTENT_VOLUME_CLAIM)),
        )
        .watch(Watch::of(POD).having("spec.volumes").when_changed(&["spec.nodeName"]))
    }

    fn reconcile(
        &self,
        _: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let key = &request.reference;
        let seen = Seen { lister, known: &self.known };
        if key.kind == PERSISTENT_VOLUME_CLAIM {
            return match request.read::<PersistentVolumeClaim>(lister)? {
                Some(claim) => claim::plan(seen, &claim, None),
                None => volume::of_gone_claim(seen, &key.namespace, &key.name),
            };
        }
        if key.kind == PERSISTENT_VOLUME {
            return match request.read::<PersistentVolume>(lister)? {
                Some(volume) => volume::plan(seen, &volume),
                None => claim::of_gone_volume(seen, &key.name),
            };
        }
        pods::plan(seen, &key.namespace, &key.name)
    }
}

pintle_sdk::export_controller!(Plugin);
