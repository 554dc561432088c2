//! What follows when an extension misbehaves: another version, a fresh instance,
//! a pod that is left alone, or the end.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::unit::{Seat, Shared};
use crate::action::Target;
use crate::cluster::ObjectHandle;
use crate::sandbox::Fault;
use crate::supervise::{Input, On, Remedy, take_warm};

impl Shared {
    /// Whether the pod is left alone in this form.
    pub(super) fn is_parked(&self, seat: &mut Seat, pod: &ObjectHandle) -> bool {
        match seat.parked.get(pod.uid()) {
            None => false,
            Some(revision) if pod.revision() <= *revision => true,
            Some(_) => {
                self.take_from_parked(seat, pod.uid());
                false
            }
        }
    }

    pub(super) fn take_from_parked(&self, seat: &mut Seat, pod_uid: &str) {
        if seat.parked.remove(pod_uid).is_some() {
            self.parks.store(!seat.parked.is_empty(), Ordering::Relaxed);
            self.health.unparked(pod_uid);
        }
    }

    /// Afterwards another version answers, or none. `pod`: what it was asked about.
    pub(super) fn strike(&self, seat: &mut Seat, pod: Option<&ObjectHandle>, fault: &Fault) {
        let input = pod.map(input);
        let mut fault = fault.clone();
        seat.up_to_date = None;
        loop {
            tracing::warn!(plugin = %seat.program.name, %fault, "a scheduler extension misbehaved");
            seat.live = None;
            let started = Instant::now();
            let warm = take_warm(&mut seat.previous, started);
            let on = input.as_ref().map_or(On::Nothing, On::Input);
            match (self.health.strike(on, &fault, warm.is_some(), &seat.rollout), warm) {
                (Remedy::RollBack, Some(mut warm)) => {
                    let caught_up = warm.catch_up(None);
                    seat.program = warm.program().clone();
                    seat.parked.clear();
                    self.health.rolled_back(warm.version(), &fault, started.elapsed());
                    self.note(seat);
                    match caught_up {
                        Ok(()) => {
                            seat.live = Some(warm);
                            self.bell.ring(|jobs| jobs.announce = true);
                            return;
                        }
                        Err(next) => fault = next,
                    }
                }
                (Remedy::Stop, _) => {
                    seat.stopped = true;
                    self.note(seat);
                    self.bell.ring(|jobs| jobs.announce = true);
                    return;
                }
                (remedy @ (Remedy::Rebuild | Remedy::Park | Remedy::RollBack), _) => {
                    if let (Remedy::Park, Some(pod)) = (remedy, pod) {
                        seat.parked.insert(pod.uid().to_owned(), pod.revision());
                        self.parks.store(true, Ordering::Relaxed);
                    }
                    self.bell.ring(|jobs| jobs.rebuild = true);
                    return;
                }
            }
        }
    }
}

fn input(pod: &ObjectHandle) -> Input {
    let object = Target {
        kind: (**pod.kind()).clone(),
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
    };
    Input { id: pod.uid().to_owned(), object, uid: pod.uid().to_owned() }
}
