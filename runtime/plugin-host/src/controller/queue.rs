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
mod tests;
