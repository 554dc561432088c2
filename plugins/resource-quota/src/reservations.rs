//! What was let through and is not to be seen in the cluster yet.
//!
//! Between the answer to a request and the moment the lister shows its object
//! lie the rest of admission, validation and a write to disk. A second request
//! in that time would be measured against the same usage, and both would pass.

use pintle_sdk::admission::Request;
use pintle_sdk::lister::{Lister, Query};
use pintle_sdk::prelude::{AnyObject, ObjectRef, Quantity, ResourceList};
use pintle_sdk::quota::{QuotaSpec, Tracked, masked};

/// A request that has not arrived by then was refused by somebody else.
const KEPT_MS: i64 = 5_000;
/// More requests cannot be under way at a time in one cluster.
const MAX: usize = 10_000;

/// One request that was let through.
pub struct Reservation {
    reference: ObjectRef,
    new: Tracked,
    old: Option<Tracked>,
    /// Of the object before: it is seen when the object is newer.
    old_revision: u64,
    until_ms: i64,
}

impl Reservation {
    pub fn of(request: &Request, new: Tracked, old: Option<Tracked>, now: i64) -> Self {
        let before: AnyObject = request.old_object().unwrap_or_default();
        Reservation {
            reference: request.reference.clone(),
            new,
            old,
            old_revision: before.metadata.resource_version.parse().unwrap_or(0),
            until_ms: now.saturating_add(KEPT_MS),
        }
    }

    fn is_seen(&self, lister: &dyn Lister) -> bool {
        let query = Query::of(self.reference.kind.clone())
            .namespace(&*self.reference.namespace)
            .field("metadata.name", &*self.reference.name)
            .metadata_only();
        lister.list(&query).first().is_some_and(|found| found.revision > self.old_revision)
    }
}

/// In the order they were let through.
#[derive(Default)]
pub struct Reservations(Vec<Reservation>);

impl Reservations {
    /// Drops what has arrived in the namespace of the request, and what never will.
    pub fn forget_seen(&mut self, lister: &dyn Lister, request: &ObjectRef, now: i64) {
        self.0.retain(|reservation| {
            let is_here = reservation.reference.namespace == request.namespace;
            now < reservation.until_ms && !(is_here && reservation.is_seen(lister))
        });
    }

    /// Adds what is under way in the namespace of the request and counts in the quota.
    pub fn add_to(
        &self,
        used: &mut ResourceList,
        request: &ObjectRef,
        quota: &QuotaSpec,
        now: i64,
    ) {
        let is_other = |other: &ObjectRef| {
            other.namespace == request.namespace
                && (other.kind != request.kind || other.name != request.name)
        };
        for reservation in self.0.iter().filter(|one| is_other(&one.reference)) {
            if !reservation.new.is_in(quota) {
                continue;
            }
            for (name, amount) in masked(reservation.new.usage(now), &quota.hard) {
                let sum = used.entry(name).or_insert(Quantity::ZERO);
                *sum = *sum + amount;
            }
            // An object that changes is counted as it was before.
            let Some(old) = reservation.old.as_ref().filter(|old| old.is_in(quota)) else {
                continue;
            };
            for (name, amount) in masked(old.usage(now), &quota.hard) {
                let sum = used.entry(name).or_insert(Quantity::ZERO);
                *sum = *sum - amount;
            }
        }
    }

    pub fn note(&mut self, reservation: Reservation) {
        self.0.retain(|other| other.reference != reservation.reference);
        if self.0.len() >= MAX {
            self.0.remove(0);
        }
        self.0.push(reservation);
    }
}
