//! One authorizer as the manager holds it: the version that answers and the one
//! before, on the threads of those who ask, and a thread that looks after both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::asking::{Call, NoAnswer};
use super::joining::Joining;
use super::keeper::{self, Bell};
use super::live::{Live, watches};
use super::request::{self, Key, Question};
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::cluster::Cluster;
use crate::events::Hub;
use crate::follow::{AuthorizerTurn, Follower, FollowerHandle, Followers, Judged, RulesListed};
use crate::plugin::{FailurePolicy, PluginSpec};
use crate::program::authorizer_interface::{Decision, RuleSet, User};
use crate::program::{LoadError, Program};
use crate::seed::Seeds;
use crate::supervise::{Health, Previous, Rollout};

/// With more to be told first, a question is asked on a thread that may block.
const QUICK: usize = 100;

/// What the Plugin object says about the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Lower is asked first.
    pub priority: i32,
    /// What an answer that does not come means.
    pub failure_policy: FailurePolicy,
}

impl Terms {
    pub fn of(spec: &PluginSpec) -> Self {
        Self { priority: spec.priority, failure_policy: spec.failure_policy() }
    }
}

pub(crate) struct AuthorizerUnit {
    pub name: Arc<str>,
    priority: AtomicI32,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Shared {
    pub cluster: Arc<dyn Cluster>,
    pub hub: Arc<Hub>,
    pub health: Arc<Health>,
    pub seeds: Seeds,
    pub bell: Arc<Bell>,
    /// None while it is stopped.
    pub active: ArcSwapOption<Program<AuthorizerPlugin>>,
    pub followers: Arc<Followers<AuthorizerTurn>>,
    pub seat: Mutex<Seat>,
}

pub(super) struct Seat {
    pub program: Arc<Program<AuthorizerPlugin>>,
    /// None: it faulted; whoever asks next builds another one.
    pub live: Option<Live>,
    pub previous: Option<Previous<Live>>,
    pub rollout: Rollout,
    pub failure_policy: FailurePolicy,
    pub stopped: bool,
    /// Questions that it trips over again and again, and what those are told,
    /// until something changes.
    pub parked: BTreeMap<String, String>,
}

impl AuthorizerUnit {
    pub fn start(
        program: Arc<Program<AuthorizerPlugin>>,
        rollout: Rollout,
        terms: Terms,
        cluster: Arc<dyn Cluster>,
        hub: Arc<Hub>,
        health: Arc<Health>,
    ) -> Result<Self, LoadError> {
        let bell = Arc::new(Bell::default());
        let live = Live::start(program.clone(), &*cluster, &hub, &bell)?;
        let (name, version) = (program.name.clone(), live.version());
        let shared = Arc::new(Shared {
            seeds: Seeds::starting_at(cluster.now_unix_ms().unsigned_abs()),
            cluster,
            hub,
            health,
            bell,
            active: ArcSwapOption::from(Some(program.clone())),
            followers: Arc::default(),
            seat: Mutex::new(Seat {
                program,
                live: Some(live),
                previous: None,
                rollout,
                failure_policy: terms.failure_policy,
                stopped: false,
                parked: BTreeMap::new(),
            }),
        });
        let thread = std::thread::Builder::new()
            .name(format!("plugin-{name}"))
            .spawn({
                let shared = shared.clone();
                move || keeper::run(&shared)
            })
            .map_err(|error| LoadError::Source(format!("cannot start a thread: {error}")))?;
        shared.health.activated(version, None, Duration::ZERO);
        Ok(Self {
            name,
            priority: AtomicI32::new(terms.priority),
            shared,
            thread: Mutex::new(Some(thread)),
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
        let shared = &*self.shared;
        let live = Live::start(program.clone(), &*shared.cluster, &shared.hub, &shared.bell)?;
        let started = Instant::now();
        let mut seat = shared.seat.lock();
        let version = live.version();
        let before = seat.live.replace(live);
        seat.previous = before.map(|live| Previous { live, until: started + rollout.window });
        (seat.program, seat.rollout) = (program, rollout);
        (seat.failure_policy, seat.stopped) = (terms.failure_policy, false);
        seat.parked.clear();
        self.priority.store(terms.priority, Ordering::Relaxed);
        let previous = seat.previous.as_ref().map(|previous| previous.live.version());
        shared.note(&seat);
        shared.health.activated(version, previous, started.elapsed());
        Ok(())
    }

    pub fn set_rollout(&self, rollout: Rollout) {
        self.shared.seat.lock().rollout = rollout;
    }

    pub fn priority(&self) -> i32 {
        self.priority.load(Ordering::Relaxed)
    }

    /// What answers at present; None when it was stopped.
    pub fn active(&self) -> Option<Arc<Program<AuthorizerPlugin>>> {
        self.shared.active.load_full()
    }

    /// What the version that answers is told of.
    pub fn watches(&self) -> Vec<pintle_api::meta::GroupVersionKind> {
        watches(&self.shared.seat.lock().program)
    }

    /// Shows `follower` the present, and from then on all that the active
    /// version is told, asked and says.
    pub fn follow(
        &self,
        follower: Box<dyn Follower<AuthorizerTurn>>,
    ) -> std::io::Result<FollowerHandle> {
        let shared = self.shared.clone();
        self.shared.followers.add(|id| Box::new(Joining { id, shared, follower }))
    }

    /// Until when requests have to wait because the plugin has used up its share
    /// of the processors.
    pub fn in_debt_until(&self, now: Instant) -> Option<Instant> {
        self.shared.seat.try_lock()?.program.in_debt_until(now)
    }

    /// What it has said before, if nothing has happened since and nobody has to
    /// be told.
    pub(super) fn remembered(&self, key: &Key) -> Option<Decision> {
        if !self.shared.followers.is_empty() {
            return None;
        }
        let seat = self.shared.seat.try_lock()?;
        let live = seat.live.as_ref().filter(|live| !seat.stopped && !live.is_broken())?;
        let decision = live.instance.remembered(key)?;
        (live.behind() == 0).then(|| decision.clone())
    }

    /// The answer, if it can be given without holding up the thread.
    pub(super) fn authorize_quickly(
        &self,
        question: &Arc<Question>,
    ) -> Option<Result<Decision, NoAnswer>> {
        let mut seat = self.shared.seat.try_lock()?;
        let quick = seat.live.as_ref().is_some_and(|live| {
            !live.is_broken() && live.behind() <= QUICK && !live.program().is_wasi()
        });
        quick.then(|| self.shared.authorize(&mut seat, question))
    }

    /// The answer, however long that takes.
    pub(super) fn authorize(&self, question: &Arc<Question>) -> Result<Decision, NoAnswer> {
        self.shared.authorize(&mut self.shared.seat.lock(), question)
    }

    /// What the user may do in a namespace.
    pub(super) fn rules(&self, user: &User, namespace: &str) -> Result<RuleSet, NoAnswer> {
        let call = Call {
            input: &|| request::listing(user, namespace),
            make: &|live, context| {
                live.instance.rules(context, user, namespace).map(|rules| (rules, true))
            },
            turn: &|live, context, _, answered| {
                AuthorizerTurn::Rules(Arc::new(RulesListed {
                    digest: live.program().digest.clone(),
                    context,
                    user: user.clone(),
                    namespace: namespace.to_owned(),
                    answered,
                }))
            },
        };
        self.shared.ask(&mut self.shared.seat.lock(), &call)
    }
}

impl Drop for AuthorizerUnit {
    fn drop(&mut self) {
        self.shared.bell.stop();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!(plugin = %self.name, "the thread of an authorizer panicked");
        }
    }
}

impl Shared {
    fn authorize(&self, seat: &mut Seat, question: &Arc<Question>) -> Result<Decision, NoAnswer> {
        let call = Call {
            input: &|| request::input(&question.attributes),
            make: &|live, context| match live.instance.remembered(&question.key) {
                Some(decision) => Ok((decision.clone(), false)),
                None => live.instance.authorize(context, question).map(|decision| (decision, true)),
            },
            turn: &|live, context, called, answered| {
                AuthorizerTurn::Asked(Arc::new(Judged {
                    digest: live.program().digest.clone(),
                    context,
                    question: question.clone(),
                    called,
                    answered,
                }))
            },
        };
        self.ask(seat, &call)
    }

