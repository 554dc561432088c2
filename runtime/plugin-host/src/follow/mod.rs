//! Followers: what happens beside the active version of a plugin.
//!
//! Whoever runs an active version tells what it fed it and what came back: a
//! *turn*. A follower gets the turns on a thread of its own, of a low
//! priority, behind a bounded queue. A follower that cannot keep up misses
//! turns, and is told how many decisions it missed; the active version never
//! waits, neither for room in the queue nor for a lock that such a thread holds.
//!
//! Does not know what followers do with turns: see the modules that implement [`Follower`].

mod line;
mod turns;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::priority::LOWEST;

use line::{Line, State, follow};
pub(crate) use turns::{
    AdmissionTurn, Asked, ControllerTurn, Decided, ExtensionTurn, Reviewed, Scheduled,
    SchedulerTurn, Worked,
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
        let state = Arc::new(State {
            open: AtomicBool::new(!T::GAPLESS),
            cuts: AtomicU64::default(),
            ended: AtomicBool::default(),
            lost: AtomicU64::default(),
            size: AtomicUsize::default(),
        });
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
        line.state.open.store(true, Ordering::SeqCst);
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
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Numbered; the second type parameter of what is tested.
    #[derive(Debug, Clone, PartialEq)]
    struct Plain(u64);

    #[derive(Debug, Clone, PartialEq)]
    struct Chained(u64);

    impl Turn for Plain {
        const GAPLESS: bool = false;
        fn decisions(&self) -> u64 {
            1
        }
    }

    impl Turn for Chained {
        const GAPLESS: bool = true;
        fn decisions(&self) -> u64 {
            1
        }
    }

    #[derive(Debug, PartialEq)]
    enum Seen {
        /// After so many cuts.
        Begun(u64),
        Turn(u64),
        Lost(u64),
        Dropped,
    }

    struct Recording {
        seen: Sender<Seen>,
        /// Each turn takes one.
        steps: Receiver<()>,
    }

    impl Drop for Recording {
        fn drop(&mut self) {
            let _ = self.seen.send(Seen::Dropped);
        }
    }

    impl Recording {
        fn number(&mut self, number: u64) -> ControlFlow<()> {
            let _ = self.steps.recv();
            let _ = self.seen.send(Seen::Turn(number));
            if number == u64::MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }

        fn lost(&mut self, lost: u64) {
            let _ = self.seen.send(Seen::Lost(lost));
        }

        fn begun(&mut self, cuts: u64) -> ControlFlow<()> {
            let _ = self.seen.send(Seen::Begun(cuts));
            ControlFlow::Continue(())
        }
    }

    impl Follower<Plain> for Recording {
        fn turn(&mut self, turn: Plain) -> ControlFlow<()> {
            self.number(turn.0)
        }
        fn overflowed(&mut self, lost: u64) {
            self.lost(lost);
        }
        fn begin(&mut self, cuts: u64) -> ControlFlow<()> {
            self.begun(cuts)
        }
    }

    impl Follower<Chained> for Recording {
        fn turn(&mut self, turn: Chained) -> ControlFlow<()> {
            self.number(turn.0)
        }
        fn overflowed(&mut self, lost: u64) {
            self.lost(lost);
        }
        fn begin(&mut self, cuts: u64) -> ControlFlow<()> {
            self.begun(cuts)
        }
    }

    fn recording() -> (Recording, Sender<()>, Receiver<Seen>) {
        let ((steps, taken), (seen, shown)) = (channel(), channel());
        (Recording { seen, steps: taken }, steps, shown)
    }

    #[test]
    fn turns_arrive_in_order_until_the_handle_is_dropped() {
        let followers = Arc::new(Followers::<Plain>::default());
        assert!(followers.is_empty());
        let (follower, steps, seen) = recording();
        let handle = followers.add(|_| Box::new(follower)).unwrap();
        assert!(!followers.is_empty());
        for number in 0..3 {
            followers.tell(Plain(number));
            steps.send(()).unwrap();
        }
        assert_eq!(seen.recv(), Ok(Seen::Begun(0)));
        for number in 0..3 {
            assert_eq!(seen.recv(), Ok(Seen::Turn(number)));
        }
        handle.end();
        assert!(followers.is_empty());
        followers.tell(Plain(9));
        assert_eq!(seen.recv(), Ok(Seen::Dropped));
    }

    #[test]
    fn one_that_breaks_off_is_forgotten() {
        let followers = Arc::new(Followers::<Plain>::default());
        let (follower, steps, seen) = recording();
        let handle = followers.add(|_| Box::new(follower)).unwrap();
        followers.tell(Plain(u64::MAX));
        steps.send(()).unwrap();
        while seen.recv() != Ok(Seen::Dropped) {}
        // Its thread has let go of the follower and is about to end.
        while !handle.is_over() {
            std::thread::yield_now();
        }
        followers.tell(Plain(1));
        assert!(followers.is_empty());
    }

    #[test]
    fn one_that_is_too_slow_misses_turns_and_the_teller_never_waits() {
        let followers = Arc::new(Followers::<Plain>::default());
        let (follower, steps, seen) = recording();
        let _handle = followers.add(|_| Box::new(follower)).unwrap();
        let told = 3 * MAX_TURNS as u64;
        for number in 0..told {
            followers.tell(Plain(number));
        }
        drop(steps);
        let (mut turns, mut lost) = (0, 0);
        while turns + lost < told {
            match seen.recv().unwrap() {
                Seen::Turn(_) => turns += 1,
                Seen::Lost(count) => lost += count,
                Seen::Begun(_) => {}
                Seen::Dropped => panic!("it goes on"),
            }
        }
        assert!(turns <= MAX_TURNS as u64 + 1 && lost > 0, "{turns} shown, {lost} lost");
    }

    #[test]
    fn without_gaps_one_begins_anew_when_a_turn_is_lost_or_the_stream_is_cut() {
        let followers = Arc::new(Followers::<Chained>::default());
        let (follower, steps, seen) = recording();
        let _handle = followers.add(|_| Box::new(follower)).unwrap();
        assert_eq!(seen.recv(), Ok(Seen::Begun(0)));
        followers.tell(Chained(1));
        followers.admit(1, 0, vec![Chained(2)]);
        followers.tell(Chained(3));
        assert_eq!(seen.recv(), Ok(Seen::Lost(1)), "not open yet");
        for number in [2, 3] {
            steps.send(()).unwrap();
            assert_eq!(seen.recv(), Ok(Seen::Turn(number)));
        }
        followers.interrupt();
        assert_eq!(seen.recv(), Ok(Seen::Begun(1)));
        // That was of before the cut.
        followers.admit(1, 0, vec![Chained(9)]);
        followers.admit(1, 1, Vec::new());
        let told = 2 * MAX_TURNS as u64;
        for number in 0..told {
            followers.tell(Chained(number));
        }
        drop(steps);
        let mut before = 0;
        let lost = loop {
            match seen.recv().unwrap() {
                Seen::Turn(_) => before += 1,
                Seen::Lost(lost) => break lost,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(before + lost, told, "what was queued before the gap is void as well");
        assert_eq!(seen.recv(), Ok(Seen::Begun(2)));
    }

    /// Is about to be let in when its stream is cut, again and again.
    struct Hesitant {
        begun: Sender<u64>,
        go_on: Receiver<()>,
        seen: Sender<Seen>,
    }

    impl Follower<Chained> for Hesitant {
        fn turn(&mut self, turn: Chained) -> ControlFlow<()> {
            let _ = self.seen.send(Seen::Turn(turn.0));
            ControlFlow::Continue(())
        }
        fn overflowed(&mut self, _: u64) {}
        fn begin(&mut self, cuts: u64) -> ControlFlow<()> {
            let _ = self.seen.send(Seen::Begun(cuts));
            let _ = self.begun.send(cuts);
            let _ = self.go_on.recv();
            ControlFlow::Continue(())
        }
    }

    #[test]
    fn cuts_while_one_joins_neither_lose_turns_nor_show_them_twice() {
        let followers = Arc::new(Followers::<Chained>::default());
        let ((begun, begins), (go_on, waits)) = (channel(), channel());
        let (seen, shown) = channel();
        let follower = Hesitant { begun, go_on: waits, seen };
        let _handle = followers.add(|_| Box::new(follower)).unwrap();
        assert_eq!(begins.recv(), Ok(0));
        // Cut twice before it has looked: it begins anew once, of the latest.
        followers.again(1);
        followers.again(1);
        followers.admit(1, 0, vec![Chained(1)]);
        go_on.send(()).unwrap();
        assert_eq!(begins.recv(), Ok(2));
        // The message of the second cut still lies in its queue.
        followers.admit(1, 2, vec![Chained(2)]);
        followers.tell(Chained(3));
        go_on.send(()).unwrap();
        for expect in [Seen::Begun(0), Seen::Begun(2), Seen::Turn(2), Seen::Turn(3)] {
            assert_eq!(shown.recv(), Ok(expect));
        }
        followers.interrupt();
        assert_eq!(begins.recv(), Ok(3));
    }
}
