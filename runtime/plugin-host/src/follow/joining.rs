//! What roles have in common whose followers join a view with a history.

use pintle_api::meta::GroupVersionKind;

use crate::cluster::{Cluster, ListQuery, ObjectHandle, RevisionGone};

/// So many objects of the present make a turn.
pub(crate) const PER_TURN: usize = 500;

/// A follower that waits to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Join {
    pub id: u64,
    /// Of its stream, when it began.
    pub cuts: u64,
}

/// All objects of a kind, as the active instance knew them at that revision.
pub(crate) fn listed_at(
    cluster: &dyn Cluster,
    kind: &GroupVersionKind,
    revision: u64,
) -> Result<Vec<ObjectHandle>, RevisionGone> {
    let query = ListQuery { kind: Some(kind.clone()), ..ListQuery::default() };
    cluster.pinned(revision)?.list(&query)
}
