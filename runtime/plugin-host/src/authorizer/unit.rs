//! One authorizer as the manager holds it: the version that answers and the one
//! before, on the threads of those who ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::live::Live;
use super::request::{self, Question};
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::bindings::types::Context;
use crate::cluster::Cluster;
use crate::events::Hub;
use crate::plugin::FailurePolicy;
use crate::program::authorizer_interface::{Attributes, Decision, RuleSet, User};
use crate::program::{LoadError, Program};
use crate::sandbox::Fault;
use crate::seed::Seeds;
use crate::supervise::{Health, Input, On, Previous, Remedy, Rollout, take_warm};

/// With more to be told first, a question is asked on a thread that may block.
const QUICK: usize = 100;

/// More parked questions are not remembered: clients could ask any number.
const MAX_PARKED: usize = 256;

/// What the Plugin object says about the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Lower is asked first.
    pub priority: i32,
    /// What an answer that does not come means.
    pub failure_policy: FailurePolicy,
}

pub(crate) struct AuthorizerUnit {
    pub name: Arc<str>,
    priority: AtomicI32,
    cluster: Arc<dyn Cluster>,
    hub: Arc<Hub>,
    health: Arc<Health>,
    seeds: Seeds,
    seat: Mutex<Seat>,
}

struct Seat {
    program: Arc<Program<AuthorizerPlugin>>,
    /// None: it faulted; whoever asks next builds another one.
    live: Option<Live>,
    previous: Option<Previous<Live>>,
    rollout: Rollout,
    failure_policy: FailurePolicy,
    stopped: bool,
    /// Questions that it trips over again and again, and what those are told,
    /// until something changes.
    parked: BTreeMap<String, String>,
}

/// No answer, and what that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoAnswer {
    pub cause: String,
    pub policy: FailurePolicy,
}

/// What is asked of an instance.
type Call<'a, T> = &'a dyn Fn(&mut Live, Context) -> Result<(T, bool), Fault>;

impl AuthorizerUnit {
    pub fn start(
        program: Arc<Program<AuthorizerPlugin>>,
        rollout: Rollout,
        terms: Terms,
        cluster: Arc<dyn Cluster>,
        hub: Arc<Hub>,
        health: Arc<Health>,
    ) -> Result<Self, LoadError> {
        let live = Live::start(program.clone(), &*cluster, &hub)?;
        health.activated(live.version(), None, Duration::ZERO);
        Ok(Self {
            name: program.name.clone(),
            priority: AtomicI32::new(terms.priority),
            seeds: Seeds::starting_at(cluster.now_unix_ms().unsigned_abs()),
            cluster,
            hub,
            health,
            seat: Mutex::new(Seat {
                program,
                live: Some(live),
                previous: None,
                rollout,
                failure_policy: terms.failure_policy,
                stopped: false,
                parked: BTreeMap::new(),
            }),
        })
    }

    /// Prepares another version, which learns the cluster while the present one
    /// goes on answering, and puts it in place between two answers.
    pub fn swap(
        &self,
        program: Arc<Program<AuthorizerPlugin>>,
        rollout: Rollout,
        terms: Terms,
    ) -> Result<(), LoadError> {
        let live = Live::start(program.clone(), &*self.cluster, &self.hub)?;
        let started = Instant::now();
        let mut seat = self.seat.lock();
        let version = live.version();
        let before = seat.live.replace(live);
        seat.previous = before.map(|live| Previous { live, until: started + rollout.window });
        (seat.program, seat.rollout) = (program, rollout);
        (seat.failure_policy, seat.stopped) = (terms.failure_policy, false);
        seat.parked.clear();
        self.priority.store(terms.priority, Ordering::Relaxed);
        let previous = seat.previous.as_ref().map(|previous| previous.live.version());
        self.health.activated(version, previous, started.elapsed());
        Ok(())
    }

    pub fn set_rollout(&self, rollout: Rollout) {
        self.seat.lock().rollout = rollout;
    }

    pub fn priority(&self) -> i32 {
        self.priority.load(Ordering::Relaxed)
    }

    /// Until when requests have to wait because the plugin has used up its share
    /// of the processors.
    pub fn in_debt_until(&self, now: Instant) -> Option<Instant> {
        self.seat.try_lock()?.program.in_debt_until(now)
    }

