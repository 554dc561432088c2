//! Pods that wait for a node: in order of priority and arrival, in back-off
//! after a failed binding, parked until something happens that may help, or
//! under suspicion because a plugin faulted on a batch that they were in.

mod suspects;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::cluster::ObjectHandle;
use crate::program::scheduler_interface::Wake;

/// Between two attempts of one pod: doubled each time, so that neither a busy
/// cluster nor a contended node makes a pod spin.
const BACKOFF_BASE: Duration = Duration::from_millis(20);
const BACKOFF_CAP: Duration = Duration::from_secs(10);

/// A parked pod is tried again after so long although nothing happened that it
/// waits for: a plugin's wake flags may be wrong, a pod must not be forgotten.
const PARKED_AT_MOST: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(crate) struct Pending {
    pods: HashMap<String, Entry>,
    active: BTreeMap<(Reverse<i32>, u64), String>,
    /// Since when those wait, in the order in which they became active.
    waiting: BTreeMap<u64, Instant>,
    timers: BinaryHeap<Reverse<(Instant, u64, String)>>,
    sequence: u64,
    /// For each wake flag, when (in `clock`) it was raised last.
    raised: Vec<(Wake, u64)>,
    clock: u64,
    /// Groups of pods one of which a plugin faulted on, the next one last.
    suspects: Vec<Vec<String>>,
    /// Suspects and others take turns, so that neither waits for the other.
    suspects_next: bool,
    /// Were poisonous, and have changed or gone since somebody asked.
    freed: Vec<String>,
    /// Pods of which an extension said, when they were decided last, that some
    /// node will not do.
    rejected: HashSet<String>,
    /// When (in `clock`) extensions were last known to say something else.
    reconsidered: u64,
}

struct Entry {
    pod: ObjectHandle,
    priority: i32,
    arrival: u64,
    /// Its place in `waiting`.
    activation: u64,
    attempts: u32,
    state: State,
    /// A plugin faulted on it alone: it is decided alone until it is.
    suspect: bool,
    /// What the pod was told last, so that it is not told again.
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    /// With the plugin; it saw what had happened until then.
    Deciding {
        clock: u64,
    },
    /// Given a node, until the event stream shows it.
    Binding,
    Parked {
        wake_on: Wake,
        timer: u64,
        since: Instant,
    },
    BackingOff {
        timer: u64,
    },
    /// In a group of suspects.
    Suspect,
    /// A plugin faults on it again and again: left alone in this form.
    Poisonous {
        revision: u64,
    },
}

impl Pending {
    /// The pod waits for a node, in this form. `changed`: in a way that may matter.
    pub fn put(&mut self, pod: ObjectHandle, priority: i32, changed: bool, now: Instant) {
        if let Some(entry) = self.pods.get_mut(pod.uid()) {
            entry.pod = pod.clone();
            if let State::Poisonous { revision } = entry.state {
                if pod.revision() > revision {
                    self.freed.push(pod.uid().to_owned());
                    self.activate(pod.uid(), now);
                }
                return;
            }
            if changed && matches!(entry.state, State::Parked { .. }) {
                self.try_again(pod.uid(), now);
            }
            return;
        }
        self.sequence += 1;
        let arrival = self.sequence;
        let uid = pod.uid().to_owned();
        let entry = Entry {
            pod,
            priority,
            arrival,
            activation: arrival,
            attempts: 0,
            state: State::Active,
            suspect: false,
            message: None,
        };
        self.pods.insert(uid.clone(), entry);
        self.activate(&uid, now);
    }

    /// The pod waits no longer: bound, gone, gated.
    pub fn remove(&mut self, uid: &str) {
        self.rejected.remove(uid);
        if let Some(entry) = self.pods.remove(uid) {
            self.active.remove(&(Reverse(entry.priority), entry.arrival));
            self.waiting.remove(&entry.activation);
            if matches!(entry.state, State::Poisonous { .. }) {
                self.freed.push(uid.to_owned());
            }
        }
    }

    /// Keeps only the pods that are in `present`.
    pub fn retain(&mut self, present: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.pods.keys().filter(|uid| !present(uid)).cloned().collect();
        for uid in gone {
            self.remove(&uid);
        }
    }

    /// The next pods to decide, at most `max`.
    pub fn take(&mut self, max: usize, now: Instant) -> Vec<ObjectHandle> {
        self.fire_timers(now);
        if self.suspects_next || self.active.is_empty() {
            let taken = self.take_suspects(max);
            if !taken.is_empty() {
                self.suspects_next = false;
                return taken;
            }
        }
        self.suspects_next = true;
        let mut taken = Vec::with_capacity(max.min(self.active.len()));
        while taken.len() < max
            && let Some((_, uid)) = self.active.pop_first()
        {
            taken.extend(self.hand_out(&uid));
        }
        taken
    }

    fn hand_out(&mut self, uid: &str) -> Option<ObjectHandle> {
        let entry = self.pods.get_mut(uid)?;
        entry.state = State::Deciding { clock: self.clock };
        self.waiting.remove(&entry.activation);
        Some(entry.pod.clone())
    }

