//! What the thread of an extension has to do, and what wakes it.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::follow::Join;

/// Wakes the thread of an extension.
#[derive(Default)]
pub(crate) struct Bell {
    pub(super) jobs: Mutex<Jobs>,
    pub(super) rung: Condvar,
}

#[derive(Default)]
pub(super) struct Jobs {
    pub stop: bool,
    pub drain: bool,
    /// Build the instance anew.
    pub rebuild: bool,
    /// Something changed that the thread has a timer for.
    pub look: bool,
    /// Schedulers are to be told that answers may differ from now on.
    pub announce: bool,
    /// Followers that wait to be let in.
    pub joins: Vec<Join>,
    /// It can be tried now.
    pub admit: bool,
    /// Until then the instance is called by nobody: its share of the processors
    /// is used up.
    pub owes_until: Option<Instant>,
    /// Pods were rejected because of that.
    pub announce_when_paid: bool,
}

pub(super) enum Job {
    Stop,
    Drain,
    Rebuild,
    DropPrevious,
    Announce,
    Admit,
}

impl Bell {
    pub(super) fn ring(&self, set: impl FnOnce(&mut Jobs)) {
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
    pub(super) fn owe(&self, until: Instant, job: impl FnOnce(&mut Jobs)) {
        self.ring(|jobs| {
            job(jobs);
            jobs.owes_until = Some(until);
        });
    }

    /// Pods are rejected until then.
    pub(super) fn announce_when_paid(&self, until: Instant) {
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
