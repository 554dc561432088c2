//! The thread of one scheduler: deltas in, batches of pods in, decisions out.

use std::sync::Arc;
use std::time::Instant;

use super::decisions;
use super::joining::{Join, first_turns};
use super::live::Live;
use super::recover::After;
use super::unit::{Next, Shared};
use crate::bindings::types::Context;
use crate::cluster::{Object, ObjectHandle};
use crate::follow::{Scheduled, SchedulerTurn};
use crate::pace::Pace;
use crate::sandbox::{Fault, thread_time};
use crate::supervise::{Input, On, Previous};

/// Pods that are decided in one call at most, if so many wait.
const BATCH: usize = 128;

/// In the first calls, before it is known how long they take.
const FIRST_BATCH: usize = 8;

/// Bindings on their way at a time; group commit makes them share their fsync.
const MAX_IN_FLIGHT: usize = 512;

pub(crate) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) live: Option<Live>,
    pub(super) previous: Option<Previous<Live>>,
    /// How many pods are decided in one call.
    pub(super) pace: Pace,
}

enum Job {
    Stop,
    Activate(Box<Next>),
    Resync,
    DropPrevious,
    CatchUp,
    /// A follower is let in.
    Join(Join),
    Decide {
        pods: Vec<ObjectHandle>,
        forget: Vec<String>,
    },
}