    pub fn is_ready(&mut self, now: Instant) -> bool {
        self.fire_timers(now);
        !self.active.is_empty() || !self.suspects.is_empty()
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _, _))| *at)
    }

    /// How many wait, for whatever reason, without those being bound.
    pub fn depth(&self) -> usize {
        self.active.len() + self.suspects.iter().map(Vec::len).sum::<usize>()
    }

    /// How long the pod has been waiting that has waited longest for its turn.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let (_, since) = self.waiting.first_key_value()?;
        Some(now.saturating_duration_since(*since))
    }

    /// It was not its turn after all.
    pub fn postpone(&mut self, uid: &str, wait: Duration, now: Instant) {
        if wait.is_zero() { self.activate(uid, now) } else { self.delay(uid, now + wait) }
    }

    /// If the pod is parked now, that may be an extension's doing.
    pub fn rejected_by_extension(&mut self, uid: &str) {
        if self.pods.contains_key(uid) {
            self.rejected.insert(uid.to_owned());
        }
    }

    /// Extensions may say something else of the pods that they rejected.
    /// `anew`: because they are others now, so that back-off would be for nothing.
    pub fn reconsider(&mut self, anew: bool, now: Instant) {
        self.clock += 1;
        self.reconsidered = self.clock;
        for uid in std::mem::take(&mut self.rejected) {
            let Some(entry) = self.pods.get_mut(&uid) else { continue };
            match entry.state {
                // Whoever decides it is about to park it for what was said before.
                State::Deciding { .. } => {
                    self.rejected.insert(uid);
                }
                State::Parked { .. } | State::BackingOff { .. } if anew => {
                    entry.attempts = 0;
                    self.activate(&uid, now);
                }
                State::Parked { .. } => self.try_again(&uid, now),
                _ => {}
            }
        }
    }

    /// A node was found; the binding is on its way.
    pub fn binding(&mut self, uid: &str) {
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.state = State::Binding;
            entry.suspect = false;
        }
    }

    /// The attempt failed for a reason that passes.
    pub fn failed(&mut self, uid: &str, now: Instant) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let delay = backoff(entry.attempts);
        entry.attempts = entry.attempts.saturating_add(1);
        self.delay(uid, now + delay);
    }

    /// No node fits at present. True if the pod has to be told: the message is new.
    pub fn park(&mut self, uid: &str, wake_on: Wake, message: &str, now: Instant) -> bool {
        let Some(entry) = self.pods.get_mut(uid) else { return false };
        let seen = match entry.state {
            State::Deciding { clock } => clock,
            _ => self.clock,
        };
        let news = entry.message.as_deref() != Some(message);
        entry.message = Some(message.to_owned());
        entry.suspect = false;
        entry.attempts = entry.attempts.saturating_add(1);
        let missed = self.raised.iter().any(|(flag, at)| *at > seen && wake_on.contains(*flag))
            || (self.reconsidered > seen && self.rejected.contains(uid));
        if missed {
            // What it waits for happened while the plugin was thinking.
            let delay = backoff(entry.attempts);
            self.delay(uid, now + delay);
        } else {
            let timer = self.timer(uid, now + PARKED_AT_MOST);
            if let Some(entry) = self.pods.get_mut(uid) {
                entry.state = State::Parked { wake_on, timer, since: now };
            }
        }
        news
    }

    /// Something happened that pods may wait for.
    pub fn wake(&mut self, flags: Wake, now: Instant) {
        if flags == Wake::empty() {
            return;
        }
        self.clock += 1;
        for flag in [Wake::NODE_CHANGED, Wake::POD_REMOVED, Wake::POD_ADDED, Wake::OTHER_CHANGED] {
            if flags.contains(flag) {
                self.raised.retain(|(raised, _)| *raised != flag);
                self.raised.push((flag, self.clock));
            }
        }
        let awake: Vec<String> = self
            .pods
            .iter()
            .filter(|(_, entry)| matches!(entry.state, State::Parked { wake_on, .. } if wake_on & flags != Wake::empty()))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in awake {
            self.try_again(&uid, now);
        }
    }

    /// Back to the queue, but not sooner after the last attempt than back-off allows.
    fn try_again(&mut self, uid: &str, now: Instant) {
        let Some(entry) = self.pods.get(uid) else { return };
        let not_before = match entry.state {
            State::Parked { since, .. } => since + backoff(entry.attempts),
            _ => now,
        };
        if not_before > now {
            self.delay(uid, not_before);
        } else {
            self.activate(uid, now);
        }
    }

    fn activate(&mut self, uid: &str, now: Instant) {
        let Some(entry) = self.pods.get(uid) else { return };
        if entry.suspect {
            self.suspects.insert(0, vec![uid.to_owned()]);
            return self.wait(uid, State::Suspect, now);
        }
        self.active.insert((Reverse(entry.priority), entry.arrival), uid.to_owned());
        self.wait(uid, State::Active, now);
    }

    /// The pod waits for its turn from now on.
    fn wait(&mut self, uid: &str, state: State, now: Instant) {
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.state = state;
            self.waiting.remove(&entry.activation);
            self.sequence += 1;
            entry.activation = self.sequence;
            self.waiting.insert(entry.activation, now);
        }
    }

    fn delay(&mut self, uid: &str, until: Instant) {
        let timer = self.timer(uid, until);
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.state = State::BackingOff { timer };
        }
    }

    fn timer(&mut self, uid: &str, at: Instant) -> u64 {
        self.sequence += 1;
        self.timers.push(Reverse((at, self.sequence, uid.to_owned())));
        self.sequence
    }

    fn fire_timers(&mut self, now: Instant) {
        while let Some(Reverse((at, _, _))) = self.timers.peek() {
            if *at > now {
                return;
            }
            let Some(Reverse((_, sequence, uid))) = self.timers.pop() else { return };
            let fires = self.pods.get(&uid).is_some_and(|entry| match entry.state {
                State::Parked { timer, .. } | State::BackingOff { timer } => timer == sequence,
                State::Active
                | State::Deciding { .. }
                | State::Binding
                | State::Suspect
                | State::Poisonous { .. } => false,
            });
            if fires {
                self.activate(&uid, now);
            }
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    BACKOFF_BASE
        .saturating_mul(1u32.checked_shl(attempts.min(16)).unwrap_or(u32::MAX))
        .min(BACKOFF_CAP)
}

#[cfg(test)]
mod tests;
