//! How a follower joins an extension, whose view has a history: it is let in at
//! a moment in which the active instance has been told all that happened, with
//! that moment's nodes and the revision at which to read what else it watches.
//! So it misses nothing, and is never ahead of the active instance.

use std::ops::ControlFlow;
use std::sync::Arc;

use pintle_api::meta::GroupVersionKind;

use super::feed::{News, NodeNews};
use super::live::is_told;
use super::unit::Shared;
use crate::cluster::ObjectHandle;
use crate::follow::{ExtensionTurn, Follower, Join, PER_TURN, listed_at};
use crate::grants::Grants;

/// What the active instance knew when a follower was let in.
pub(crate) struct Present {
    pub nodes: Vec<NodeNews>,
    /// What it watches besides nodes, each as of a revision.
    pub watches: Vec<(GroupVersionKind, u64)>,
    /// Pods with the node they were given, which no event has shown yet.
    pub assumed: Vec<(ObjectHandle, String)>,
    pub grants: Arc<Grants>,
}

/// Gives a follower the stream that [`ExtensionTurn`] describes.
pub(super) struct Joining {
    pub id: u64,
    pub shared: Arc<Shared>,
    pub follower: Box<dyn Follower<ExtensionTurn>>,
}

impl Joining {
    /// The present, spelled out.
    fn show(&mut self, present: &Arc<Present>) -> ControlFlow<()> {
        self.follower.turn(ExtensionTurn::Start(present.clone()))?;
        for chunk in present.nodes.chunks(PER_TURN) {
            self.follower.turn(ExtensionTurn::SyncNodes(chunk.into()))?;
        }
        for (kind, revision) in &present.watches {
            let Ok(objects) = listed_at(&*self.shared.group.cluster, kind, *revision) else {
                // It was too slow; what is queued is void.
                self.shared.followers.again(self.id);
                return ControlFlow::Continue(());
            };
            let told = objects.into_iter().filter(|object| is_told(object, &present.grants));
            let told: Vec<News> = told.map(News::Upsert).collect();
            for chunk in told.chunks(PER_TURN) {
                self.follower.turn(ExtensionTurn::Sync(chunk.into()))?;
            }
        }
        let assumed = present.assumed.iter();
        let assumed: Vec<News> =
            assumed.map(|(pod, node)| News::Assumed(pod.clone(), node.clone())).collect();
        for chunk in assumed.chunks(PER_TURN) {
            self.follower.turn(ExtensionTurn::Sync(chunk.into()))?;
        }
        ControlFlow::Continue(())
    }
}

impl Follower<ExtensionTurn> for Joining {
    fn begin(&mut self, cuts: u64) -> ControlFlow<()> {
        self.shared.bell.join(Join { id: self.id, cuts });
        ControlFlow::Continue(())
    }

    fn turn(&mut self, turn: ExtensionTurn) -> ControlFlow<()> {
        match turn {
            ExtensionTurn::Start(present) => self.show(&present),
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
