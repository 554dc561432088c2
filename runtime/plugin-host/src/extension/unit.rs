//! One extension as the manager holds it: the version that answers, the one
//! before, and a thread that keeps both up to date.
//!
//! Schedulers ask on their own threads. What takes long is done on the
//! extension's thread: telling it a flood of changes, and building an instance
//! anew after a fault. Meanwhile its failure policy answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::absence::{Absence, says};
use super::bell::Bell;
use super::call::Postponed;
use super::group::Extensions;
use super::instance::Said;
use super::joining::Joining;
use super::live::{Live, watches};
use super::numbering::{Began, Names};
use super::opinion::{Part, Stated};
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::bindings::types::Context;
use crate::cluster::ObjectHandle;
use crate::follow::{Asked, ExtensionTurn, Follower, FollowerHandle, Followers};
use crate::plugin::FailurePolicy;
use crate::program::{LoadError, Program};
use crate::sandbox::Fault;
use crate::supervise::{Health, Previous, Rollout};

/// What the Plugin object says about the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub weight: u32,
    pub failure_policy: FailurePolicy,
}

/// One question about one pod.
pub(crate) struct Question<'a> {
    pub call: &'a Began,
    pub context: Context,
    pub pod: &'a ObjectHandle,
    pub names: &'a Arc<Names>,
    /// How long the answer may take; None: as long as it takes.
    pub until: Option<Duration>,
}

pub(crate) enum Outcome {
    Silent,
    Says(Part),
    Later(Postponed),
}

pub(crate) struct ExtensionUnit {
    pub name: Arc<str>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Shared {
    pub group: Arc<Extensions>,
    pub health: Arc<Health>,
    pub bell: Arc<Bell>,
    /// None while it is stopped.
    pub active: ArcSwapOption<Program<SchedulerExtensionPlugin>>,
    pub followers: Arc<Followers<ExtensionTurn>>,
    /// Of the version that answers.
    pub looks_at_pods: AtomicBool,
    /// Whether a pod is parked.
    pub parks: AtomicBool,
    pub seat: Mutex<Seat>,
}

pub(super) struct Seat {
    pub program: Arc<Program<SchedulerExtensionPlugin>>,
    /// None: it is being built anew, or was stopped.
    pub live: Option<Live>,
    pub previous: Option<Previous<Live>>,
    pub rollout: Rollout,
    pub terms: Terms,
    pub stopped: bool,
    /// Pods that it trips over again and again, in the revision in which it does.
    pub parked: BTreeMap<String, u64>,
    /// The call at whose beginning the instance was brought up to date.
    pub up_to_date: Option<Began>,
    /// The answer under the failure policy `Fail`, at a version of the numbering.
    pub refusal: Option<(u64, Absence, Arc<Stated>)>,
}

impl ExtensionUnit {
    pub fn start(
        program: Arc<Program<SchedulerExtensionPlugin>>,
        rollout: Rollout,
        terms: Terms,
        group: Arc<Extensions>,
        health: Arc<Health>,
    ) -> Result<Self, LoadError> {
        let bell = Arc::new(Bell::default());
        let live = Live::start(program.clone(), &group, &bell)?;
        let name = program.name.clone();
        let version = live.version();
        let seat = Seat {
            program,
            live: Some(live),
            previous: None,
            rollout,
            terms,
            stopped: false,
            parked: BTreeMap::new(),
            up_to_date: None,
            refusal: None,
        };
        let looks_at_pods = AtomicBool::new(false);
        let parks = AtomicBool::new(false);
        let seat = Mutex::new(seat);
        let shared = Arc::new(Shared {
            group,
            health,
            bell,
            active: ArcSwapOption::empty(),
            followers: Arc::default(),
            looks_at_pods,
            parks,
            seat,
        });
        shared.note(&shared.seat.lock());
        let thread = std::thread::Builder::new()
            .name(format!("plugin-{name}"))
            .spawn({
                let shared = shared.clone();
                move || shared.run()
            })
            .map_err(|error| LoadError::Source(format!("cannot start a thread: {error}")))?;
        shared.health.activated(version, None, Duration::ZERO);
        Ok(Self { name, shared, thread: Mutex::new(Some(thread)) })
    }

    /// Prepares another version, which learns the cluster while the present one
    /// goes on answering, and puts it in place between two answers.
    pub fn swap(
        &self,
        program: Arc<Program<SchedulerExtensionPlugin>>,
        rollout: Rollout,
        terms: Terms,
    ) -> Result<(), LoadError> {
        let shared = &*self.shared;
        let mut live = Live::start(program.clone(), &shared.group, &shared.bell)?;
        let started = Instant::now();
        {
            let mut seat = shared.seat.lock();
            live.catch_up(None).map_err(LoadError::Start)?;
            let version = live.version();
            let before = seat.live.replace(live);
            seat.previous = before.map(|live| Previous { live, until: started + rollout.window });
            (seat.program, seat.rollout, seat.terms) = (program, rollout, terms);
            (seat.stopped, seat.up_to_date, seat.refusal) = (false, None, None);
            seat.parked.clear();
            shared.note(&seat);
            let previous = seat.previous.as_ref().map(|previous| previous.live.version());
            shared.health.activated(version, previous, started.elapsed());
        }
        shared.bell.ring(|jobs| jobs.look = true);
        shared.group.changed();
        Ok(())
    }