    /// The answer, if it can be given without holding up the thread.
    pub(super) fn authorize_quickly(
        &self,
        question: &Arc<Question>,
    ) -> Option<Result<Decision, NoAnswer>> {
        let mut seat = self.seat.try_lock()?;
        let quick = seat.live.as_ref().is_some_and(|live| {
            !live.is_broken() && live.behind() <= QUICK && !live.program.is_wasi()
        });
        quick.then(|| self.authorize_in(&mut seat, question))
    }

    /// The answer, however long that takes.
    pub(super) fn authorize(&self, question: &Arc<Question>) -> Result<Decision, NoAnswer> {
        self.authorize_in(&mut self.seat.lock(), question)
    }

    fn authorize_in(
        &self,
        seat: &mut Seat,
        question: &Arc<Question>,
    ) -> Result<Decision, NoAnswer> {
        self.ask(seat, &|| request::input(&question.attributes), &|live, context| match live
            .remembered(question)
        {
            Some(decision) => Ok((decision, false)),
            None => live.authorize(context, question).map(|decision| (decision, true)),
        })
    }

    /// What the user may do in a namespace.
    pub(super) fn rules(&self, user: &User, namespace: &str) -> Result<RuleSet, NoAnswer> {
        let input = || {
            request::input(&Attributes {
                user: user.clone(),
                verb: "list-rules".to_owned(),
                group: String::new(),
                version: String::new(),
                resource: String::new(),
                subresource: String::new(),
                namespace: namespace.to_owned(),
                name: String::new(),
                path: String::new(),
                required_fields: Vec::new(),
            })
        };
        self.ask(&mut self.seat.lock(), &input, &|live, context| {
            live.rules(context, user, namespace).map(|rules| (rules, true))
        })
    }

    /// Asks until there is an answer, or a fault that nobody stands in for.
    /// `call` also says whether the instance was called.
    fn ask<T>(
        &self,
        seat: &mut Seat,
        input: &dyn Fn() -> Input,
        call: Call<'_, T>,
    ) -> Result<T, NoAnswer> {
        let policy = seat.failure_policy;
        let no_answer = |cause: String| Err(NoAnswer { cause, policy });
        if seat.previous.take_if(|previous| previous.until <= Instant::now()).is_some() {
            self.health.previous_dropped();
        }
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
                && let Some(told) = seat.parked.get(&input().id)
            {
                return no_answer(told.clone());
            }
            let Some(live) = &mut seat.live else { continue };
            let context = Context {
                now_unix_ms: self.cluster.now_unix_ms(),
                seed: self.seeds.next(),
                revision: self.cluster.revision(),
            };
            match call(live, context) {
                Ok((answer, called)) => {
                    if called {
                        self.health.good_on(std::iter::once_with(|| input().id));
                    }
                    return Ok(answer);
                }
                Err(fault) => {
                    if !self.strike(seat, Some(&input()), &fault) {
                        return no_answer(fault.to_string());
                    }
                }
            }
        }
    }

    /// An instance that knows everything that was delivered.
    fn bring_up_to_date(&self, seat: &mut Seat) -> Result<(), Outdated> {
        if let Some(live) = seat.live.as_mut().filter(|live| !live.is_broken()) {
            if live.catch_up().map_err(Outdated::Fault)? {
                self.unpark(seat);
            }
            return Ok(());
        }
        let live = Live::start(seat.program.clone(), &*self.cluster, &self.hub);
        seat.live = Some(live.map_err(|error| match error {
            LoadError::Start(fault) => Outdated::Fault(fault),
            error => Outdated::Load(error),
        })?);
        Ok(())
    }

    /// What it tripped over may be another question now.
    fn unpark(&self, seat: &mut Seat) {
        for (id, _) in std::mem::take(&mut seat.parked) {
            self.health.unparked(&id);
        }
    }

    /// True if another version is in place and is to be asked the same.
    fn strike(&self, seat: &mut Seat, input: Option<&Input>, fault: &Fault) -> bool {
        tracing::warn!(plugin = %self.name, %fault, "an authorizer misbehaved");
        let started = Instant::now();
        seat.live = None;
        let warm = take_warm(&mut seat.previous, started);
        let on = input.map_or(On::Nothing, On::Input);
        match self.health.strike(on, fault, warm.is_some(), &seat.rollout) {
            Remedy::RollBack => {
                let Some(warm) = warm else { return false };
                let version = warm.version();
                seat.program = warm.program.clone();
                seat.live = Some(warm);
                seat.parked.clear();
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
            Remedy::Stop => seat.stopped = true,
        }
        false
    }
}

/// Why there is no instance that could be asked.
enum Outdated {
    Fault(Fault),
    Load(LoadError),
}
