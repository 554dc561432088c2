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
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::call::Postponed;
use super::group::Extensions;
use super::instance::{Said, is_for};
use super::joining::{Join, Joining};
use super::live::{Live, watches};
use super::numbering::{Began, Names};
use super::opinion::{Part, Stated};
use crate::action::Target;
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::bindings::types::Context;
use crate::cluster::ObjectHandle;
use crate::follow::{Asked, ExtensionTurn, Follower, FollowerHandle, Followers};
use crate::plugin::FailurePolicy;
use crate::program::{LoadError, Program};
use crate::sandbox::Fault;
use crate::supervise::{Health, Input, On, Previous, Remedy, Rollout, take_warm};

/// Between two attempts to build an instance anew; doubled each time.
const REBUILD_BACKOFF: Duration = Duration::from_millis(20);
const REBUILD_BACKOFF_CAP: Duration = Duration::from_secs(5);

/// Who wants to follow is let in when the instance can be told what is left in so long.
const ADMISSION: Duration = Duration::from_millis(4);

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
    health: Arc<Health>,
    pub bell: Arc<Bell>,
    /// None while it is stopped.
    active: ArcSwapOption<Program<SchedulerExtensionPlugin>>,
    pub followers: Arc<Followers<ExtensionTurn>>,
    /// Of the version that answers.
    looks_at_pods: AtomicBool,
    /// Whether a pod is parked.
    parks: AtomicBool,
    seat: Mutex<Seat>,
}

struct Seat {
    program: Arc<Program<SchedulerExtensionPlugin>>,
    /// None: it is being built anew, or was stopped.
    live: Option<Live>,
    previous: Option<Previous<Live>>,
    rollout: Rollout,
    terms: Terms,
    stopped: bool,
    /// Pods that it trips over again and again, in the revision in which it does.
    parked: BTreeMap<String, u64>,
    /// The call at whose beginning the instance was brought up to date.
    up_to_date: Option<Began>,
    /// The answer under the failure policy `Fail`, at a version of the numbering.
    refusal: Option<(u64, Absence, Arc<Stated>)>,
}

/// Why an extension is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    Failed,
    /// It has used up its share of the processors.
    InDebt,
}

/// Wakes the thread of an extension.
#[derive(Default)]
pub(crate) struct Bell {
    jobs: Mutex<Jobs>,
    rung: Condvar,
}

#[derive(Default)]
struct Jobs {
    stop: bool,
    drain: bool,
    /// Build the instance anew.
    rebuild: bool,
    /// Something changed that the thread has a timer for.
    look: bool,
    /// Schedulers are to be told that answers may differ from now on.
    announce: bool,
    /// Followers that wait to be let in.
    joins: Vec<Join>,
    /// It can be tried now.
    admit: bool,
    /// Until then the instance is called by nobody: its share of the processors
    /// is used up.
    owes_until: Option<Instant>,
    /// Pods were rejected because of that.
    announce_when_paid: bool,
}

enum Job {
    Stop,
    Drain,
    Rebuild,
    DropPrevious,
    Announce,
    Admit,
}

impl Bell {
    fn ring(&self, set: impl FnOnce(&mut Jobs)) {
        set(&mut self.jobs.lock());
        self.rung.notify_one();
    }

    /// The feed is long.
    pub fn drain(&self) {
        self.ring(|jobs| jobs.drain = true);
    }

    /// A follower wants to be let in.
    pub(super) fn join(&self, join: Join) {
        self.ring(|jobs| {
            jobs.joins.retain(|other| other.id != join.id);
            jobs.joins.push(join);
            jobs.admit = true;
        });
    }

    /// `job` has to wait until the share of the processors has paid for what was
    /// used.
    fn owe(&self, until: Instant, job: impl FnOnce(&mut Jobs)) {
        self.ring(|jobs| {
            job(jobs);
            jobs.owes_until = Some(until);
        });
    }

    /// Pods are rejected until then.
    fn announce_when_paid(&self, until: Instant) {
        let mut jobs = self.jobs.lock();
        if !std::mem::replace(&mut jobs.announce_when_paid, true) {
            jobs.owes_until = Some(until);
            self.rung.notify_one();
        }
    }

    /// Events were lost: the instance has to begin anew.
    pub fn resync(&self) {
        self.ring(|jobs| jobs.rebuild = true);
    }
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
    fn note(&self, seat: &Seat) {
        self.active.store((!seat.stopped).then(|| seat.program.clone()));
        // It has a view of its own, which those who follow have to be shown.
        self.followers.interrupt();
        let pods = watches(&seat.program).contains(&super::live::pod_kind());
        self.looks_at_pods.store(pods, Ordering::Relaxed);
    }