    /// Ends its thread. Returns when what runs there is over.
    pub fn stop(&self) {
        self.shared.bell.ring(|jobs| jobs.stop = true);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!(plugin = %self.name, "the thread of a scheduler extension panicked");
        }
    }

    /// Whether it has to know of every pod that was decided before it is asked
    /// about the next.
    pub fn looks_at_pods(&self) -> bool {
        self.shared.looks_at_pods.load(Ordering::Relaxed)
    }

    pub fn ask(&self, question: &Question<'_>) -> Outcome {
        let shared = &*self.shared;
        let started = Instant::now();
        let mut seat = shared.seat.lock();
        loop {
            let seat = &mut *seat;
            if shared.is_parked(seat, question.pod) {
                return shared.absent(seat, question, Absence::Failed);
            }
            let Some(live) = &mut seat.live else {
                return shared.absent(seat, question, Absence::Failed);
            };
            if let Some(until) = live.program().in_debt_until(Instant::now()) {
                return shared.remembered(seat, question, until);
            }
            let left = question.until.map(|until| until.saturating_sub(started.elapsed()));
            if seat.up_to_date.as_ref() != Some(question.call) {
                if left.is_some_and(|left| left.is_zero()) {
                    return Outcome::Later(Postponed::NotUpToDate);
                }
                match live.catch_up_within(left, Some(&shared.followers)) {
                    Ok(true) => seat.up_to_date = Some(*question.call),
                    Ok(false) => {
                        shared.bell.drain();
                        return Outcome::Later(Postponed::NotUpToDate);
                    }
                    Err(fault) => {
                        shared.strike(seat, None, &fault);
                        continue;
                    }
                }
            }
            let may_call = left.is_none_or(|left| !left.is_zero());
            let said = live.instance.ask(question.context, question.pod, may_call, |opinion| {
                shared.group.state(opinion)
            });
            shared.tell(live, question, &said);
            match said {
                Ok(Said::Nothing) => return Outcome::Silent,
                Ok(Said::NotYet) => return Outcome::Later(Postponed::NoTime),
                Ok(Said::Opinion { stated, called }) => {
                    if called {
                        shared.health.good_on(std::iter::once(question.pod.uid()));
                    }
                    return says(stated, seat.terms.weight);
                }
                Err(fault) => shared.strike(seat, Some(question.pod), &fault),
            }
        }
    }

    /// What answers at present; None when it was stopped.
    pub fn active(&self) -> Option<Arc<Program<SchedulerExtensionPlugin>>> {
        self.shared.active.load_full()
    }

    /// Shows `follower` the present, and from then on all that the active
    /// version is told, asked and says.
    pub fn follow(
        &self,
        follower: Box<dyn Follower<ExtensionTurn>>,
    ) -> std::io::Result<FollowerHandle> {
        let shared = self.shared.clone();
        self.shared.followers.add(|id| Box::new(Joining { id, shared, follower }))
    }

    /// How it goes on from here.
    pub fn set_rollout(&self, rollout: Rollout) {
        self.shared.seat.lock().rollout = rollout;
    }

    /// The pod needs no answer any more.
    pub fn unpark(&self, pod_uid: &str) {
        if self.shared.parks.load(Ordering::Relaxed) {
            let mut seat = self.shared.seat.lock();
            self.shared.take_from_parked(&mut seat, pod_uid);
        }
    }
}

impl Drop for ExtensionUnit {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Another instance answers from now on, or none.
    pub(super) fn note(&self, seat: &Seat) {
        self.active.store((!seat.stopped).then(|| seat.program.clone()));
        // It has a view of its own, which those who follow have to be shown.
        self.followers.interrupt();
        let pods = watches(&seat.program).contains(&super::live::pod_kind());
        self.looks_at_pods.store(pods, Ordering::Relaxed);
    }

    /// Shows those who follow what the instance was asked and said.
    pub(super) fn tell(&self, live: &Live, question: &Question<'_>, said: &Result<Said, Fault>) {
        if self.followers.is_empty() {
            return;
        }
        let (answered, called) = match said {
            Ok(Said::Nothing | Said::NotYet) => return,
            Ok(Said::Opinion { stated, called }) => (Ok(stated.clone()), *called),
            Err(fault) => (Err(fault.clone()), true),
        };
        self.followers.tell(ExtensionTurn::Asked(Arc::new(Asked {
            digest: live.program().digest.clone(),
            context: question.context,
            pod: question.pod.clone(),
            names: question.names.clone(),
            called,
            answered,
        })));
    }
}
