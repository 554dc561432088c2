//! The thread of one extension: it tells the instance what has happened in
//! between of what it is asked, lets followers in, and builds it anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::bell::Job;
use super::live::Live;
use super::unit::Shared;
use crate::follow::{ExtensionTurn, Join};
use crate::program::LoadError;
use crate::sandbox::Fault;

/// Between two attempts to build an instance anew; doubled each time.
const REBUILD_BACKOFF: Duration = Duration::from_millis(20);
const REBUILD_BACKOFF_CAP: Duration = Duration::from_secs(5);

/// Who wants to follow is let in when the instance can be told what is left in so long.
const ADMISSION: Duration = Duration::from_millis(4);

impl Shared {
    pub(super) fn run(&self) {
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