    /// One turn's worth of what has happened, into both versions. False if
    /// nothing is left, or nobody is there to be told.
    pub fn catch_up_some(&self, seat: &mut Seat) -> bool {
        let mut more = false;
        if let Some(live) = seat.live.as_mut().filter(|live| !live.is_broken()) {
            match live.catch_up_some(Some(&self.followers)) {
                Ok(told) => {
                    more |= told;
                    if told {
                        self.unpark(seat);
                    }
                }
                Err(fault) => {
                    self.strike(seat, None, &fault);
                }
            }
        }
        if let Some(previous) = &mut seat.previous {
            match previous.live.catch_up_some(None) {
                Ok(told) => more |= told,
                Err(_) => {
                    seat.previous = None;
                    self.health.previous_dropped();
                }
            }
        }
        more
    }

    /// What it tripped over may be another question now.
    pub(super) fn unpark(&self, seat: &mut Seat) {
        for (id, _) in std::mem::take(&mut seat.parked) {
            self.health.unparked(&id);
        }
    }

    pub fn previous_until(&self) -> Option<Instant> {
        self.seat.lock().previous.as_ref().map(|previous| previous.until)
    }

    pub fn drop_previous(&self, now: Instant) {
        self.drop_expired(&mut self.seat.lock(), now);
    }

    pub(super) fn drop_expired(&self, seat: &mut Seat, now: Instant) {
        if seat.previous.take_if(|previous| previous.until <= now).is_some() {
            self.health.previous_dropped();
        }
    }
}
