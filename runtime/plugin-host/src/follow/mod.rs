//! Followers: what happens beside the active version of a plugin.
//!
//! Whoever runs an active version tells what it fed it and what came back: a
//! *turn*. A follower gets the turns on a thread of its own, of a low
//! priority, behind a bounded queue. A follower that cannot keep up misses
//! turns, and is told how many decisions it missed; the active version never
//! waits, neither for room in the queue nor for a lock that such a thread holds.
//!
//! Does not know what followers do with turns: see the modules that implement [`Follower`].

mod joining;
mod line;
mod turns;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::priority::LOWEST;

pub(crate) use joining::{Join, PER_TURN, listed_at};
use line::{Line, State, follow};
pub(crate) use turns::{
    AdmissionTurn, Asked, AuthorizerTurn, ControllerTurn, Decided, ExtensionTurn, Judged, Reviewed,
    RulesListed, Scheduled, SchedulerTurn, Worked,
};

/// Turns that wait for one follower.
const MAX_TURNS: usize = 1024;

/// What the waiting turns may keep alive, in objects: handles hold old states.
const MAX_SIZE: usize = 32 * 1024;

/// One call of an active version. Cloned for each follower, so it is a handle.
pub(crate) trait Turn: Clone + Send + 'static {
    /// Whether a follower that misses one has to begin anew: what it follows
    /// has a state.
    const GAPLESS: bool;

    /// How many decisions it carries.
    fn decisions(&self) -> u64;

    /// About how many objects it keeps alive.
    fn size(&self) -> usize {
        1
    }
}

pub(crate) trait Follower<T>: Send {
    /// The next turn. `Break` ends it all.
    fn turn(&mut self, turn: T) -> ControlFlow<()>;

    /// Of its thread, as `nice` has it.
    fn nice(&self) -> i32 {
        LOWEST
    }

    /// So many decisions were not shown, because this follower was too slow.
    fn overflowed(&mut self, lost: u64);

    /// Called before the first turn, and after a gap if there may be none.
    /// `cuts`: how often the stream was cut so far, for [`Followers::admit`].
    fn begin(&mut self, cuts: u64) -> ControlFlow<()> {
        let _ = cuts;
        ControlFlow::Continue(())
    }
}

/// All followers of one active version.
pub(crate) struct Followers<T> {
    /// Those that want to be told; read with every call, hence without a lock.
    count: AtomicUsize,
    lines: Mutex<Lines<T>>,
}

struct Lines<T> {
    lines: Vec<Line<T>>,
    next_id: u64,
}

/// Ends the following when dropped; what is queued is dropped with it.
pub(crate) struct FollowerHandle {
    end: Option<Box<dyn FnOnce() + Send>>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl FollowerHandle {
    /// Ends it, and waits until the turn that runs is over and the follower dropped.
    pub fn end(mut self) {
        let thread = self.thread.take();
        drop(self);
        // A follower that panicked has said so.
        let _ = thread.map(JoinHandle::join);
    }

    /// Whether it is told all that happens, or is still being shown what was before.
    pub fn is_following(&self) -> bool {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Calls `tell`, which must not wait, whenever it begins to follow.
    pub fn when_following(&self, tell: impl Fn() + Send + Sync + 'static) {
        let mut opened = self.state.opened.lock();
        if self.is_following() {
            tell();
        }
        *opened = Some(Box::new(tell));
    }

    /// Whether it has ended by itself.
    pub fn is_over(&self) -> bool {
        self.state.ended.load(Ordering::SeqCst)
    }
}

impl Drop for FollowerHandle {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

impl<T> Default for Followers<T> {
    fn default() -> Self {
        let lines = Mutex::new(Lines { lines: Vec::new(), next_id: 0 });
        Self { count: AtomicUsize::new(0), lines }
    }
}

impl<T: Turn> Followers<T> {
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Tells everybody. Ask [`Followers::is_empty`] before you make a turn.
    pub fn tell(&self, turn: T) {
        let mut lines = self.lines.lock();
        lines.lines.retain(|line| line.tell(turn.clone()));
        self.count.store(lines.lines.len(), Ordering::Relaxed);
    }

    /// Starts a follower. Where there may be no gap it is told nothing until
    /// [`Followers::admit`].
    pub fn add(
        self: &Arc<Self>,
        make: impl FnOnce(u64) -> Box<dyn Follower<T>>,
    ) -> std::io::Result<FollowerHandle> {
        let (sender, receiver) = sync_channel(MAX_TURNS);
        let state = Arc::new(State::new(!T::GAPLESS));
        let id = {
            let mut lines = self.lines.lock();
            lines.next_id += 1;
            let id = lines.next_id;
            // In its place before it runs: it may be admitted at once.
            lines.lines.push(Line { id, sender, state: state.clone() });
            self.count.store(lines.lines.len(), Ordering::Relaxed);
            id
        };
        let follower = make(id);
        let nice = follower.nice();
        let thread = std::thread::Builder::new().name("plugin-follower".to_owned()).spawn({
            let state = state.clone();
            move || {
                crate::priority::give_way(nice);
                follow(follower, &receiver, &state);
                state.ended.store(true, Ordering::SeqCst);
            }
        });
        let followers = self.clone();
        let end = Box::new(move || followers.remove(id));
        let mut handle = FollowerHandle { end: Some(end), state, thread: None };
        handle.thread = Some(thread?);
        Ok(handle)
    }

    /// A follower that may have no gap is up to date once it has seen `first`;
    /// it is told everything from here on. Unless its stream was cut once more
    /// than the `cuts` it began with: then it is about to begin anew.
    pub fn admit(&self, id: u64, cuts: u64, first: Vec<T>) {
        let lines = self.lines.lock();
        let Some(line) = lines.lines.iter().find(|line| line.id == id) else { return };
        if line.state.cuts.load(Ordering::SeqCst) != cuts {
            return;
        }
        line.state.open();
        for turn in first {
            line.tell(turn);
        }
    }

    /// What is told next does not continue what was told before, nor what those
    /// have been shown who are about to be admitted.
    pub fn interrupt(&self) {
        if self.is_empty() || !T::GAPLESS {
            return;
        }
        for line in &self.lines.lock().lines {
            line.cut();
        }
    }

    /// A follower that was about to be admitted has to begin anew.
    pub fn again(&self, id: u64) {
        if let Some(line) = self.lines.lock().lines.iter().find(|line| line.id == id) {
            line.cut();
        }
    }

    fn remove(&self, id: u64) {
        let mut lines = self.lines.lock();
        lines.lines.retain(|line| line.id != id);
        self.count.store(lines.lines.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
