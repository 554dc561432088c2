//! The decision about a claim: its next step towards a volume.

use std::collections::BTreeSet;

use pintle_sdk::prelude::*;
use serde_json::{Map, Value, json};

use crate::choice::{self, Wish};
use crate::keys;
use crate::seen::Seen;

const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

type Claim = Typed<PersistentVolumeClaim>;
type Volume = Typed<PersistentVolume>;

/// What keeps a claim waiting, for the person who made it.
struct Waiting {
    warning: bool,
    reason: &'static str,
    note: String,
}

/// `user` is the node of a pod that uses the claim, when the caller knows one.
pub fn plan(seen: Seen<'_>, claim: &Claim, user: Option<&str>) -> Result<Outcome, Error> {
    if claim.metadata.is_being_deleted() {
        let used = !seen.nodes_of_users(claim)?.is_empty();
        let release =
            (!used).then(|| keys::finalizer(claim, &claim.metadata, keys::CLAIM_PROTECTION, false));
        let mut outcome = Outcome::done();
        outcome.extend(release.flatten());
        return Ok(outcome);
    }
    if claim.metadata.annotations.contains_key(keys::BIND_COMPLETED) {
        return after_binding(seen.lister, claim);
    }
    before_binding(seen, claim, user)
}

/// Claims that were bound to a volume that is gone.
pub fn of_gone_volume(seen: Seen<'_>, name: &str) -> Result<Outcome, Error> {
    let mut outcome = Outcome::done();
    for claim in seen.claims(|claim| claim.spec.volume_name == name)? {
        outcome.extend(plan(seen, &claim, None)?.actions);
    }
    Ok(outcome)
}

fn after_binding(lister: &dyn Lister, claim: &Claim) -> Result<Outcome, Error> {
    let name = &claim.spec.volume_name;
    if name.is_empty() {
        let note =
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return Ok(lost(claim, "ClaimLost", note));
    }
    let Some(volume) = lister.read::<PersistentVolume>("", name)? else {
        let note = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return Ok(lost(claim, "ClaimLost", note));
    };
    if volume.spec.claim_ref.is_none() || keys::is_meant_for(&volume, claim) {
        return Ok(bind(claim, &volume));
    }
    let note = "Two claims are bound to the same volume, this one is bound incorrectly";
    Ok(lost(claim, "ClaimMisbound", note))
}

fn lost(claim: &Claim, reason: &str, note: &str) -> Outcome {
    let mut outcome = Outcome::done();
    if claim.status.phase != "Lost" {
        let status = json!({"phase": "Lost", "accessModes": null, "capacity": null});
        outcome.push(Patch::status_of(claim, &status).at(claim.revision));
        outcome.push(Event::warning(claim, reason, note));
    }
    outcome
}

fn before_binding(seen: Seen<'_>, claim: &Claim, user: Option<&str>) -> Result<Outcome, Error> {
    let lister = seen.lister;
    let name = &claim.spec.volume_name;
    if !name.is_empty() {
        let Some(volume) = lister.read::<PersistentVolume>("", name)? else {
            return Ok(wait(claim, None));
        };
        if keys::is_meant_for(&volume, claim) {
            return Ok(bind(claim, &volume));
        }
        let (reason, note) = match (&volume.spec.claim_ref, choice::mismatch(claim, &volume)) {
            (None, None) => return Ok(bind(claim, &volume)),
            (None, Some(why)) => {
                ("VolumeMismatch", format!("Cannot bind to requested volume \"{name}\": {why}"))
            }
            (Some(_), _) => {
                ("FailedBinding", format!("volume \"{name}\" already bound to a different claim."))
            }
        };
        return Ok(wait(claim, Some(Waiting { warning: true, reason, note })));
    }
    let class = lister.read::<StorageClass>("", keys::class_of_claim(claim))?;
    let node = selected_node(lister, claim)?;
    let waits = class.as_ref().is_some_and(|class| keys::waits(class)) && node.is_none();
    let wish = Wish { claim, node: node.as_ref().map(|node| &*node.object), waits };
    let best = seen.look_at_volumes(|volumes| {
        wish.best(volumes.values(), &BTreeSet::new()).map(|volume| bind(claim, volume))
    })?;
    if let Some(bound) = best {
        return Ok(bound);
    }
    if keys::has_no_class(claim)
        && let Some(class) = keys::default_class(lister)?
    {
        let body = json!({"spec": {"storageClassName": class.reference.name}});
        return Ok(Outcome::of(Patch::merge(claim, &body).at(claim.revision)));
    }
    if waits && !claim.metadata.annotations.contains_key(keys::SELECTED_NODE) {
        return select_node(seen, claim, user);
    }
    Ok(provision(claim, class.as_ref()))
}

/// The node of the claim's first consumer, while there is such a node.
pub fn selected_node(lister: &dyn Lister, claim: &Claim) -> Result<Option<Typed<Node>>, Error> {
    match claim.metadata.annotations.get(keys::SELECTED_NODE) {
        Some(node) => lister.read::<Node>("", node),
        None => Ok(None),
    }
}

