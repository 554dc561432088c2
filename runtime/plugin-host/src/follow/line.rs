//! The queue between an active version and one follower.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use parking_lot::Mutex;

use super::{Follower, MAX_SIZE, Turn};

/// The active's end of a follower's queue.
pub(super) struct Line<T> {
    pub id: u64,
    pub sender: SyncSender<Message<T>>,
    pub state: Arc<State>,
}

pub(super) enum Message<T> {
    Turn(T),
    /// The state has something to say.
    Look,
}

/// What both ends of a queue see.
pub(super) struct State {
    /// Turns are wanted. A gapless follower opens when it is ready.
    pub open: AtomicBool,
    /// How often the stream was cut: what is queued and what follows do not
    /// continue each other, and who was ready before is not any more.
    pub cuts: AtomicU64,
    pub ended: AtomicBool,
    pub lost: AtomicU64,
    pub size: AtomicUsize,
    /// Wants to know when it is opened.
    pub opened: Mutex<Option<Opened>>,
}

pub(super) type Opened = Box<dyn Fn() + Send + Sync>;

impl State {
    pub fn new(open: bool) -> Self {
        Self {
            open: AtomicBool::new(open),
            cuts: AtomicU64::default(),
            ended: AtomicBool::default(),
            lost: AtomicU64::default(),
            size: AtomicUsize::default(),
            opened: Mutex::default(),
        }
    }

    pub fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
        if let Some(opened) = &*self.opened.lock() {
            opened();
        }
    }
}

impl<T: Turn> Line<T> {
    /// False if nobody is at the other end any more.
    pub fn tell(&self, turn: T) -> bool {
        let state = &*self.state;
        if state.ended.load(Ordering::SeqCst) {
            return false;
        }
        let (decisions, size) = (turn.decisions(), turn.size());
        let waiting = state.size.load(Ordering::SeqCst);
        // A turn of any size fits into an empty queue.
        let fits = waiting == 0 || waiting + size <= MAX_SIZE;
        if !state.open.load(Ordering::SeqCst) || !fits {
            return self.lose(decisions);
        }
        state.size.fetch_add(size, Ordering::SeqCst);
        match self.sender.try_send(Message::Turn(turn)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                state.size.fetch_sub(size, Ordering::SeqCst);
                self.lose(decisions)
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    fn lose(&self, decisions: u64) -> bool {
        self.state.lost.fetch_add(decisions, Ordering::SeqCst);
        if T::GAPLESS && self.state.open.load(Ordering::SeqCst) {
            self.cut();
        }
        true
    }

    pub fn cut(&self) {
        self.state.cuts.fetch_add(1, Ordering::SeqCst);
        self.state.open.store(false, Ordering::SeqCst);
        // Where there is no room the follower has something to wake up for.
        let _ = self.sender.try_send(Message::Look);
    }
}

pub(super) fn follow<T: Turn>(
    mut follower: Box<dyn Follower<T>>,
    receiver: &Receiver<Message<T>>,
    state: &State,
) {
    let mut cuts = state.cuts.load(Ordering::SeqCst);
    let mut after = follower.begin(cuts);
    while after.is_continue() {
        let latest = state.cuts.load(Ordering::SeqCst);
        if T::GAPLESS && latest != cuts {
            // A line is opened for whoever began after the latest cut only: what
            // lies in the queue was told before it, and is of no use.
            cuts = latest;
            while let Ok(message) = receiver.try_recv() {
                void(message, state);
            }
            report(&mut *follower, state);
            after = follower.begin(cuts);
            continue;
        }
        // Who cuts it from here on leaves a message.
        let Ok(message) = receiver.recv() else { return };
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        if T::GAPLESS && state.cuts.load(Ordering::SeqCst) != cuts {
            void(message, state);
            continue;
        }
        report(&mut *follower, state);
        if let Message::Turn(turn) = message {
            let size = turn.size();
            after = follower.turn(turn);
            state.size.fetch_sub(size, Ordering::SeqCst);
        }
    }
}

/// A message that nobody is shown.
fn void<T: Turn>(message: Message<T>, state: &State) {
    if let Message::Turn(turn) = message {
        state.size.fetch_sub(turn.size(), Ordering::SeqCst);
        state.lost.fetch_add(turn.decisions(), Ordering::SeqCst);
    }
}

fn report<T: Turn>(follower: &mut dyn Follower<T>, state: &State) {
    let lost = state.lost.swap(0, Ordering::SeqCst);
    if lost > 0 {
        follower.overflowed(lost);
    }
}
