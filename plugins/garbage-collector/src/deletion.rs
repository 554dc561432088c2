//! What follows from a deletion, step by step.

use pintle_sdk::prelude::*;
use serde_json::{Value, json};

use crate::owners::{FOREGROUND, Item, ORPHAN, classify, dependents};

/// Actions in one step; the rest follows when these are seen.
const MOST_AT_ONCE: usize = 500;
/// A kind whose owners are not watched through their dependents is looked at
/// again after so long while it waits for them.
const WAIT_MS: u64 = 2_000;

/// An object is gone: its dependents are reviewed.
pub fn after(lister: &dyn Lister, uid: &str, outcome: &mut Outcome) -> Result<(), Error> {
    for dependent in dependents(lister, uid)? {
        if !dependent.metadata.is_being_deleted() {
            review(lister, &dependent, outcome)?;
        }
        if outcome.actions.len() >= MOST_AT_ONCE {
            outcome.requeue_after(1);
            break;
        }
    }
    Ok(())
}

/// An object that is not being deleted: does it still have an owner?
pub fn review(lister: &dyn Lister, item: &Item, outcome: &mut Outcome) -> Result<(), Error> {
    if item.metadata.owner_references.is_empty() {
        return Ok(());
    }
    let owners = classify(lister, item)?;
    if owners.solid {
        if !owners.dangling.is_empty() || !owners.waiting.is_empty() {
            let lost = |owner: &&OwnerReference| {
                owners.dangling.contains(&owner.uid) || owners.waiting.contains(&owner.uid)
            };
            let kept: Vec<&OwnerReference> =
                item.metadata.owner_references.iter().filter(|owner| !lost(owner)).collect();
            outcome.push(set_owners(item, json!(kept)));
        }
        return Ok(());
    }
    let own = if owners.waiting.is_empty() { Vec::new() } else { dependents(lister, &item.uid)? };
    if own.is_empty() {
        // The object's own finalizers say how it wants to go.
        let propagation = if item.has_finalizer(ORPHAN) {
            Propagation::Orphan
        } else if item.has_finalizer(FOREGROUND) {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        outcome.push(delete(item, propagation));
        return Ok(());
    }
    let mut item = item.clone();
    if own.iter().any(Item::waits_for_dependents) {
        // A circle of objects that wait for each other: this one stops blocking.
        for owner in &mut item.metadata.owner_references {
            owner.block_owner_deletion = Some(false);
        }
        outcome.push(set_owners(&item, json!(item.metadata.owner_references)));
        outcome
            .push(Delete::new(&item.reference).uid(&item.uid).propagation(Propagation::Foreground));
        return Ok(());
    }
    outcome.push(delete(&item, Propagation::Foreground));
    Ok(())
}

/// An object on its way out that one of this collector's finalizers holds.
pub fn advance(lister: &dyn Lister, item: &Item, outcome: &mut Outcome) -> Result<(), Error> {
    if item.has_finalizer(ORPHAN) {
        for dependent in dependents(lister, &item.uid)? {
            let kept: Vec<&OwnerReference> = dependent
                .metadata
                .owner_references
                .iter()
                .filter(|owner| owner.uid != item.uid)
                .collect();
            outcome.push(set_owners(
                &dependent,
                if kept.is_empty() { Value::Null } else { json!(kept) },
            ));
            if outcome.actions.len() >= MOST_AT_ONCE {
                outcome.requeue_after(1);
                return Ok(());
            }
        }
        outcome.push(without_finalizer(item, ORPHAN));
    } else if item.has_finalizer(FOREGROUND) {
        let mut all = dependents(lister, &item.uid)?;
        // What owns itself need not wait for itself.
        all.retain(|dependent| dependent.uid != item.uid);
        if !all.iter().any(|dependent| dependent.blocks(&item.uid)) {
            outcome.push(without_finalizer(item, FOREGROUND));
            return Ok(());
        }
        outcome.requeue_after(WAIT_MS);
        for dependent in all.iter().filter(|dependent| !dependent.metadata.is_being_deleted()) {
            review(lister, dependent, outcome)?;
            if outcome.actions.len() >= MOST_AT_ONCE {
                outcome.requeue_after(1);
                break;
            }
        }
    }
    Ok(())
}

/// Only this object, and only as it was looked at: it may have got an owner.
fn delete(item: &Item, propagation: Propagation) -> Delete {
    Delete::new(&item.reference).uid(&item.uid).at(item.revision).propagation(propagation)
}

fn set_owners(item: &Item, owners: Value) -> Patch {
    let body = json!({"metadata": {"uid": item.uid, "ownerReferences": owners}});
    Patch::merge(&item.reference, &body).at(item.revision)
}

fn without_finalizer(item: &Item, finalizer: &str) -> Patch {
    let kept: Vec<&String> =
        item.metadata.finalizers.iter().filter(|known| *known != finalizer).collect();
    let kept = if kept.is_empty() { Value::Null } else { json!(kept) };
    Patch::merge(&item.reference, &json!({"metadata": {"uid": item.uid, "finalizers": kept}}))
        .at(item.revision)
}