fn select_node(seen: Seen<'_>, claim: &Claim, user: Option<&str>) -> Result<Outcome, Error> {
    let mut users = match user {
        Some(node) => vec![node.to_owned()],
        None => seen.nodes_of_users(claim)?,
    };
    // A node that is gone can be nobody's choice; its pods go too.
    users.retain(|node| seen.lister.get(&NODE.named("", node.as_str())).is_some());
    users.sort();
    Ok(match users.first() {
        Some(node) => {
            Outcome::of(Patch::annotate(claim, keys::SELECTED_NODE, Some(node)).at(claim.revision))
        }
        None => wait(
            claim,
            Some(Waiting {
                warning: false,
                reason: "WaitForFirstConsumer",
                note: "waiting for first consumer to be created before binding".to_owned(),
            }),
        ),
    })
}

/// No volume there is will do: asks the class's provisioner for one.
fn provision(claim: &Claim, class: Option<&Typed<StorageClass>>) -> Outcome {
    let name = keys::class_of_claim(claim);
    if name.is_empty() {
        let note =
            "no persistent volumes available for this claim and no storage class is set".to_owned();
        return wait(claim, Some(Waiting { warning: false, reason: "FailedBinding", note }));
    }
    let failed = |note| Some(Waiting { warning: true, reason: "ProvisioningFailed", note });
    let Some(class) = class else {
        let note = format!("storageclass.storage.k8s.io \"{name}\" not found");
        return wait(claim, failed(note));
    };
    let provisioner = class.provisioner.as_str();
    if provisioner == NO_PROVISIONER {
        let note = format!("no volume plugin matched name: {provisioner}");
        return wait(claim, failed(note));
    }
    let asked = claim.metadata.annotations.get(keys::STORAGE_PROVISIONER);
    if asked.is_some_and(|asked| asked == provisioner) {
        return wait(claim, None);
    }
    let body = json!({"metadata": {"annotations": {
        keys::STORAGE_PROVISIONER: provisioner,
        keys::STORAGE_PROVISIONER_BETA: provisioner,
    }}});
    let mut outcome = Outcome::of(Patch::merge(claim, &body).at(claim.revision));
    let note = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    outcome.push(Event::normal(claim, "ExternalProvisioning", note));
    outcome
}

/// The claim stays as it is. It is protected from now on; why it waits is said
/// in the same breath, so once.
fn wait(claim: &Claim, waiting: Option<Waiting>) -> Outcome {
    let mut outcome = Outcome::done();
    if let Some(protect) = keys::finalizer(claim, &claim.metadata, keys::CLAIM_PROTECTION, true) {
        outcome.push(protect);
        if let Some(Waiting { warning, reason, note }) = waiting {
            outcome.push(match warning {
                true => Event::warning(claim, reason, note),
                false => Event::normal(claim, reason, note),
            });
        }
    } else if claim.status.phase != "Pending" {
        let status = json!({"phase": "Pending", "accessModes": null, "capacity": null});
        outcome.push(Patch::status_of(claim, &status).at(claim.revision));
    }
    outcome
}

/// The next missing step of a binding; none when it is complete.
pub fn bind(claim: &Claim, volume: &Volume) -> Outcome {
    let mut outcome = Outcome::done();
    let step = keys::finalizer(claim, &claim.metadata, keys::CLAIM_PROTECTION, true)
        .or_else(|| volume_names_claim(claim, volume))
        .or_else(|| volume_is_bound(volume))
        .or_else(|| claim_names_volume(claim, volume))
        .or_else(|| claim_is_bound(claim, volume));
    outcome.extend(step);
    outcome
}

fn volume_names_claim(claim: &Claim, volume: &Volume) -> Option<Patch> {
    let known = volume.spec.claim_ref.as_ref();
    if known.is_some_and(|known| known.uid == claim.uid) {
        return None;
    }
    let mut body = json!({"spec": {"claimRef": {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim.reference.namespace,
        "name": claim.reference.name,
        "uid": claim.uid,
        "resourceVersion": claim.metadata.resource_version,
    }}});
    if known.is_none() {
        body["metadata"] = json!({"annotations": {keys::BOUND_BY_CONTROLLER: "yes"}});
    }
    Some(Patch::merge(volume, &body).at(volume.revision))
}

fn volume_is_bound(volume: &Volume) -> Option<Patch> {
    (volume.status.phase != "Bound").then(|| {
        let status = json!({"phase": "Bound", "message": null, "reason": null});
        Patch::status_of(volume, &status).at(volume.revision)
    })
}

fn claim_names_volume(claim: &Claim, volume: &Volume) -> Option<Patch> {
    let mut annotations = Map::new();
    let mut body = json!({});
    if claim.spec.volume_name != volume.reference.name {
        body["spec"] = json!({"volumeName": volume.reference.name});
        annotations.insert(keys::BOUND_BY_CONTROLLER.to_owned(), json!("yes"));
    }
    if !claim.metadata.annotations.contains_key(keys::BIND_COMPLETED) {
        annotations.insert(keys::BIND_COMPLETED.to_owned(), json!("yes"));
    }
    if annotations.is_empty() {
        return None;
    }
    body["metadata"] = json!({"annotations": Value::Object(annotations)});
    Some(Patch::merge(claim, &body).at(claim.revision))
}

fn claim_is_bound(claim: &Claim, volume: &Volume) -> Option<Patch> {
    let status = &claim.status;
    // Whoever makes a bound volume larger says the capacity then.
    let complete = status.phase == "Bound" && status.access_modes == volume.spec.access_modes;
    (!complete).then(|| {
        let status = json!({
            "phase": "Bound",
            "accessModes": volume.spec.access_modes,
            "capacity": volume.spec.capacity,
        });
        Patch::status_of(claim, &status).at(claim.revision)
    })
}
