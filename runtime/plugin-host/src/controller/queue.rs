//! The work queue of one controller, as a data structure: no threads, no clock.
//!
//! A key is in the queue at most once, is worked on at most once at a time, and
//! is handed out again only after the event stream has delivered what the
//! controller itself wrote for it (read your writes).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_api::meta::GroupVersionKind;

/// Delay after the first failure of a key; doubled with each further one.
const BACKOFF_BASE: Duration = Duration::from_millis(5);
const BACKOFF_CAP: Duration = Duration::from_secs(300);

/// Which object to reconcile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub kind: Arc<GroupVersionKind>,
    pub namespace: String,
    pub name: String,
}

impl Key {
    /// Tells it from all others.
    pub fn id(&self) -> String {
        format!("{}/{}/{}/{}", self.kind.group, self.kind.kind, self.namespace, self.name)
    }
}

/// A key that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub key: Key,
    pub uid: String,
    pub attempt: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done; look again after the delay, if one is given.
    Done(Option<Duration>),
    /// The cluster has moved on: again after a delay, or with the next event.
    Retry,
    /// The plugin misbehaved on this key: not before the delay is over.
    Hold,
    /// It did so again and again: not before [`Queue::unpark`].
    Park,
}

#[derive(Debug, Default)]
struct Entry {
    uid: String,
    /// Since when it waits to be worked on.
    queued: Option<Instant>,
    running: bool,
    /// Waits for the stream to deliver this revision.
    awaiting: Option<u64>,
    /// Something happened while it could not be queued.
    dirty: bool,
    held: bool,
    parked: bool,
    timer: Option<u64>,
    failures: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    ready: VecDeque<Key>,
    entries: HashMap<Key, Entry>,
    timers: BinaryHeap<Reverse<(Instant, u64, Key)>>,
    timer_sequence: u64,
    awaiting: BTreeMap<u64, Vec<Key>>,
    delivered: u64,
    parked: usize,
}

impl Queue {
    /// Something happened to `key`.
    pub fn add(&mut self, key: Key, uid: &str, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        if !uid.is_empty() && entry.uid != uid {
            entry.uid.clear();
            entry.uid.push_str(uid);
        }
        if entry.running || entry.awaiting.is_some() || entry.held || entry.parked {
            entry.dirty = true;
        } else if entry.queued.is_none() {
            entry.queued = Some(now);
            self.ready.push_back(key);
        }
    }

    /// The next key to work on.
    pub fn pop(&mut self, now: Instant) -> Option<Work> {
        self.fire_timers(now);
        let key = self.ready.pop_front()?;
        let entry = self.entries.get_mut(&key)?;
        entry.queued = None;
        entry.running = true;
        entry.dirty = false;
        Some(Work { uid: entry.uid.clone(), attempt: entry.failures, key })
    }

    /// When `pop` may have something although nothing is added.
    pub fn next_due(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The work on `key` is over; `written` is the newest revision it wrote.
    pub fn done(&mut self, key: &Key, verdict: Verdict, written: Option<u64>, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.running = false;
        let delay = match verdict {
            Verdict::Done(delay) => {
                entry.failures = 0;
                delay
            }
            Verdict::Retry | Verdict::Hold => {
                let delay = backoff(entry.failures);
                entry.failures = entry.failures.saturating_add(1);
                Some(delay)
            }
            Verdict::Park => {
                entry.failures = 0;
                entry.parked = true;
                self.parked += 1;
                None
            }
        };
        entry.held = verdict == Verdict::Hold;
        entry.timer = delay.map(|delay| {
            self.timer_sequence += 1;
            self.timers.push(Reverse((now + delay, self.timer_sequence, key.clone())));
            self.timer_sequence
        });
        match written {
            Some(revision) if revision > self.delivered => {
                entry.awaiting = Some(revision);
                self.awaiting.entry(revision).or_default().push(key.clone());
            }
            _ => self.settle(key, now),
        }
    }

    /// The stream has delivered everything up to `revision`.
    pub fn delivered(&mut self, revision: u64, now: Instant) {
        self.delivered = self.delivered.max(revision);
        if self.awaiting.first_key_value().is_none_or(|(first, _)| *first > revision) {
            return;
        }
        let later = self.awaiting.split_off(&(revision + 1));
        let released = std::mem::replace(&mut self.awaiting, later);
        for key in released.into_values().flatten() {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.awaiting = None;
            }
            self.settle(&key, now);
        }
    }

    /// Events were lost and everything is going to be listed again: what was
    /// written is visible to reads already, so nothing has to wait.
    pub fn release_all(&mut self, now: Instant) {
        let delivered = self.delivered;
        self.delivered(u64::MAX - 1, now);
        self.delivered = delivered;
    }

    /// Whether any key is parked.
    pub fn has_parked(&self) -> bool {
        self.parked > 0
    }