    /// What an extension says that must not be called before `until`: what it
    /// said of a pod like this, if nothing has happened since that it was not told.
    fn remembered(&self, seat: &mut Seat, question: &Question<'_>, until: Instant) -> Outcome {
        let is_current = seat.up_to_date.as_ref() == Some(question.call);
        if let Some(live) = &mut seat.live
            && (is_current || live.feed.len() == 0)
        {
            let state = |opinion| self.group.state(opinion);
            match live.instance.ask(question.context, question.pod, false, state) {
                Ok(Said::Nothing) => return Outcome::Silent,
                Ok(Said::Opinion { stated, .. }) => return says(stated, seat.terms.weight),
                // It is not called, so nothing can go wrong.
                Ok(Said::NotYet) | Err(_) => {}
            }
        }
        let outcome = self.absent(seat, question, Absence::InDebt);
        if matches!(outcome, Outcome::Says(_)) {
            self.bell.announce_when_paid(until);
        }
        outcome
    }

    /// What is said in place of an extension that cannot answer.
    fn absent(&self, seat: &mut Seat, question: &Question<'_>, why: Absence) -> Outcome {
        if seat.terms.failure_policy == FailurePolicy::Ignore
            || !is_for(&seat.program, question.pod)
        {
            return Outcome::Silent;
        }
        let version = question.names.version;
        let stated = match &seat.refusal {
            Some((at, because, stated)) if (*at, *because) == (version, why) => stated.clone(),
            _ => {
                let name = &seat.program.name;
                let reason = match why {
                    Absence::Failed => format!("extension {name} failed"),
                    Absence::InDebt => format!("extension {name} has used up its cpuMillicores"),
                };
                self.group.all_rejected(reason, question.names)
            }
        };
        seat.refusal = Some((version, why, stated.clone()));
        Outcome::Says(Part { stated, weight: 0 })
    }

    /// Whether the pod is left alone in this form.
    fn is_parked(&self, seat: &mut Seat, pod: &ObjectHandle) -> bool {
        match seat.parked.get(pod.uid()) {
            None => false,
            Some(revision) if pod.revision() <= *revision => true,
            Some(_) => {
                self.take_from_parked(seat, pod.uid());
                false
            }
        }
    }

    fn take_from_parked(&self, seat: &mut Seat, pod_uid: &str) {
        if seat.parked.remove(pod_uid).is_some() {
            self.parks.store(!seat.parked.is_empty(), Ordering::Relaxed);
            self.health.unparked(pod_uid);
        }
    }

