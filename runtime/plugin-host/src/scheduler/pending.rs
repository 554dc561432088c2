//! Pods that wait for a node: in order of priority and arrival, in back-off
//! after a failed binding, parked until something happens that may help, or
//! under suspicion because a plugin faulted on a batch that they were in.

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

/// A batch that a plugin faulted on is cut into so many: few of them fault
/// again, which is what costs.
const CUT: usize = 8;

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

    /// One group of suspects, or its first `max`.
    fn take_suspects(&mut self, max: usize) -> Vec<ObjectHandle> {
        while let Some(mut group) = self.suspects.pop() {
            let rest = group.split_off(group.len().min(max));
            if !rest.is_empty() {
                self.suspects.push(rest);
            }
            let mut taken = Vec::new();
            for uid in group {
                if self.pods.get(&uid).is_some_and(|entry| entry.state == State::Suspect) {
                    taken.extend(self.hand_out(&uid));
                }
            }
            if !taken.is_empty() {
                return taken;
            }
        }
        Vec::new()
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

    /// The plugin faulted on a batch. A pod that was alone in it waits; of
    /// several, nobody knows which it was: they are tried in smaller groups.
    pub fn faulted(&mut self, uids: &[&str], now: Instant) {
        if let [uid] = uids {
            if let Some(entry) = self.pods.get_mut(*uid) {
                entry.suspect = true;
            }
            return self.failed(uid, now);
        }
        for group in uids.chunks(uids.len().div_ceil(CUT).max(1)) {
            for uid in group {
                self.wait(uid, State::Suspect, now);
            }
            self.suspects.push(group.iter().map(|uid| (*uid).to_owned()).collect());
        }
    }

    /// No fault of theirs: they are decided as soon as something decides.
    pub fn put_back(&mut self, uids: &[&str], now: Instant) {
        uids.iter().for_each(|uid| self.activate(uid, now));
    }

    /// The plugin faults again and again on the pod as it was at `revision`: not
    /// in this form any more. False if it has changed or gone meanwhile.
    pub fn poisonous(&mut self, uid: &str, revision: u64, now: Instant) -> bool {
        let Some(entry) = self.pods.get_mut(uid) else { return false };
        entry.suspect = false;
        entry.attempts = 0;
        if entry.pod.revision() > revision {
            self.activate(uid, now);
            return false;
        }
        entry.state = State::Poisonous { revision };
        true
    }

    /// Another version decides: what the one before faulted on is tried again.
    pub fn trust_all(&mut self, now: Instant) {
        self.suspects.clear();
        let mut apart = Vec::new();
        for (uid, entry) in &mut self.pods {
            entry.suspect = false;
            if matches!(entry.state, State::Suspect | State::Poisonous { .. }) {
                apart.push(uid.clone());
            }
        }
        for uid in apart {
            self.activate(&uid, now);
        }
        self.freed.clear();
    }

    /// Pods that were poisonous, and have changed or gone since this was asked.
    pub fn take_freed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.freed)
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
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    fn pod(name: &str) -> ObjectHandle {
        object(1, json!({ "kind": "Pod", "metadata": { "name": name } }))
    }

    fn taken(pending: &mut Pending, now: Instant) -> Vec<String> {
        pending.take(usize::MAX, now).iter().map(|pod| pod.name().to_owned()).collect()
    }

    #[test]
    fn priority_goes_first_then_arrival() {
        let mut pending = Pending::default();
        let now = Instant::now();
        for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
            pending.put(pod(name), priority, false, now);
        }
        assert_eq!(taken(&mut pending, now), ["b", "d", "a", "c"]);
        assert!(taken(&mut pending, now).is_empty(), "they are being decided");
    }

    #[test]
    fn a_parked_pod_wakes_for_what_it_waits_for() {
        fn check(wake_on: Wake, raised: Wake, expect: bool) {
            let mut pending = Pending::default();
            let now = Instant::now();
            pending.put(pod("a"), 0, false, now);
            pending.take(1, now);
            assert!(pending.park("a", wake_on, "full", now));
            pending.wake(raised, now);
            let later = now + BACKOFF_CAP;
            assert_eq!(pending.is_ready(later), expect);
        }
        check(Wake::NODE_CHANGED, Wake::NODE_CHANGED, true);
        check(Wake::NODE_CHANGED | Wake::POD_REMOVED, Wake::POD_REMOVED, true);
        check(Wake::NODE_CHANGED, Wake::POD_ADDED, false);
        check(Wake::empty(), Wake::NODE_CHANGED, false);
    }

    #[test]
    fn what_happens_while_a_pod_is_decided_is_not_missed() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.put(pod("a"), 0, false, now);
        pending.take(1, now);
        pending.wake(Wake::NODE_CHANGED, now);
        pending.park("a", Wake::NODE_CHANGED, "full", now);
        assert_eq!(taken(&mut pending, now + BACKOFF_CAP), ["a"]);
    }

    #[test]
    fn what_an_extension_rejected_is_reconsidered_when_it_may_say_otherwise() {
        let mut pending = Pending::default();
        let now = Instant::now();
        let later = now + BACKOFF_CAP;
        for name in ["rejected", "full", "meanwhile"] {
            pending.put(pod(name), 0, false, now);
        }
        assert_eq!(taken(&mut pending, now).len(), 3);
        for name in ["rejected", "full"] {
            pending.park(name, Wake::empty(), "no", now);
        }
        pending.rejected_by_extension("rejected");
        pending.rejected_by_extension("gone");
        pending.rejected_by_extension("meanwhile");
        pending.reconsider(false, now);
        assert!(taken(&mut pending, now).is_empty(), "back-off holds");
        assert_eq!(taken(&mut pending, later), ["rejected"]);
        // It was reconsidered between the answer and now.
        pending.park("meanwhile", Wake::empty(), "no", now);
        assert_eq!(taken(&mut pending, later), ["meanwhile"]);
        pending.park("meanwhile", Wake::empty(), "no", later);
        pending.rejected_by_extension("meanwhile");
        pending.reconsider(true, later);
        assert_eq!(taken(&mut pending, later), ["meanwhile"], "at once: the extension is another");
    }

    #[test]
    fn a_postponed_pod_keeps_its_place() {
        let mut pending = Pending::default();
        let now = Instant::now();
        for name in ["a", "b"] {
            pending.put(pod(name), 0, false, now);
        }
        assert_eq!(pending.take(1, now).len(), 1);
        pending.postpone("a", Duration::ZERO, now);
        assert_eq!(taken(&mut pending, now), ["a", "b"]);
        pending.postpone("a", BACKOFF_BASE, now);
        assert!(!pending.is_ready(now));
        assert_eq!(taken(&mut pending, now + BACKOFF_BASE), ["a"]);
    }

    #[test]
    fn a_parked_pod_is_told_once_and_never_forgotten() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.put(pod("a"), 0, false, now);
        pending.take(1, now);
        assert!(pending.park("a", Wake::empty(), "full", now));
        assert!(!pending.is_ready(now + PARKED_AT_MOST / 2));
        assert_eq!(taken(&mut pending, now + PARKED_AT_MOST), ["a"]);
        assert!(!pending.park("a", Wake::empty(), "full", now), "the same message is no news");
        pending.remove("a");
        assert!(!pending.park("a", Wake::empty(), "full", now));
        assert!(taken(&mut pending, now + 3 * PARKED_AT_MOST).is_empty());
    }

    /// Decides as a plugin would that faults whenever `poison` is among the pods.
    /// Returns the number of faults until the pod was found.
    fn find(pending: &mut Pending, poison: &str, mut now: Instant) -> usize {
        for faults in 1..100 {
            let pods = loop {
                let pods = pending.take(128, now);
                if pods.iter().any(|pod| pod.name() == poison) {
                    break pods;
                }
                pods.iter().for_each(|pod| pending.binding(pod.uid()));
                if pods.is_empty() {
                    now = pending.next_due().unwrap();
                }
            };
            let uids: Vec<&str> = pods.iter().map(|pod| pod.uid()).collect();
            if uids.len() == 1 {
                return faults;
            }
            pending.faulted(&uids, now);
        }
        panic!("never found");
    }

    #[test]
    fn the_pod_that_a_plugin_trips_over_is_found_in_few_faults_while_others_go_on() {
        let mut pending = Pending::default();
        let now = Instant::now();
        for index in 0..128 {
            pending.put(pod(&format!("p{index}")), 0, false, now);
        }
        assert_eq!(find(&mut pending, "p77", now), 4, "128, 16, 2 and 1");
        pending.faulted(&["p77"], now);
        pending.put(pod("late"), 0, false, now);
        let mut others = Vec::new();
        while pending.is_ready(now) {
            others.extend(taken(&mut pending, now));
        }
        assert!(others.contains(&"late".to_owned()) && !others.contains(&"p77".to_owned()));
        others.iter().for_each(|name| pending.binding(name));
        assert_eq!(taken(&mut pending, now + BACKOFF_CAP), ["p77"]);
        assert!(pending.poisonous("p77", 1, now));
        assert!(!pending.is_ready(now + PARKED_AT_MOST));
        pending.put(pod("p77"), 0, true, now);
        assert!(!pending.is_ready(now), "in the same form");
        let changed = object(2, json!({ "kind": "Pod", "metadata": { "name": "p77" } }));
        pending.put(changed, 0, false, now);
        assert_eq!(pending.take_freed(), ["p77"]);
        assert_eq!(taken(&mut pending, now), ["p77"]);
        assert!(!pending.poisonous("p77", 1, now), "it was another form");
        assert_eq!(taken(&mut pending, now), ["p77"]);
        pending.remove("p77");
        assert!(!pending.poisonous("p77", 2, now), "it is gone");
    }

    #[test]
    fn suspects_and_others_take_turns_and_another_version_trusts_all() {
        let mut pending = Pending::default();
        let now = Instant::now();
        for name in ["a", "b"] {
            pending.put(pod(name), 0, false, now);
        }
        assert_eq!(taken(&mut pending, now), ["a", "b"]);
        pending.faulted(&["a", "b"], now);
        for name in ["c", "d"] {
            pending.put(pod(name), 0, false, now);
        }
        let next = |pending: &mut Pending| pending.take(1, now)[0].name().to_owned();
        let order: Vec<String> = (0..4).map(|_| next(&mut pending)).collect();
        assert_eq!(order, ["b", "c", "a", "d"]);
        assert!(pending.poisonous("a", 1, now));
        pending.faulted(&["b"], now);
        pending.trust_all(now);
        pending.put_back(&["b"], now);
        assert_eq!(taken(&mut pending, now), ["a", "b"]);
        assert!(pending.take_freed().is_empty());
    }

    #[test]
    fn failures_back_off_and_a_changed_pod_is_tried_again() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.put(pod("a"), 0, false, now);
        pending.take(1, now);
        pending.failed("a", now);
        assert!(!pending.is_ready(now));
        assert_eq!(pending.next_due(), Some(now + BACKOFF_BASE));
        assert_eq!(taken(&mut pending, now + BACKOFF_BASE), ["a"]);
        pending.park("a", Wake::empty(), "full", now);
        pending.put(pod("a"), 0, true, now + BACKOFF_CAP);
        assert_eq!(taken(&mut pending, now + BACKOFF_CAP), ["a"]);
    }
}