    /// What the key stands for has changed. True if it was parked.
    pub fn unpark(&mut self, key: &Key, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.parked) else {
            return false;
        };
        entry.parked = false;
        entry.dirty = true;
        self.parked -= 1;
        self.settle(key, now);
        true
    }

    /// Another version decides: all are tried again.
    pub fn unpark_all(&mut self, now: Instant) {
        let parked: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.parked)
            .map(|(key, _)| key.clone())
            .collect();
        for key in parked {
            self.unpark(&key, now);
        }
    }

    /// Keys that wait to be worked on.
    pub fn depth(&self) -> usize {
        self.ready.len()
    }

    /// How long the key that has waited longest has been waiting.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let first = self.entries.get(self.ready.front()?)?;
        Some(now.saturating_duration_since(first.queued?))
    }

    /// A key that is neither running nor waiting goes back to the queue or is forgotten.
    fn settle(&mut self, key: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let waits = entry.awaiting.is_some() || entry.held || entry.parked;
        if entry.running || entry.queued.is_some() || waits {
            return;
        }
        if entry.dirty {
            entry.dirty = false;
            entry.queued = Some(now);
            self.ready.push_back(key.clone());
        } else if entry.timer.is_none() && entry.failures == 0 {
            self.entries.remove(key);
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        while let Some(Reverse((at, _, _))) = self.timers.peek() {
            if *at > now {
                return;
            }
            let Some(Reverse((_, sequence, key))) = self.timers.pop() else { return };
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            // Another timer was set for the key since.
            if entry.timer != Some(sequence) {
                continue;
            }
            entry.timer = None;
            entry.held = false;
            entry.dirty = true;
            self.settle(&key, now);
        }
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_BASE
        .saturating_mul(1u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX))
        .min(BACKOFF_CAP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str) -> Key {
        Key {
            kind: Arc::new(GroupVersionKind::new("", "v1", "Pod")),
            namespace: "n".into(),
            name: name.into(),
        }
    }

    fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|work| work.key.name).collect()
    }

    #[test]
    fn a_key_waits_once_however_often_it_is_added() {
        let mut queue = Queue::default();
        let now = Instant::now();
        for name in ["a", "b", "a", "a"] {
            queue.add(key(name), "", now);
        }
        assert_eq!(names(&mut queue, now), ["a", "b"]);
    }

    #[test]
    fn a_running_key_is_not_handed_out_and_runs_again_if_something_happened() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.add(key("a"), "", now);
        queue.pop(now).unwrap();
        queue.add(key("a"), "", now);
        assert_eq!(queue.pop(now), None);
        queue.done(&key("a"), Verdict::Done(None), None, now);
        assert_eq!(names(&mut queue, now), ["a"]);
        queue.done(&key("a"), Verdict::Done(None), None, now);
        assert_eq!(queue.pop(now), None);
        assert!(queue.entries.is_empty());
    }

    #[test]
    fn own_writes_are_delivered_before_the_key_runs_again() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.delivered(10, now);
        queue.add(key("a"), "", now);
        queue.pop(now).unwrap();
        queue.add(key("a"), "", now);
        queue.done(&key("a"), Verdict::Done(None), Some(12), now);
        assert_eq!(queue.pop(now), None, "12 is not delivered yet");
        queue.delivered(11, now);
        assert_eq!(queue.pop(now), None);
        queue.delivered(12, now);
        assert_eq!(names(&mut queue, now), ["a"]);
        queue.done(&key("a"), Verdict::Done(None), Some(12), now);
        assert!(queue.entries.is_empty(), "12 is delivered already");
    }

    #[test]
    fn the_age_is_that_of_the_key_that_waits_longest() {
        let mut queue = Queue::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(queue.age(start), None);
        queue.add(key("a"), "", start);
        queue.add(key("b"), "", at(2));
        queue.add(key("a"), "", at(3));
        assert_eq!(queue.age(at(5)), Some(Duration::from_secs(5)));
        queue.pop(at(5)).unwrap();
        assert_eq!(queue.age(at(5)), Some(Duration::from_secs(3)));
        queue.pop(at(5)).unwrap();
        assert_eq!(queue.age(at(9)), None, "what is worked on does not wait");
        queue.add(key("a"), "", at(6));
        queue.done(&key("a"), Verdict::Done(None), None, at(7));
        assert_eq!(queue.age(at(9)), Some(Duration::from_secs(2)));
    }

    #[test]
    fn failures_back_off_and_success_forgets_them() {
        fn check(failures: u32, expect: Duration) {
            assert_eq!(backoff(failures), expect);
        }
        check(0, Duration::from_millis(5));
        check(1, Duration::from_millis(10));
        check(10, Duration::from_millis(5120));
        check(16, BACKOFF_CAP);
        check(u32::MAX, BACKOFF_CAP);

        let mut queue = Queue::default();
        let start = Instant::now();
        queue.add(key("a"), "", start);
        let mut now = start;
        for attempt in 0..5 {
            let work = queue.pop(now).unwrap();
            assert_eq!(work.attempt, attempt);
            queue.done(&work.key, Verdict::Retry, None, now);
            assert_eq!(queue.pop(now), None);
            let due = queue.next_due().unwrap();
            assert_eq!(due - now, backoff(attempt));
            now = due;
        }
        let work = queue.pop(now).unwrap();
        queue.done(&work.key, Verdict::Done(None), None, now);
        queue.add(key("a"), "", now);
        assert_eq!(queue.pop(now).unwrap().attempt, 0);
    }

    #[test]
    fn an_event_ends_the_wait_of_a_retry_but_not_of_a_hold() {
        let mut queue = Queue::default();
        let now = Instant::now();
        for (verdict, expect) in [(Verdict::Retry, 1), (Verdict::Hold, 0)] {
            let mut queue_of = std::mem::take(&mut queue);
            queue_of.add(key("a"), "", now);
            queue_of.pop(now).unwrap();
            queue_of.done(&key("a"), verdict, None, now);
            queue_of.add(key("a"), "", now);
            assert_eq!(names(&mut queue_of, now).len(), expect, "{verdict:?}");
            assert_eq!(names(&mut queue_of, now + BACKOFF_BASE).len(), 1 - expect);
        }
    }

    #[test]
    fn a_parked_key_waits_for_a_change_and_forgets_its_failures() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.add(key("a"), "", now);
        queue.pop(now).unwrap();
        queue.done(&key("a"), Verdict::Park, None, now);
        assert!(queue.has_parked());
        queue.add(key("a"), "", now);
        assert_eq!(queue.pop(now + BACKOFF_CAP), None, "an event of another object");
        assert!(!queue.unpark(&key("b"), now));
        assert!(queue.unpark(&key("a"), now));
        assert!(!queue.has_parked());
        assert_eq!(queue.pop(now).unwrap().attempt, 0);
        queue.done(&key("a"), Verdict::Park, None, now);
        queue.unpark_all(now);
        assert_eq!(names(&mut queue, now), ["a"]);
    }

    #[test]
    fn requeue_after_is_replaced_by_the_latest() {
        let mut queue = Queue::default();
        let now = Instant::now();
        for seconds in [10, 20] {
            queue.add(key("a"), "", now);
            queue.pop(now).unwrap();
            queue.done(&key("a"), Verdict::Done(Some(Duration::from_secs(seconds))), None, now);
        }
        assert_eq!(queue.pop(now + Duration::from_secs(15)), None);
        assert_eq!(names(&mut queue, now + Duration::from_secs(20)), ["a"]);
    }

    #[test]
    fn lost_events_release_what_waits_for_them() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.add(key("a"), "", now);
        queue.pop(now).unwrap();
        queue.done(&key("a"), Verdict::Done(None), Some(99), now);
        queue.add(key("a"), "", now);
        queue.release_all(now);
        assert_eq!(names(&mut queue, now), ["a"]);
    }

    proptest! {
        /// Whatever happens in whatever order: never two at a time for a key,
        /// and nothing that was added is lost.
        #[test]
        fn nothing_is_lost_and_nothing_runs_twice_at_a_time(
            steps in proptest::collection::vec((0u8..4, 0usize..3, 0u64..4), 1..200)
        ) {
            let mut queue = Queue::default();
            let mut now = Instant::now();
            let mut running: Vec<Key> = Vec::new();
            let mut owed = [false; 3];
            let mut revision = 0;
            for (step, which, extra) in steps {
                match step {
                    0 => {
                        queue.add(key(&which.to_string()), "", now);
                        owed[which] = true;
                    }
                    1 => {
                        if let Some(work) = queue.pop(now) {
                            prop_assert!(!running.contains(&work.key));
                            owed[work.key.name.parse::<usize>().unwrap()] = false;
                            running.push(work.key);
                        }
                    }
                    2 => {
                        if !running.is_empty() {
                            let key = running.remove(which % running.len());
                            let verdict = match extra {
                                0 => Verdict::Retry,
                                1 => Verdict::Hold,
                                2 => Verdict::Done(Some(Duration::from_millis(3))),
                                _ => Verdict::Done(None),
                            };
                            queue.done(&key, verdict, (extra % 2 == 0).then_some(revision + extra), now);
                        }
                    }
                    _ => {
                        revision += extra;
                        queue.delivered(revision, now);
                        now += Duration::from_millis(extra);
                    }
                }
            }
            for key in running {
                queue.done(&key, Verdict::Done(None), None, now);
            }
            queue.delivered(revision + 10, now);
            for work in std::iter::from_fn(|| queue.pop(now + Duration::from_secs(3600))) {
                owed[work.key.name.parse::<usize>().unwrap()] = false;
            }
            prop_assert_eq!(owed, [false; 3]);
        }
    }
}
