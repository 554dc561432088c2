//! The queue between an active version and one follower.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

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
    /// What is queued and what follows do not continue each other.
    pub gap: AtomicBool,
    /// How often the stream was cut: who was ready before is not any more.
    pub cuts: AtomicU64,
    pub ended: AtomicBool,
    pub lost: AtomicU64,
    pub size: AtomicUsize,
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
        self.state.gap.store(true, Ordering::SeqCst);
        // Where there is no room the follower has something to wake up for.
        let _ = self.sender.try_send(Message::Look);
    }
}

pub(super) fn follow<T: Turn>(
    mut follower: Box<dyn Follower<T>>,
    receiver: &Receiver<Message<T>>,
    state: &State,
) {
    if follower.begin().is_break() {
        return;
    }
    while let Ok(mut message) = receiver.recv() {
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        let gap = T::GAPLESS && state.gap.swap(false, Ordering::SeqCst);
        if gap {
            // Closed since: what lies in the queue is all there is, and of no use.
            loop {
                if let Message::Turn(turn) = message {
                    state.lost.fetch_add(turn.decisions(), Ordering::SeqCst);
                }
                match receiver.try_recv() {
                    Ok(next) => message = next,
                    Err(_) => break,
                }
            }
            state.size.store(0, Ordering::SeqCst);
            message = Message::Look;
        }
        let lost = state.lost.swap(0, Ordering::SeqCst);
        if lost > 0 {
            follower.overflowed(lost);
        }
        let after = match message {
            Message::Turn(turn) => {
                let size = turn.size();
                let after = follower.turn(turn);
                state.size.fetch_sub(size, Ordering::SeqCst);
                after
            }
            Message::Look if gap => follower.begin(),
            Message::Look => ControlFlow::Continue(()),
        };
        if after.is_break() {
            return;
        }
    }
}
