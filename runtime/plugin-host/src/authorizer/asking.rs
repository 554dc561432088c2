//! How an authorizer is asked until there is an answer, and what follows when it
//! misbehaves.

use std::time::Instant;

use super::live::Live;
use super::unit::{Seat, Shared};
use crate::bindings::types::Context;
use crate::follow::AuthorizerTurn;
use crate::plugin::FailurePolicy;
use crate::program::LoadError;
use crate::sandbox::Fault;
use crate::supervise::{Input, On, Remedy, take_warm};

/// More parked questions are not remembered: clients could ask any number.
const MAX_PARKED: usize = 256;

/// No answer, and what that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoAnswer {
    pub cause: String,
    pub policy: FailurePolicy,
}

/// The answer, and whether the instance was called for it.
type Make<'a, T> = &'a dyn Fn(&mut Live, Context) -> Result<(T, bool), Fault>;

/// A turn of the instance, the context, whether it was called, and the answer.
type Tell<'a, T> = &'a dyn Fn(&Live, Context, bool, Result<T, Fault>) -> AuthorizerTurn;

/// What is asked of an instance, and what those who follow it are told of that.
pub(super) struct Call<'a, T> {
    pub input: &'a dyn Fn() -> Input,
    pub make: Make<'a, T>,
    pub turn: Tell<'a, T>,
}

impl Shared {
    /// Asks until there is an answer, or a fault that nobody stands in for.
    pub(super) fn ask<T: Clone>(&self, seat: &mut Seat, call: &Call<'_, T>) -> Result<T, NoAnswer> {
        let policy = seat.failure_policy;
        let no_answer = |cause: String| Err(NoAnswer { cause, policy });
        self.drop_expired(seat, Instant::now());
        loop {
            if seat.stopped {
                return no_answer(
                    "it was stopped after repeated faults; see the status of the Plugin object"
                        .to_owned(),
                );
            }
            if let Err(cause) = self.bring_up_to_date(seat) {
                match cause {
                    Outdated::Fault(fault) if self.strike(seat, None, &fault) => continue,
                    Outdated::Fault(fault) => return no_answer(fault.to_string()),
                    Outdated::Load(error) => return no_answer(error.to_string()),
                }
            }
            if !seat.parked.is_empty()
                && let Some(told) = seat.parked.get(&(call.input)().id)
            {
                return no_answer(told.clone());
            }
            let Some(live) = &mut seat.live else { continue };
            let context = Context {
                now_unix_ms: self.cluster.now_unix_ms(),
                seed: self.seeds.next(),
                revision: self.cluster.revision(),
            };
            let made = (call.make)(live, context);
            if !self.followers.is_empty() {
                let called = made.as_ref().map_or(true, |(_, called)| *called);
                let answered = made.as_ref().map(|(answer, _)| answer.clone());
                let answered = answered.map_err(Clone::clone);
                self.followers.tell((call.turn)(live, context, called, answered));
            }
            match made {
                Ok((answer, called)) => {
                    if called {
                        self.health.good_on(std::iter::once_with(|| (call.input)().id));
                    }
                    return Ok(answer);
                }
                Err(fault) => {
                    if !self.strike(seat, Some(&(call.input)()), &fault) {
                        return no_answer(fault.to_string());
                    }
                }
            }
        }
    }

    /// An instance that knows everything that was delivered.
    fn bring_up_to_date(&self, seat: &mut Seat) -> Result<(), Outdated> {
        if let Some(live) = seat.live.as_mut().filter(|live| !live.is_broken()) {
            if live.catch_up(Some(&self.followers)).map_err(Outdated::Fault)? {
                self.unpark(seat);
            }
            return Ok(());
        }
        let live = Live::start(seat.program.clone(), &*self.cluster, &self.hub, &self.bell);
        seat.live = Some(live.map_err(|error| match error {
            LoadError::Start(fault) => Outdated::Fault(fault),
            error => Outdated::Load(error),
        })?);
        self.note(seat);
        Ok(())
    }

    /// Another instance answers from now on, or none.
    pub(super) fn note(&self, seat: &Seat) {
        self.active.store((!seat.stopped).then(|| seat.program.clone()));
        // It has a view of its own, which those who follow have to be shown.
        self.followers.interrupt();
        self.bell.look();
    }

    /// True if another version is in place and is to be asked the same.
    pub(super) fn strike(&self, seat: &mut Seat, input: Option<&Input>, fault: &Fault) -> bool {
        tracing::warn!(plugin = %seat.program.name, %fault, "an authorizer misbehaved");
        let started = Instant::now();
        seat.live = None;
        let warm = take_warm(&mut seat.previous, started);
        let on = input.map_or(On::Nothing, On::Input);
        match self.health.strike(on, fault, warm.is_some(), &seat.rollout) {
            Remedy::RollBack => {
                let Some(warm) = warm else { return false };
                let version = warm.version();
                seat.program = warm.program().clone();
                seat.live = Some(warm);
                seat.parked.clear();
                self.note(seat);
                self.health.rolled_back(version, fault, started.elapsed());
                return true;
            }
            Remedy::Rebuild => {}
            Remedy::Park => {
                if let Some(input) = input {
                    if seat.parked.len() >= MAX_PARKED {
                        seat.parked.pop_first();
                    }
                    let told = format!(
                        "it cannot decide this request and is not asked again until what it \
                         knows of the cluster changes: {fault}"
                    );
                    seat.parked.insert(input.id.clone(), told);
                }
            }
            Remedy::Stop => {
                seat.stopped = true;
                self.note(seat);
            }
        }
        false
    }
}

/// Why there is no instance that could be asked.
enum Outdated {
    Fault(Fault),
    Load(LoadError),
}