impl Worker {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, live: None, previous: None, pace: pace() }
    }

    pub fn run(mut self) {
        loop {
            match self.wait() {
                Job::Stop => return,
                Job::Activate(next) => self.activate(*next),
                Job::Resync => self.resync(),
                Job::DropPrevious => {
                    self.previous = None;
                    self.shared.health.previous_dropped();
                }
                Job::CatchUp => self.catch_up(),
                Job::Join(join) => self.join(join),
                Job::Decide { pods, forget } => self.decide(pods, forget),
            }
        }
    }

    fn wait(&self) -> Job {
        let mut inbox = self.shared.inbox.lock();
        loop {
            let now = Instant::now();
            if inbox.stop {
                return Job::Stop;
            }
            if let Some(next) = inbox.next.take() {
                return Job::Activate(Box::new(next));
            }
            if self.previous.as_ref().is_some_and(|previous| previous.until <= now) {
                return Job::DropPrevious;
            }
            let mut due = self.previous.as_ref().map(|previous| previous.until);
            if let Some(live) = &self.live {
                if std::mem::take(&mut inbox.resync) {
                    return Job::Resync;
                }
                let delivered = inbox.delivered;
                if let Some(ready) = inbox.joins.iter().position(|join| join.floor <= delivered)
                    && live.floor <= delivered
                {
                    return Job::Join(inbox.joins.swap_remove(ready));
                }
                if let Some(debt) = live.program().in_debt_until(now) {
                    let due = due.into_iter().chain([debt]).min().unwrap_or(debt);
                    self.shared.wake.wait_until(&mut inbox, due);
                    continue;
                }
                let room = MAX_IN_FLIGHT.saturating_sub(inbox.in_flight).min(self.pace.size());
                let room = room.min(self.shared.extensions.most_pods_per_call());
                if room > 0 && inbox.pending.is_ready(now) {
                    let pods = inbox.pending.take(room, now);
                    live.program().metrics.queue_depth(inbox.pending.depth());
                    return Job::Decide { pods, forget: std::mem::take(&mut inbox.forget) };
                }
                if std::mem::take(&mut inbox.feed_full) {
                    return Job::CatchUp;
                }
                due = due.into_iter().chain(inbox.pending.next_due()).min();
            }
            match due {
                Some(due) => {
                    self.shared.wake.wait_until(&mut inbox, due);
                }
                None => self.shared.wake.wait(&mut inbox),
            }
        }
    }

    /// Flips to the new version. It has replayed the cluster already; what is
    /// left is what happened since, bindings of the old version included.
    fn activate(&mut self, mut next: Next) {
        let _until_done = next.taken;
        let started = Instant::now();
        *self.shared.rollout.lock() = next.rollout;
        let assumed = self.assumed();
        let fed = next.live.instance.assume(&assumed).and_then(|()| next.live.catch_up(None));
        let late = match fed {
            Ok(()) => None,
            // With nothing that goes on in its place, one that was slow once is
            // started again before it is given up.
            Err(fault @ Fault::Deadline(_)) if self.live.is_none() => Some(fault),
            Err(fault) => {
                // It never decided anything: the old version simply goes on.
                let pause = started.elapsed();
                return self.refuse(&next.live, &fault, pause);
            }
        };
        let version = next.live.version();
        let names = next.live.program().description.scheduler_names.clone();
        let before = self.put(next.live);
        let pause = started.elapsed();
        self.pace = pace();
        if let Some(before) = before {
            self.previous =
                Some(Previous { live: before, until: Instant::now() + next.rollout.window });
        }
        let previous = self.previous.as_ref().map(|previous| previous.live.version());
        self.answer_to(names);
        self.shared.health.activated(version, previous, pause);
        self.shared.inbox.lock().pending.trust_all(Instant::now());
        if let Some(fault) = late {
            self.strike(On::Nothing, &fault);
        }
    }

    /// Lists the pods that wait, if they are others than before.
    pub(super) fn answer_to(&self, names: Vec<String>) {
        {
            let mut inbox = self.shared.inbox.lock();
            if inbox.scheduler_names == names {
                return;
            }
            inbox.scheduler_names = names;
        }
        self.shared.list_pending();
    }

    /// Bindings that are decided and not yet seen in the event stream.
    pub(super) fn assumed(&self) -> Vec<(ObjectHandle, String)> {
        self.shared.inbox.lock().assumed.values().cloned().collect()
    }

    fn resync(&mut self) {
        self.previous = None;
        self.rebuild();
        self.shared.list_pending();
    }

    /// Another instance decides from now on: it has a view of its own, which
    /// those who follow have to be shown.
    pub(super) fn put(&mut self, live: Live) -> Option<Live> {
        self.shared.active.store(Some(live.program().clone()));
        // Those that wait to be let in as well: what they were shown may be less
        // than this version watches.
        self.shared.followers.interrupt();
        self.live.replace(live)
    }

    /// Lets a follower in that knows all but what lies in its feed.
    fn join(&mut self, join: Join) {
        let Some(live) = &mut self.live else { return };
        let assumed: Vec<_> = self.shared.inbox.lock().assumed.values().cloned().collect();
        let (own, others) = self.shared.empty_both(&live.feed, &join.feed);
        match live.sync(own, Some(&self.shared.followers)) {
            Ok(()) => {
                let first = first_turns(assumed, &others);
                self.shared.followers.admit(join.id, join.cuts, first);
            }
            Err(fault) => {
                // What lay in the feeds is covered by the lists of the next attempt.
                self.shared.followers.again(join.id);
                self.strike(On::Nothing, &fault);
            }
        }
    }

    fn catch_up(&mut self) {
        if let Some(live) = &mut self.live
            && let Err(fault) = live.catch_up(Some(&self.shared.followers))
        {
            self.strike(On::Nothing, &fault);
        }
        if let Some(previous) = &mut self.previous
            && previous.live.catch_up(None).is_err()
        {
            self.previous = None;
        }
    }

    fn decide(&mut self, pods: Vec<ObjectHandle>, mut forget: Vec<String>) {
        if let Some(previous) = &mut self.previous
            && previous.live.instance.forget(&forget).is_err()
        {
            self.previous = None;
        }
        let uids: Vec<&str> = pods.iter().map(|pod| pod.uid()).collect();
        loop {
            let Some(live) = &mut self.live else {
                return self.shared.inbox.lock().pending.put_back(&uids, Instant::now());
            };
            let followers = &self.shared.followers;
            let fed = live.catch_up(Some(followers)).and_then(|()| live.instance.forget(&forget));
            if let Err(fault) = fed {
                if !matches!(self.strike(On::Nothing, &fault), After::Again) {
                    return self.shared.inbox.lock().pending.put_back(&uids, Instant::now());
                }
                // The version that takes over has assumed none of them.
                forget.clear();
                continue;
            }
            if !forget.is_empty() && !followers.is_empty() {
                followers.tell(SchedulerTurn::Forget(forget.as_slice().into()));
            }
            forget.clear();
            let context = Context {
                now_unix_ms: self.shared.cluster.now_unix_ms(),
                seed: self.shared.seeds.next(),
                revision: self.shared.cluster.revision(),
            };
            let (answers, heard) = self.shared.extensions.call(context, &pods).unzip();
            live.instance.sandbox.set_answers(answers);
            let before = thread_time();
            let decided = live.instance.schedule(context, &pods);
            let used = thread_time().saturating_sub(before);
            live.instance.sandbox.set_answers(None);
            let heard = heard.map(|heard| Arc::new(std::mem::take(&mut *heard.lock())));
            if !followers.is_empty() {
                followers.tell(SchedulerTurn::Schedule(Arc::new(Scheduled {
                    digest: live.program().digest.clone(),
                    context,
                    pods: pods.clone(),
                    heard: heard.clone(),
                    decided: decided.clone(),
                })));
            }
            let fault = match decided {
                Ok(decisions) => {
                    self.shared.health.good_on(uids.iter());
                    self.pace.took(pods.len(), used);
                    let metrics = live.program().metrics.clone();
                    let heard = heard.unwrap_or_default();
                    return self.shared.perform(&metrics, &pods, decisions, &heard);
                }
                Err(fault) => fault,
            };
            self.pace.failed(pods.len());
            let input = pods.first().map(|pod| input(&**pod));
            let on = match &input {
                Some(input) if pods.len() == 1 => On::Input(input),
                _ => On::Several(&uids),
            };
            match self.strike(on, &fault) {
                After::Again => {}
                After::Later => {
                    let mut inbox = self.shared.inbox.lock();
                    return inbox.pending.faulted(&uids, Instant::now());
                }
                After::Park => return self.leave_alone(&pods),
            }
        }
    }
}

pub(super) fn pace() -> Pace {
    Pace::new(FIRST_BATCH, BATCH)
}

fn input(pod: &dyn Object) -> Input {
    Input { id: pod.uid().to_owned(), object: decisions::target(pod), uid: pod.uid().to_owned() }
}