    /// Afterwards another version answers, or none. `pod`: what it was asked about.
    fn strike(&self, seat: &mut Seat, pod: Option<&ObjectHandle>, fault: &Fault) {
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

    fn run(&self) {
        let mut attempts = 0;
        loop {
            match self.wait() {
                Job::Stop => return,
                Job::Drain => self.drain(),
                Job::Announce => self.group.changed(),
                Job::Admit => self.admit(),
                Job::DropPrevious => {
                    self.seat.lock().previous = None;
                    self.health.previous_dropped();
                }
                Job::Rebuild => {
                    if let Some(until) = self.in_debt_until() {
                        self.bell.owe(until, |jobs| jobs.rebuild = true);
                    } else if self.rebuild() {
                        attempts = 0;
                        self.group.changed();
                    } else {
                        self.back_off(attempts);
                        attempts += 1;
                    }
                }
            }
        }
    }

    fn wait(&self) -> Job {
        loop {
            let due = self.seat.lock().previous.as_ref().map(|previous| previous.until);
            let mut jobs = self.bell.jobs.lock();
            if jobs.stop {
                return Job::Stop;
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                return Job::DropPrevious;
            }
            let owes = jobs.owes_until.filter(|until| *until > Instant::now());
            if owes.is_none() {
                jobs.owes_until = None;
                jobs.announce |= std::mem::take(&mut jobs.announce_when_paid);
                if std::mem::take(&mut jobs.rebuild) {
                    return Job::Rebuild;
                }
                if std::mem::take(&mut jobs.drain) {
                    return Job::Drain;
                }
                if std::mem::take(&mut jobs.admit) {
                    return Job::Admit;
                }
            }
            if std::mem::take(&mut jobs.announce) {
                return Job::Announce;
            }
            if std::mem::take(&mut jobs.look) {
                continue;
            }
            match due.into_iter().chain(owes).min() {
                Some(due) => {
                    self.bell.rung.wait_until(&mut jobs, due);
                }
                None => self.bell.rung.wait(&mut jobs),
            }
        }
    }

    fn in_debt_until(&self) -> Option<Instant> {
        self.seat.lock().program.in_debt_until(Instant::now())
    }

    /// Unless it is to stop, waits a while.
    fn back_off(&self, attempts: u32) {
        let pause = REBUILD_BACKOFF.saturating_mul(1 << attempts.min(16)).min(REBUILD_BACKOFF_CAP);
        let until = Instant::now() + pause;
        let mut jobs = self.bell.jobs.lock();
        while !jobs.stop && !self.bell.rung.wait_until(&mut jobs, until).timed_out() {}
    }

    /// Tells both versions what has happened, in between of what they are asked.
    fn drain(&self) {
        let mut more = true;
        while more && !self.bell.jobs.lock().stop {
            if let Some(until) = self.in_debt_until() {
                return self.bell.owe(until, |jobs| jobs.drain = true);
            }
            let mut seat = self.seat.lock();
            more = false;
            if let Some(live) = &mut seat.live {
                match live.catch_up_some(Some(&self.followers)) {
                    Ok(left) => more |= left,
                    Err(fault) => self.strike(&mut seat, None, &fault),
                }
            }
            if let Some(previous) = &mut seat.previous {
                match previous.live.catch_up_some(None) {
                    Ok(left) => more |= left,
                    Err(_) => {
                        seat.previous = None;
                        self.health.previous_dropped();
                    }
                }
            }
            // Whoever asks goes first.
            MutexGuard::unlock_fair(seat);
        }
    }

    /// Lets those in who want to follow, once the instance has been told all
    /// that happened. Where there is none they come again when there is.
    fn admit(&self) {
        if let Some(until) = self.in_debt_until() {
            return self.bell.owe(until, |jobs| jobs.admit = true);
        }
        self.drain();
        let mut seat = self.seat.lock();
        let Some(live) = &mut seat.live else { return };
        match live.catch_up_within(Some(ADMISSION), Some(&self.followers)) {
            Err(fault) => return self.strike(&mut seat, None, &fault),
            Ok(false) => return self.bell.ring(|jobs| jobs.admit = true),
            Ok(true) => {}
        }
        let Some(present) = self.group.present(&live.feed, live.program()) else {
            return self.bell.ring(|jobs| jobs.admit = true);
        };
        let (present, joins) =
            (Arc::new(present), std::mem::take(&mut self.bell.jobs.lock().joins));
        for Join { id, cuts } in joins {
            self.followers.admit(id, cuts, vec![ExtensionTurn::Start(present.clone())]);
        }
    }

    /// Shows those who follow what the instance was asked and said.
    fn tell(&self, live: &Live, question: &Question<'_>, said: &Result<Said, Fault>) {
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

    /// A fresh instance of the same version. False if it has to be tried again.
    fn rebuild(&self) -> bool {
        let program = {
            let seat = self.seat.lock();
            if seat.stopped {
                return true;
            }
            seat.program.clone()
        };
        let fresh = Live::start(program.clone(), &self.group, &self.bell)
            .and_then(|mut live| live.catch_up(None).map(|()| live).map_err(LoadError::Start));
        let mut seat = self.seat.lock();
        if !Arc::ptr_eq(&seat.program, &program) {
            // Another version was put in place meanwhile.
            return true;
        }
        // It began with lists that the one before has not seen either.
        if seat.previous.take().is_some() {
            self.health.previous_dropped();
        }
        let fault = match fresh {
            Ok(live) => {
                seat.live = Some(live);
                seat.up_to_date = None;
                self.note(&seat);
                return true;
            }
            Err(LoadError::Start(fault)) => fault,
            Err(error) => Fault::BadReply(error.to_string()),
        };
        self.strike(&mut seat, None, &fault);
        // The bell was rung for the next attempt, which is not to come at once.
        self.bell.jobs.lock().rebuild = !seat.stopped && seat.live.is_none();
        seat.stopped || seat.live.is_some()
    }
}

fn says(stated: Arc<Stated>, weight: u32) -> Outcome {
    if stated.opinion.is_empty() {
        return Outcome::Silent;
    }
    Outcome::Says(Part { stated, weight })
}

fn input(pod: &ObjectHandle) -> Input {
    let object = Target {
        kind: (**pod.kind()).clone(),
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
    };
    Input { id: pod.uid().to_owned(), object, uid: pod.uid().to_owned() }
}
