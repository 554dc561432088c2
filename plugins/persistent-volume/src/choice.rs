//! Which volume a claim gets: the smallest that satisfies it.

use std::collections::BTreeSet;

use pintle_sdk::placement::Placement;
use pintle_sdk::prelude::*;
use serde_json::json;

use crate::keys;

/// What a claim is measured by.
pub struct Wish<'a> {
    pub claim: &'a Typed<PersistentVolumeClaim>,
    /// From where the volume must be reached, when that is known.
    pub node: Option<&'a Node>,
    /// Only a volume that a person meant for the claim will do for now.
    pub waits: bool,
}

/// Bytes of `storage`.
pub fn storage(amounts: &ResourceList) -> i64 {
    amounts.get("storage").map_or(0, Quantity::value)
}

fn mode(mode: &Option<String>) -> &str {
    mode.as_deref().filter(|mode| !mode.is_empty()).unwrap_or("Filesystem")
}

/// Why a volume that the claim asks for by name cannot serve it.
pub fn mismatch(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<&'static str> {
    if storage(&volume.spec.capacity) < storage(&claim.spec.resources.requests) {
        return Some("requested PV is too small");
    }
    if keys::class_of_volume(volume) != keys::class_of_claim(claim) {
        return Some("storageClassName does not match");
    }
    if mode(&volume.spec.volume_mode) != mode(&claim.spec.volume_mode) {
        return Some("incompatible volumeMode");
    }
    if !has_modes(claim, volume) {
        return Some("incompatible accessMode");
    }
    None
}

fn has_modes(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    claim.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode))
}

/// Can the volume be reached from the node?
pub fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    let Some(required) = volume.spec.node_affinity.as_ref().map(|affinity| &affinity["required"])
    else {
        return true;
    };
    if required.is_null() {
        return true;
    }
    // The same selector that pods have.
    let as_pod = json!({"affinity": {"nodeAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution": required}}});
    Placement::of(&as_pod).admits(node)
}

impl Wish<'_> {
    /// One that was meant for the claim comes before all others; of the others
    /// the smallest, and among equals the first by name.
    pub fn best<'v>(
        &self,
        volumes: impl Iterator<Item = &'v Typed<PersistentVolume>> + Clone,
        taken: &BTreeSet<&str>,
    ) -> Option<&'v Typed<PersistentVolume>> {
        let fit = || {
            volumes.clone().filter(|volume| {
                !taken.contains(volume.reference.name.as_str()) && self.can_have(volume)
            })
        };
        fit().find(|volume| keys::is_meant_for(volume, self.claim)).or_else(|| {
            fit().min_by(|a, b| {
                let size = storage(&a.spec.capacity).cmp(&storage(&b.spec.capacity));
                size.then_with(|| a.reference.name.cmp(&b.reference.name))
            })
        })
    }

    pub fn can_have(&self, volume: &Typed<PersistentVolume>) -> bool {
        let claim = self.claim;
        let large_enough =
            storage(&volume.spec.capacity) >= storage(&claim.spec.resources.requests);
        let usable = large_enough
            && mode(&volume.spec.volume_mode) == mode(&claim.spec.volume_mode)
            && !volume.metadata.is_being_deleted()
            && self.node.is_none_or(|node| reaches(volume, node));
        if !usable || keys::is_meant_for(volume, claim) {
            return usable;
        }
        !self.waits
            && volume.spec.claim_ref.is_none()
            && volume.status.phase == "Available"
            && keys::class_of_volume(volume) == keys::class_of_claim(claim)
            && has_modes(claim, volume)
            && claim
                .spec
                .selector
                .as_ref()
                .is_none_or(|selector| selector.matches(&volume.metadata.labels))
    }
}
