//! How a follower joins an authorizer, whose view has a history: it is let in at
//! a moment in which the active instance has been told all that happened, with
//! the revision of that moment, at which it reads what the instance knows. So it
//! misses nothing, and is never ahead of the active instance.

use std::ops::ControlFlow;
use std::sync::Arc;

use pintle_api::meta::GroupVersionKind;

use super::unit::Shared;
use crate::follow::{AuthorizerTurn, Follower, Join, PER_TURN, listed_at};
use crate::grants::Grants;
use crate::scheduler::Delta;

/// What the active instance knew when a follower was let in.
pub(crate) struct Present {
    /// What it watches, each as of a revision.
    pub watches: Vec<(GroupVersionKind, u64)>,
    pub grants: Arc<Grants>,
}

/// Gives a follower the stream that [`AuthorizerTurn`] describes.
pub(super) struct Joining {
    pub id: u64,
    pub shared: Arc<Shared>,
    pub follower: Box<dyn Follower<AuthorizerTurn>>,
}

impl Joining {
    /// The present, spelled out.
    fn show(&mut self, present: &Arc<Present>) -> ControlFlow<()> {
        self.follower.turn(AuthorizerTurn::Start(present.clone()))?;
        for (kind, revision) in &present.watches {
            let Ok(objects) = listed_at(&*self.shared.cluster, kind, *revision) else {
                // It was too slow; what is queued is void.
                self.shared.followers.again(self.id);
                return ControlFlow::Continue(());
            };
            let grants = &present.grants;
            let told: Vec<Delta> = objects
                .into_iter()
                .filter(|object| grants.may_read_in(object.kind(), object.namespace()))
                .map(Delta::Upsert)
                .collect();
            for chunk in told.chunks(PER_TURN) {
                self.follower.turn(AuthorizerTurn::Sync(chunk.into()))?;
            }
        }
        ControlFlow::Continue(())
    }
}

impl Follower<AuthorizerTurn> for Joining {
    fn begin(&mut self, cuts: u64) -> ControlFlow<()> {
        self.shared.bell.join(Join { id: self.id, cuts });
        ControlFlow::Continue(())
    }

    fn turn(&mut self, turn: AuthorizerTurn) -> ControlFlow<()> {
        match turn {
            AuthorizerTurn::Start(present) => self.show(&present),
            turn => self.follower.turn(turn),
        }
    }

    fn nice(&self) -> i32 {
        self.follower.nice()
    }

    fn overflowed(&mut self, lost: u64) {
        self.follower.overflowed(lost);
    }
}
