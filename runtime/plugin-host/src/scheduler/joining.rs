//! How a follower joins a scheduler, whose view has a history: it is shown the
//! present first, then what happened meanwhile, and is let in between two calls
//! of the active instance, at a moment in which both have seen the same events.
//! So it misses nothing and sees nothing twice.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::feed::{Delta, Feed};
use super::instance::DELTAS_PER_CALL;
use super::live::present;
use super::unit::Shared;
use crate::follow::{Follower, SchedulerTurn};

/// A follower that has seen the present, and a feed of what happened since.
pub(crate) struct Join {
    pub id: u64,
    pub feed: Arc<Feed>,
    /// Of its stream, when it began.
    pub cuts: u64,
    /// Can be let in once the event stream has come so far.
    pub floor: u64,
}

/// Gives a follower the stream that [`SchedulerTurn`] describes.
pub(crate) struct Joining {
    pub id: u64,
    pub shared: Arc<Shared>,
    pub follower: Box<dyn Follower<SchedulerTurn>>,
}

/// The follower has had enough.
struct Enough;

impl Joining {
    fn show(&mut self, turn: SchedulerTurn) -> Result<(), Enough> {
        match self.follower.turn(turn) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Enough),
        }
    }

    fn join(&mut self, cuts: u64) -> Result<(), Enough> {
        self.show(SchedulerTurn::Start)?;
        let feed = Arc::new(Feed::default());
        let watches = self.shared.add_feed_like_active(&feed);
        let cluster = self.shared.cluster.clone();
        let floor = present(&*cluster, &watches, &feed, &mut |deltas| {
            self.show(SchedulerTurn::Sync(deltas.into()))
        })?;
        loop {
            let happened = feed.take_all();
            if happened.is_empty() {
                break;
            }
            for chunk in happened.chunks(DELTAS_PER_CALL) {
                self.show(SchedulerTurn::Sync(chunk.into()))?;
            }
        }
        let mut inbox = self.shared.inbox.lock();
        inbox.joins.retain(|join| join.id != self.id);
        inbox.joins.push(Join { id: self.id, feed, cuts, floor });
        drop(inbox);
        self.shared.wake.notify_one();
        Ok(())
    }
}

impl Follower<SchedulerTurn> for Joining {
    fn begin(&mut self, cuts: u64) -> ControlFlow<()> {
        match self.join(cuts) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Enough) => ControlFlow::Break(()),
        }
    }

    fn turn(&mut self, turn: SchedulerTurn) -> ControlFlow<()> {
        self.follower.turn(turn)
    }

    fn nice(&self) -> i32 {
        self.follower.nice()
    }

    fn overflowed(&mut self, lost: u64) {
        self.follower.overflowed(lost);
    }
}

/// The first turns after the ones that a joining follower has been shown.
pub(crate) fn first_turns(
    assumed: Vec<(crate::cluster::ObjectHandle, String)>,
    happened: &[Delta],
) -> Vec<SchedulerTurn> {
    let mut turns = Vec::new();
    if !assumed.is_empty() {
        turns.push(SchedulerTurn::Assume(assumed.into()));
    }
    turns.extend(happened.chunks(DELTAS_PER_CALL).map(|chunk| SchedulerTurn::Sync(chunk.into())));
    turns
}
