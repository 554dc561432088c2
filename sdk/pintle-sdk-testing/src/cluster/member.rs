//! One controller with its queue and its timers.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::ObjectRef;
use pintle_sdk::controller::Description;
use serde_json::Value;

use super::Keys;
use crate::enqueue;
use crate::subject::{ControllerSubject, Subject};
use crate::world::{Change, World};

/// As the host's queue has it.
const BACKOFF_BASE_MS: i64 = 5;
const BACKOFF_CAP_MS: i64 = 300_000;

pub(super) struct Member {
    subject: Subject<dyn ControllerSubject>,
    config: Value,
    pub description: Description,
    pub controller: Box<dyn ControllerSubject>,
    queue: BTreeSet<(ObjectRef, String)>,
    timers: Keys<i64>,
    failures: BTreeMap<ObjectRef, u32>,
    /// What the last try met, by object.
    refusals: BTreeMap<ObjectRef, String>,
}

impl Member {
    pub fn start(subject: &Subject<dyn ControllerSubject>, config: Value) -> Self {
        let controller = subject.start(&config);
        Member {
            description: controller.describe(),
            subject: subject.clone(),
            config,
            controller,
            queue: BTreeSet::new(),
            timers: BTreeMap::new(),
            failures: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// Another instance of the same plugin; what is queued stays.
    pub fn replace_instance(&mut self) {
        self.controller = self.subject.start(&self.config);
    }

    /// Another instance, and nothing is queued.
    pub fn restart(&mut self) {
        self.replace_instance();
        self.queue.clear();
        self.timers.clear();
        self.failures.clear();
        self.refusals.clear();
    }

    pub fn name(&self) -> &str {
        &self.description.manifest.name
    }

    pub fn tell(&mut self, changes: &[Change], world: &World) {
        for change in changes {
            for watch in &self.description.watches {
                for (reference, uid) in enqueue::keys(watch, change, world) {
                    // One key, whatever triggered it; the latest uid that is known.
                    if uid.is_empty() && self.has(&reference) {
                        continue;
                    }
                    self.queue.insert((reference, uid));
                }
            }
        }
    }

    fn has(&self, reference: &ObjectRef) -> bool {
        let first = (reference.clone(), String::new());
        self.queue.range(first..).next().is_some_and(|(known, _)| known == reference)
    }

    pub fn push(&mut self, key: (ObjectRef, String)) {
        self.queue.insert(key);
    }

    /// The first key that `may` let through.
    pub fn next(&self, may: impl Fn(&ObjectRef) -> bool) -> Option<&(ObjectRef, String)> {
        self.queue.iter().find(|(reference, _)| may(reference))
    }

    pub fn take(&mut self, key: &(ObjectRef, String)) {
        self.queue.remove(key);
        self.timers.remove(key);
    }

    pub fn wake_at(&mut self, key: (ObjectRef, String), due_unix_ms: i64) {
        self.timers.insert(key, due_unix_ms);
    }

    pub fn next_due(&self) -> Option<i64> {
        self.timers.values().min().copied()
    }

    /// Queues what is due by now.
    pub fn wake(&mut self, now_unix_ms: i64) {
        let queue = &mut self.queue;
        self.timers.retain(|key, due| {
            let waits = *due > now_unix_ms;
            if !waits {
                queue.insert(key.clone());
            }
            waits
        });
    }

    /// The wall clock was set; timers run on another one.
    pub fn clock_jumped(&mut self, by_ms: i64) {
        self.timers.values_mut().for_each(|due| *due += by_ms);
    }

    pub fn attempt(&self, reference: &ObjectRef) -> u32 {
        self.failures.get(reference).copied().unwrap_or(0)
    }

    pub fn succeeded(&mut self, reference: &ObjectRef) {
        self.failures.remove(reference);
        self.refusals.remove(reference);
    }

    /// As the host keeps it: what was forbidden, not what met a conflict.
    pub fn note_refusal(&mut self, reference: &ObjectRef, message: Option<String>) {
        match message {
            Some(message) => self.refusals.insert(reference.clone(), message),
            None => self.refusals.remove(reference),
        };
    }

    pub fn refusal(&self, reference: &ObjectRef) -> Option<&str> {
        self.refusals.get(reference).map(String::as_str)
    }

    /// How long the key has to wait after one more failure.
    pub fn failed(&mut self, reference: &ObjectRef) -> i64 {
        let count = self.failures.entry(reference.clone()).or_default();
        let delay = BACKOFF_BASE_MS.saturating_mul(1_i64 << (*count).min(20)).min(BACKOFF_CAP_MS);
        *count = count.saturating_add(1);
        delay
    }
}
