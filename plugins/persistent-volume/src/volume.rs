//! The decision about a volume: free, given away, or left behind by its claim.

use std::collections::BTreeSet;

use pintle_sdk::prelude::*;
use serde_json::json;

use crate::choice::Wish;
use crate::seen::Seen;
use crate::{claim, keys};

/// Volumes given away in one step; the rest follows when these are seen.
const MOST_AT_ONCE: usize = 100;

type Volume = Typed<PersistentVolume>;

pub fn plan(seen: Seen<'_>, volume: &Volume) -> Result<Outcome, Error> {
    if volume.metadata.is_being_deleted() {
        if volume.status.phase != "Bound" {
            let release = keys::finalizer(volume, &volume.metadata, keys::VOLUME_PROTECTION, false);
            let mut outcome = Outcome::done();
            outcome.extend(release);
            return Ok(outcome);
        }
    } else if let Some(protect) =
        keys::finalizer(volume, &volume.metadata, keys::VOLUME_PROTECTION, true)
    {
        return Ok(Outcome::of(protect));
    }
    let Some(meant_for) = &volume.spec.claim_ref else {
        if volume.status.phase != "Available" {
            return Ok(phase(volume, "Available", ""));
        }
        return give_away(seen, volume);
    };
    let found = seen.lister.read::<PersistentVolumeClaim>(&meant_for.namespace, &meant_for.name)?;
    if meant_for.uid.is_empty() {
        return match found {
            // A claim that asks for another volume leaves this one where it is.
            Some(found) if serves(&found, volume) => claim::plan(seen, &found, None),
            _ if volume.status.phase != "Available" => Ok(phase(volume, "Available", "")),
            _ => Ok(Outcome::done()),
        };
    }
    match found {
        Some(found) if found.uid == meant_for.uid => {
            if serves(&found, volume) {
                claim::plan(seen, &found, None)
            } else {
                Ok(outbid(volume))
            }
        }
        _ => Ok(left_behind(volume)),
    }
}

fn serves(claim: &PersistentVolumeClaim, volume: &Volume) -> bool {
    claim.spec.volume_name.is_empty() || claim.spec.volume_name == volume.reference.name
}

/// Volumes of a claim that is gone.
pub fn of_gone_claim(seen: Seen<'_>, namespace: &str, name: &str) -> Result<Outcome, Error> {
    let of_it = |found: &ObjectReference| found.namespace == namespace && found.name == name;
    let mut outcome = Outcome::done();
    for volume in seen.volumes(|volume| volume.spec.claim_ref.as_ref().is_some_and(of_it))? {
        outcome.extend(plan(seen, &volume)?.actions);
    }
    Ok(outcome)
}

fn phase(volume: &Volume, phase: &str, message: &str) -> Outcome {
    let message = Some(message).filter(|message| !message.is_empty());
    let status = json!({"phase": phase, "message": message, "reason": null});
    Outcome::of(Patch::status_of(volume, &status).at(volume.revision))
}

/// A free volume: the claims that could have it choose in the order of their age,
/// among all that is free, so that the smallest that fits goes to each.
fn give_away(seen: Seen<'_>, volume: &Volume) -> Result<Outcome, Error> {
    let mut claims = seen.claims(|claim| {
        let asks = claim.spec.volume_name.as_str();
        let free =
            asks.is_empty() && !claim.metadata.annotations.contains_key(keys::BIND_COMPLETED);
        let kindred = keys::is_meant_for(volume, claim)
            || keys::class_of_volume(volume) == keys::class_of_claim(claim);
        !claim.metadata.is_being_deleted() && (asks == volume.reference.name || (free && kindred))
    })?;
    claims.sort_by(|a, b| {
        let age = |claim: &Typed<PersistentVolumeClaim>| claim.metadata.creation_timestamp.clone();
        age(a).cmp(&age(b)).then_with(|| a.reference.cmp(&b.reference))
    });
    if let Some(claim) = claims.iter().find(|claim| !claim.spec.volume_name.is_empty()) {
        let outcome = claim::plan(seen, claim, None)?;
        if !outcome.actions.is_empty() {
            return Ok(outcome);
        }
    }
    seen.look_at_volumes(|volumes| shared_out(seen.lister, volume, &claims, volumes.values()))?
}

/// The claims choose among the volumes until this one is given away.
fn shared_out<'v>(
    lister: &dyn Lister,
    volume: &Volume,
    claims: &[Typed<PersistentVolumeClaim>],
    volumes: impl Iterator<Item = &'v Volume> + Clone,
) -> Result<Outcome, Error> {
    let mut taken = BTreeSet::new();
    let mut outcome = Outcome::done();
    for found in claims.iter().filter(|claim| claim.spec.volume_name.is_empty()) {
        let class = lister.read::<StorageClass>("", keys::class_of_claim(found))?;
        let node = claim::selected_node(lister, found)?;
        let waits = class.is_some_and(|class| keys::waits(&class)) && node.is_none();
        let wish = Wish { claim: found, node: node.as_ref().map(|node| &*node.object), waits };
        if !wish.can_have(volume) {
            continue;
        }
        let Some(best) = wish.best(volumes.clone(), &taken) else { continue };
        taken.insert(best.reference.name.as_str());
        outcome.extend(claim::bind(found, best).actions);
        if outcome.actions.len() >= MOST_AT_ONCE || best.reference == volume.reference {
            break;
        }
    }
    Ok(outcome)
}

/// The claim was bound to another volume: this one is free again, or, where a
/// person had chosen the claim, free for a claim of that name.
fn outbid(volume: &Volume) -> Outcome {
    let annotations = &volume.metadata.annotations;
    let dynamic = annotations.contains_key(keys::PROVISIONED_BY);
    if dynamic && volume.spec.persistent_volume_reclaim_policy == "Delete" {
        return left_behind(volume);
    }
    let body = match annotations.contains_key(keys::BOUND_BY_CONTROLLER) {
        true => json!({
            "metadata": {"annotations": {keys::BOUND_BY_CONTROLLER: null}},
            "spec": {"claimRef": null},
        }),
        false => json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}}),
    };
    Outcome::of(Patch::merge(volume, &body).at(volume.revision))
}

/// The claim is gone. A volume is kept as it is (`Retain`), or deleted by who made
/// it (`Delete`); nobody deletes or empties one that a person made.
fn left_behind(volume: &Volume) -> Outcome {
    let name = &volume.reference.name;
    let status = volume.status.phase.as_str();
    if !matches!(status, "Released" | "Failed") {
        return phase(volume, "Released", "");
    }
    let (reason, message) = match volume.spec.persistent_volume_reclaim_policy.as_str() {
        _ if status == "Failed" || volume.metadata.is_being_deleted() => return Outcome::done(),
        "Delete" if volume.metadata.annotations.contains_key(keys::PROVISIONED_BY) => {
            return Outcome::done();
        }
        "Delete" => (
            "VolumeFailedDelete",
            format!(
                "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin matched"
            ),
        ),
        "Recycle" => ("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned()),
        _ => return Outcome::done(),
    };
    let mut outcome = phase(volume, "Failed", &message);
    outcome.push(Event::warning(volume, reason, message));
    outcome
}
