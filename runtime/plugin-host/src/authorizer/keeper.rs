//! The thread of an authorizer: it does what should not wait for a question, and
//! no question should wait for. Telling a long feed, letting followers in,
//! dropping the version before when its window is over.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::unit::Shared;
use crate::follow::{AuthorizerTurn, Join};

/// Wakes the thread.
#[derive(Default)]
pub(super) struct Bell {
    jobs: Mutex<Jobs>,
    rung: Condvar,
}

#[derive(Default)]
struct Jobs {
    stop: bool,
    drain: bool,
    /// Something changed that the thread has a timer for.
    look: bool,
    /// Followers that wait to be let in.
    joins: Vec<Join>,
    /// It can be tried now.
    admit: bool,
}

enum Job {
    Stop,
    Drain,
    DropPrevious,
    Admit,
}

impl Bell {
    fn ring(&self, set: impl FnOnce(&mut Jobs)) {
        set(&mut self.jobs.lock());
        self.rung.notify_one();
    }

    /// The feed is long.
    pub fn drain(&self) {
        let mut jobs = self.jobs.lock();
        if !std::mem::replace(&mut jobs.drain, true) {
            self.rung.notify_one();
        }
    }

    /// A follower wants to be let in.
    pub fn join(&self, join: Join) {
        self.ring(|jobs| {
            jobs.joins.retain(|other| other.id != join.id);
            jobs.joins.push(join);
            jobs.admit = true;
        });
    }

    /// Another instance answers: who waits may be let in there.
    pub fn look(&self) {
        self.ring(|jobs| {
            jobs.look = true;
            jobs.admit |= !jobs.joins.is_empty();
        });
    }

    pub fn stop(&self) {
        self.ring(|jobs| jobs.stop = true);
    }

    fn wait(&self, due: Option<Instant>) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        loop {
            if jobs.stop {
                return Some(Job::Stop);
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                return Some(Job::DropPrevious);
            }
            if std::mem::take(&mut jobs.drain) {
                return Some(Job::Drain);
            }
            if std::mem::take(&mut jobs.admit) {
                return Some(Job::Admit);
            }
            if std::mem::take(&mut jobs.look) {
                return None;
            }
            match due {
                Some(due) => {
                    self.rung.wait_until(&mut jobs, due);
                }
                None => self.rung.wait(&mut jobs),
            }
        }
    }

    fn stops(&self) -> bool {
        self.jobs.lock().stop
    }
}

pub(super) fn run(shared: &Arc<Shared>) {
    loop {
        let due = shared.previous_until();
        match shared.bell.wait(due) {
            None => {}
            Some(Job::Stop) => return,
            Some(Job::Drain) => drain(shared),
            Some(Job::DropPrevious) => shared.drop_previous(Instant::now()),
            Some(Job::Admit) => admit(shared),
        }
    }
}

/// Tells both versions what has happened, in between of what they are asked.
fn drain(shared: &Shared) {
    let mut more = true;
    while more && !shared.bell.stops() {
        let mut seat = shared.seat.lock();
        more = shared.catch_up_some(&mut seat);
        // Whoever asks goes first.
        MutexGuard::unlock_fair(seat);
    }
}

/// Lets those in who want to follow, once the instance has been told all that
/// happened. Where there is none they are let in when there is.
fn admit(shared: &Shared) {
    drain(shared);
    let mut seat = shared.seat.lock();
    while shared.catch_up_some(&mut seat) {}
    let Some(live) = seat.live.as_ref().filter(|live| !live.is_broken()) else { return };
    let Some(present) = live.present() else {
        return shared.bell.ring(|jobs| jobs.admit = true);
    };
    let present = Arc::new(present);
    let joins = std::mem::take(&mut shared.bell.jobs.lock().joins);
    for Join { id, cuts } in joins {
        shared.followers.admit(id, cuts, vec![AuthorizerTurn::Start(present.clone())]);
    }
}
